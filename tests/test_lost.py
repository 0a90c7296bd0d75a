import io
import struct
import zlib

import numpy as np
import pytest
from folders import files, invoke, quick_model
from PIL import Image, ImageCms

import aezip
from aezip import images
from aezip.lost import DEPTH, lost

RGB = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(form, image=None, **options):
    file = io.BytesIO()
    (Image.fromarray(RGB) if image is None else image).save(file, form, **options)
    return file.getvalue()


def found(data):
    with Image.open(io.BytesIO(data)) as image:
        said = lost(image)
        image.load()  # it is left as it was
        return said


def sgi(compression, depth, channels):
    dimensions = 3 if channels > 1 else 2
    head = struct.pack(">hBBHHHH", 474, compression, depth, dimensions, 2, 2, channels)
    return head.ljust(512, b"\0") + bytes(4 * channels * depth)


def tiff(channels, extra, planar=1):
    """Uncompressed, little-endian: grey or RGB and further samples."""
    photometric = 2 if channels > 2 else 1
    bits, data = struct.pack(f"<{channels}H", *[8] * channels), bytes(4 * channels)
    entries = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, channels, 1000), (259, 3, 1, 1),
               (262, 3, 1, photometric), (273, 4, 1, 2000), (277, 3, 1, channels),
               (278, 3, 1, 2), (279, 4, 1, len(data)), (284, 3, 1, planar),
               (338, 3, len(extra), 1100 if len(extra) > 2 else extra[0])]  # fmt: skip
    if channels == 2:
        entries[2] = (258, 3, 2, 8 | 8 << 16)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    head += b"".join(struct.pack("<HHII", *x) for x in entries) + bytes(4)
    more = struct.pack(f"<{len(extra)}H", *extra)
    return (head.ljust(1000, b"\0") + bits).ljust(1100, b"\0") + more.ljust(900, b"\0") + data


def with_chunk(name, data):
    png = saved("PNG")
    chunk = struct.pack(">I", len(data)) + name + data
    return png[:33] + chunk + struct.pack(">I", zlib.crc32(name + data)) + png[33:]


def chromaticity(*values):
    return struct.pack(">8I", *(round(100_000 * x) for x in values))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "TIFF", "BMP", "PPM",
                                  "SGI", "TGA", "PCX", "GIF", "QOI"])  # fmt: skip
def test_nothing_is_lost_of_plain_images(form):
    assert found(saved(form)) == ""
    assert found(saved(form, Image.fromarray(RGB).convert("L").convert("RGB"))) == ""


@pytest.mark.parametrize("data", [
    b"P6 2 1 65535\n" + bytes(12), b"P6 2 1 256\n" + bytes(12), b"P3 1 1 1023\n1 2 3\n",
    b"P5 2 1 1023\n" + bytes(4), sgi(0, 2, 3), sgi(0, 2, 1),
])  # fmt: skip
def test_more_bits(data):
    assert found(data) == DEPTH


def test_fewer_bits():
    assert found(b"P6 2 1 31\n" + bytes(6)) == found(sgi(0, 1, 3)) == ""


def test_more_bits_by_a_header_that_pillow_keeps_to_itself():
    def opened(data):
        with Image.open(io.BytesIO(data)) as image:
            return lost(image)

    plain = saved("JPEG2000", no_jp2=True)
    assert plain[42:45] == b"\x07\1\1" and opened(plain) == ""
    for at in (42, 45, 48):
        deep = plain[:at] + b"\x0b" + plain[at + 1 :]
        assert opened(deep) == DEPTH
    assert opened(plain[:42] + b"\x87" + plain[43:]) == ""  # with a sign
    boxed = saved("JPEG2000")
    assert opened(boxed) == ""
    assert opened(boxed.replace(plain[40:51], plain[40:42] + b"\x0f\1\1" * 3)) == DEPTH
    avif = saved("AVIF")
    at = avif.index(b"av1C\x81") + 6
    assert opened(avif) == ""
    deep = avif[:at] + bytes([avif[at] | 0x40]) + avif[at + 1 :]
    assert opened(deep.replace(b"\3\x08\x08\x08", b"\3\x0a\x0a\x0a")) == DEPTH


