from __future__ import annotations

import io
import math
import os
import threading
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFile, features
from samples import digits, photograph

from aezip import images
from aezip.metrics import psnr
from aezip.peers import PEERS, Peer, bytes_at

JPEG, WEBP = PEERS["JPEG"], PEERS["WebP"]
pytestmark = pytest.mark.skipif(not features.check("webp"), reason="Pillow lacks WebP")


def photo(name: str = "fig", side: int = 64) -> Image.Image:
    return Image.fromarray(photograph(name)[40 : 40 + side, 60 : 60 + side])


def with_alpha(image: Image.Image, alpha: int | Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(alpha)
    return image


def gradient(side: int = 64) -> Image.Image:
    return Image.linear_gradient("L").resize((side, side))


def measured(peer: Peer, collection: list[Image.Image], quality: int) -> tuple[int, float]:
    """Bytes and mean PSNR, one after the other and without any of the module but `encode`."""
    size, values = 0, []
    for image in collection:
        data = peer.encode(image, quality)
        size += len(data)
        decoded = images.to_array(Image.open(io.BytesIO(data)).convert(image.mode))
        values.append(min(psnr(images.to_array(image), decoded), 100))
    return size, sum(values) / len(values)


def ladder(encoded: list[int] | None = None) -> Peer:
    """A format that is simple to calculate with: black comes back as 101 - quality, in 1000 bytes
    and 100 more for each step of quality."""

    def encode(image: Image.Image, quality: int) -> bytes:
        if encoded is not None:
            encoded.append(quality)
        buffer = io.BytesIO()
        Image.new("L", image.size, 101 - quality).save(buffer, "PNG")
        return buffer.getvalue().ljust(1000 + 100 * quality, b"\0")

    return Peer(encode, 10_000, transparency=True)


BLACK = Image.new("L", (8, 8))


@pytest.mark.parametrize("quality", range(1, 101))
def test_at_the_psnr_of_a_quality_it_is_the_bytes_of_that_quality_found_in_seven_steps(quality):
    encoded: list[int] = []
    db = 20 * math.log10(255 / (101 - quality))
    assert bytes_at(ladder(encoded), [BLACK], db) == pytest.approx(1000 + 100 * quality)
    assert len(encoded) == len(set(encoded)) <= 7
    assert all(1 <= x <= 100 for x in encoded)


@pytest.mark.parametrize("name", list(PEERS))
def test_it_is_where_the_curve_crosses_the_target(name):
    # The PSNR may fall from one quality to the next: there may be several such places.
    collection = [photo("fig", 32), photo("lake", 24).convert("L")]
    curve = [measured(PEERS[name], collection, quality) for quality in range(1, 101)]
    for target in np.linspace(curve[0][1], curve[-1][1], 7)[1:-1]:
        found = bytes_at(PEERS[name], collection, target)
        expected = [
            math.exp(np.interp(target, [db, db_next], np.log([size, size_next])))
            for (size, db), (size_next, db_next) in pairwise(curve)
            if db < target <= db_next
        ]
        assert any(found == pytest.approx(x, rel=1e-9) for x in expected)


def test_between_two_qualities_the_logarithm_is_interpolated():
    collection = [photo("fig"), photo("lake")]
    (size, db), (size_next, db_next) = (measured(JPEG, collection, q) for q in (60, 61))
    for part in (0.25, 0.9):
        expected = math.exp((1 - part) * math.log(size) + part * math.log(size_next))
        found = bytes_at(JPEG, collection, db + part * (db_next - db))
        assert found == pytest.approx(expected, rel=1e-9)


def test_a_worse_target_than_quality_1_and_a_better_one_than_quality_100():
    collection = [photo("fig", 32)]
    for peer in PEERS.values():
        size, db = measured(peer, collection, 1)
        assert bytes_at(peer, collection, db - 5) == bytes_at(peer, collection, 0) == size
        size, db = measured(peer, collection, 100)
        assert bytes_at(peer, collection, db + 0.01) is None
        assert bytes_at(peer, collection, math.inf) is None


def test_the_mean_is_of_the_decibels_and_all_images_have_one_quality():
    # Of quite different difficulty: the mean of the squared errors would be quite another.
    collection = [Image.new("L", (64, 64), 100), photo(), Image.effect_noise((64, 64), 90)]
    size, db = measured(JPEG, collection, 80)
    values = [measured(JPEG, [image], 80)[1] for image in collection]
    assert min(abs(x - db) for x in values) > 1
    assert bytes_at(JPEG, collection, db) == pytest.approx(size, rel=1e-9)


def test_an_image_that_comes_back_unchanged_counts_100_db():
    flat = Image.new("L", (64, 64), 128)
    assert bytes_at(JPEG, [flat], 100) == measured(JPEG, [flat], 1)[0]
    assert bytes_at(JPEG, [flat], 100.1) is None


def test_jpeg_is_as_documented():
    image = photo()
    with Image.open(io.BytesIO(JPEG.encode(image, 80))) as file:
        assert file.format == "JPEG" and file.mode == "RGB"
        # Sampling of luma and chroma: 2 x 2 and 1 x 1, which is 4:2:0.
        assert [layer[1:3] for layer in file.layer] == [(2, 2), (1, 1), (1, 1)]
    plain = io.BytesIO()
    image.save(plain, "JPEG", quality=80, optimize=False)
    assert len(JPEG.encode(image, 80)) < len(plain.getvalue())
    assert Image.open(io.BytesIO(JPEG.encode(image.convert("L"), 80))).mode == "L"


def test_webp_is_as_documented():
    image = photo("fig", 128)
    best, fast = io.BytesIO(), io.BytesIO()
    image.save(best, "WEBP", quality=80, method=6)
    image.save(fast, "WEBP", quality=80, method=0)
    assert WEBP.encode(image, 80) == best.getvalue() != fast.getvalue()
    clear = with_alpha(image, gradient(128))
    decoded = Image.open(io.BytesIO(WEBP.encode(clear, 30)))
    assert decoded.mode == "RGBA"
    assert decoded.getchannel("A").tobytes() == clear.getchannel("A").tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_is_transparent_is_left_to_webp(mode):
    image = photo().convert(mode)
    clear = with_alpha(image, gradient())
    size, db = measured(WEBP, [image, clear], 40)
    assert bytes_at(WEBP, [image, clear], db) == pytest.approx(size, rel=1e-9)
    assert bytes_at(JPEG, [clear], 20) is None
    assert bytes_at(JPEG, [image, clear], 20) is None
    nearly = with_alpha(image, 255)
    nearly.putpixel((9, 9), (*nearly.getpixel((9, 9))[:-1], 254))
    assert bytes_at(JPEG, [nearly], 20) is None


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_opaque_alpha_channel_costs_nothing_and_counts_as_exact(mode):
    image = photo().convert(mode)
    channels = len(image.getbands())
    gain = 10 * math.log10((channels + 1) / channels)
    for peer, rel in ((JPEG, 1e-9), (WEBP, 0.01)):
        plain = bytes_at(peer, [image], 32)
        assert bytes_at(peer, [with_alpha(image, 255)], 32 + gain) == pytest.approx(plain, rel=rel)


def test_colours_below_transparent_pixels_do_not_count():
    clear = gradient().point(lambda x: 255 * (x > 127))
    wild = Image.composite(photo(), Image.effect_noise((64, 64), 90).convert("RGB"), clear)
    tame = Image.composite(photo(), Image.new("RGB", (64, 64)), clear)
    a, b = (bytes_at(WEBP, [with_alpha(x, clear)], 36) for x in (wild, tame))
    assert a == pytest.approx(b, rel=0.1)


def test_an_image_too_large_for_the_format():
    long = Image.new("L", (16384, 1))
    assert bytes_at(WEBP, [photo(), long], 20) is None
    assert bytes_at(WEBP, [Image.new("L", (1, 16383))], 20)
    assert bytes_at(JPEG, [long], 20)
    assert bytes_at(JPEG, [Image.new("L", (1, 65501))], 20) is None
    assert bytes_at(JPEG, [Image.new("L", (65500, 1))], 20)


def test_noise_for_which_pillow_has_too_little_room(capfd):
    noise = np.random.default_rng(0).integers(0, 2, (260, 260, 3), np.uint8) * np.uint8(255)
    before = ImageFile.MAXBLOCK
    assert bytes_at(JPEG, [Image.fromarray(noise)], math.inf) is None  # on the way quality 94
    assert capfd.readouterr() == ("", "")
    assert before == ImageFile.MAXBLOCK


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
def test_images_are_coded_at_once():
    both = threading.Barrier(2, timeout=20)

    def encode(image: Image.Image, quality: int) -> bytes:
        both.wait()  # an error, were it one after the other
        return ladder().encode(image, quality)

    assert bytes_at(Peer(encode, 100, True), [BLACK, BLACK], 30)


def test_an_error_of_a_format_is_raised():
    def encode(image: Image.Image, quality: int) -> bytes:
        raise RuntimeError("broken")

    before = ImageFile.MAXBLOCK
    with pytest.raises(RuntimeError, match="broken"):
        bytes_at(Peer(encode, 1000, True), [Image.new("L", (1000, 1000))], 30)
    assert before == ImageFile.MAXBLOCK


def test_no_images():
    with pytest.raises(ValueError, match="no images"):
        bytes_at(JPEG, [], 30)


def test_digits_and_photographs():
    small = [images.from_array(x) for x in digits()]
    webp = bytes_at(WEBP, small, 27.6)
    assert webp is not None and 60 < webp / len(small) < 250
    jpeg = bytes_at(JPEG, small, 27.6)
    assert jpeg is not None and jpeg > 2 * webp
    large = [photo(name, 128) for name in ("fig", "lake", "stream")]
    assert bytes_at(WEBP, large, 32) < bytes_at(JPEG, large, 32)