def test_nobody_knows_of_other_formats():
    assert found(saved("DDS")) == "what else its format, DDS, can hold"


def test_icons_of_several_sizes():
    icon = Image.fromarray(RGB).resize((64, 64))
    assert found(saved("ICO", icon, sizes=[(64, 64)])) == ""
    assert found(saved("ICO", icon, sizes=[(32, 32), (64, 64)])) == "its other sizes"
    assert found(saved("ICNS", icon)) == "its other sizes"


@pytest.mark.parametrize("data", [tiff(4, [0]), tiff(5, [0, 0]), tiff(6, [0, 0, 0]), tiff(2, [0]),
                                  tiff(5, [2, 0])])  # fmt: skip
def test_further_samples_of_a_tiff(data):
    assert found(data) == "its further samples"


def test_alpha_is_no_further_sample():
    assert found(tiff(4, [2])) == found(tiff(2, [2])) == ""


def test_the_fourth_byte_of_a_bitmap():
    alpha = Image.fromarray(np.dstack([RGB, RGB[..., 0]]))
    with Image.open(io.BytesIO(saved("BMP", alpha))) as image:
        assert image.mode == "RGB"
    assert found(saved("BMP", alpha)) == "its further samples"
    assert found(saved("BMP", Image.fromarray(RGB).convert("RGBA"))) == ""


COLOURS = "the colour space that it names"


@pytest.mark.parametrize("name, data, said", [
    (b"gAMA", struct.pack(">I", 100_000), COLOURS),
    (b"gAMA", struct.pack(">I", 45455), ""),
    (b"cHRM", chromaticity(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06), COLOURS),
    (b"cHRM", chromaticity(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06), ""),
    (b"cICP", bytes([9, 16, 0, 1]), COLOURS),
    (b"cICP", bytes([12, 13, 0, 1]), COLOURS),
    (b"cICP", bytes([1, 13, 0, 0]), COLOURS),
    (b"cICP", bytes([1, 13, 0, 1]), ""),
    (b"sRGB", b"\0", ""),
])  # fmt: skip
def test_what_the_values_of_a_png_mean(name, data, said):
    assert found(with_chunk(name, data)) == said


def test_what_the_values_of_an_avif_mean():
    avif = saved("AVIF")
    at = avif.index(b"nclx") + 4
    assert found(avif[:at] + bytes([0, 12, 0, 13]) + avif[at + 4 :]) == COLOURS


def test_a_profile_has_more_weight_than_a_gamma():
    png = saved("PNG", icc_profile=SRGB)
    gamma = with_chunk(b"gAMA", struct.pack(">I", 100_000))[33:49]
    assert found(png[:33] + gamma + png[33:]) == ""


def test_a_profile_for_other_colours(tmp_path):
    (tmp_path / "x.png").write_bytes(saved("PNG", Image.fromarray(RGB[..., 0]), icc_profile=SRGB))
    loaded = images.load(tmp_path / "x.png")
    assert (loaded.image.mode, loaded.profile) == ("L", b"")
    assert loaded.lost == "its colour profile, which is for other colours"


@pytest.mark.parametrize("lossless", [False, True])
def test_none_of_these_is_deleted(tmp_path, lossless):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in {
        "a.ppm": b"P6 2 1 65535\n" + bytes(12), "b.sgi": sgi(0, 2, 3), "c.tif": tiff(4, [0]),
        "d.ico": saved("ICO", sizes=[(8, 8), (16, 16)]), "e.dds": saved("DDS"),
        "f.png": with_chunk(b"gAMA", struct.pack(">I", 100_000)), "g.png": saved("PNG"),
    }.items():  # fmt: skip
        (folder / name).write_bytes(data)
    how = ["--lossless"] if lossless else ["--model", quick_model()]
    done = invoke("compress", folder, "o.csv", *how, "--delete-originals", "--yes", cwd=tmp_path)
    assert sorted(files(folder)) == ["a.ppm", "b.sgi", "c.tif", "d.ico", "e.dds", "f.png"]
    assert done.exit_code == 1 and len(aezip.open(tmp_path / "o.csv")) == 7
    assert "c.tif is kept: its further samples would be lost" in done.stderr
