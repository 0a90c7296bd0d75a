import json
import math
import os
import shutil

import numpy as np
import pytest
from folders import (
    DIGITS,
    decibels,
    digit_model,
    files,
    invoke,
    photos,
    pixels,
    quick_model,
    refused,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

import aezip
from aezip import archive as archives
from aezip import images, lossless, originals
from aezip.autoencoders import Dense
from aezip.autoencoders.base import log_step
from aezip.coding import Coded, default_promise, from_entry, lost_colours, mean_and_worst, to_entry
from aezip.errors import ArchiveError
from aezip.fitting import load_model
from aezip.metrics import psnr
from aezip.storage.row import EXACT, Row


def noise(side, channels=3):
    shape = (side, side, channels) if channels > 1 else (side, side)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def drawing(path):
    """Few colours and many edges, which are cheap exactly: writes the file, returns the pixels."""
    values = np.zeros((64, 64, 3), np.uint8)
    values[::7, 3:40], values[10:30, ::5] = (200, 30, 90), (255, 255, 255)
    Image.fromarray(values).save(path)
    return values


def compressed(folder, **options):
    path = folder.parent / "o.csv"
    report = aezip.compress(folder, path, quick_model(), compare=False, force=True, **options)
    return report, aezip.open(path)


@pytest.fixture
def folder(tmp_path):
    """One photograph, and noise that no model serves."""
    (tmp_path / "in").mkdir()
    shutil.copy(photos() / "lake.png", tmp_path / "in")
    noise(40).save(tmp_path / "in" / "noise.png")
    return tmp_path / "in"


# --- the pixels exactly -------------------------------------------------------------------------


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.sampled_from([1, 2, 256]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
@settings(max_examples=60)
def test_lossless_is_exact(height, width, channels, values, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, values, (height, width, channels), np.uint8)
    data = lossless.encode(pixels)
    assert np.array_equal(lossless.decode(data, pixels.shape), pixels)
    assert len(data) < pixels.size + len(pixels) + 100
    for wrong in ((height + 1, width, channels), (width + 50, height, channels)):
        with pytest.raises(ArchiveError):
            lossless.decode(data, wrong)
    for wrong in (data[: len(data) // 2], b"", b"/", b"\x89", rng.bytes(30)):
        with pytest.raises(ArchiveError):
            lossless.decode(wrong, pixels.shape)


def test_both_formats_are_of_use():
    starts = {
        lossless.encode(np.zeros((1, 1, 1), np.uint8))[0],
        lossless.encode(np.zeros((1, 16384, 1), np.uint8))[0],
    }
    assert starts == {0x2F, 0x89}


def test_what_looks_the_same_is_not_called_exact(tmp_path):
    """Colours that nobody sees are not kept, unless all is exact."""
    (tmp_path / "in").mkdir()
    values = np.zeros((8, 8, 4), np.uint8)
    for number in range(4):
        values[..., number % 3] = 200
        Image.fromarray(values).save(tmp_path / "in" / f"{number}.png")
    aezip.fit(tmp_path / "in", tmp_path / "m.h5", arch="dense", steps=5)
    options = ["in", "o.csv", "--model", "m.h5", "--force"]
    for more, exact in (([], False), (["--lossless"], True)):
        done = invoke("compress", *options, *more, cwd=tmp_path)
        assert ("every image is exact" in done.stdout) is exact
        archive = aezip.open(tmp_path / "o.csv")
        assert np.array_equal(images.to_array(archive[-1]), values) is exact
        verified = invoke("verify", "o.csv", "--against", "in", cwd=tmp_path).stdout
        assert ("every image is exact" in verified) is exact
        assert ("no image differs in what is not transparent" in verified) is not exact
        listed = json.loads(invoke("list", "o.csv", "--json", cwd=tmp_path).stdout)
        assert listed["rows"][0]["quality"] == ("exact" if exact else 50)
        more = ["--save", "x.png", "--json"]
        viewed = json.loads(invoke("view", "o.csv", *more, cwd=tmp_path).stdout)
        assert viewed["quality"] == ("exact" if exact else 50)


def test_digits_take_less_than_as_png(tmp_path):
    report = aezip.compress(DIGITS, tmp_path / "o.csv", digit_model(), lossless=True, compare=False)
    assert set(report.psnrs.values()) == {math.inf}
    archive = aezip.open(tmp_path / "o.csv")
    assert all(
        np.array_equal(images.to_array(archive[name]), pixels(DIGITS / name))
        for name in archive.names
    )
    assert report.csv_bytes < 0.9 * report.original_bytes


def test_lossless_needs_no_model(folder):
    result = invoke("compress", folder, "o.csv", "--lossless", cwd=folder.parent)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "lossless" in result.stdout and "every image is exact" in result.stdout
    listed = invoke("list", "o.csv", cwd=folder.parent).stdout.splitlines()
    assert [x.split()[4] for x in listed[1:]] == ["exact", "exact"]
    both = invoke("compress", folder, "p.csv", "--lossless", "--quality", 5, cwd=folder.parent)
    assert both.exit_code == 2


# --- the promise --------------------------------------------------------------------------------


def test_the_promise_grows_with_quality():
    promises = [default_promise(q) for q in range(1, 101)]
    assert promises == sorted(promises) and promises[-1] == 45.0
    assert promises[49] == math.floor(10 * (10 * math.log10(255**2 * 12 / 64**2) - 3)) / 10
    assert log_step(50) == 32 * 6


def test_what_the_model_serves_badly_is_coded_finer(folder):
    low, archive = compressed(folder, quality=50, min_psnr=0)
    promise = round(low.psnrs["noise.png"] + 1.5, 1)
    assert archive.row("noise.png").quality == 50 and low.psnrs["lake.png"] > promise
    report, archive = compressed(folder, quality=50, min_psnr=promise)
    assert (report.promise, archive.promise) == (promise, promise)
    row = archive.row("noise.png")
    assert 50 < row.quality < EXACT and (report.finer, report.exact) == (1, 0)
    assert archive.row("lake.png").quality == 50
    found = decibels(pixels(folder / "noise.png"), images.to_array(archive["noise.png"]))
    assert promise <= found < promise + 4 and found == pytest.approx(report.psnrs["noise.png"])
    assert report.psnrs["lake.png"] == low.psnrs["lake.png"]


def test_at_the_last_resort_it_is_exact(folder):
    noise = np.random.default_rng(0).integers(0, 2, (40, 40)) * 255  # cheap as it is, and only so
    Image.fromarray(noise.astype(np.uint8)).save(folder / "noise.png")
    report, archive = compressed(folder, quality=50, min_psnr=34)
    assert archive.row("noise.png").quality == EXACT and report.exact == 1
    assert np.array_equal(images.to_array(archive["noise.png"]), pixels(folder / "noise.png"))
    assert report.psnrs["lake.png"] >= 34 and report.finer == 1
    # No more bytes than the pixels themselves take.
    exact = len(lossless.encode(pixels(folder / "noise.png")))
    assert len(archive.row("noise.png").latents) == exact
    assert report.worst_name == "lake.png" and math.isfinite(report.mean_psnr)


def test_what_is_shorter_exactly_is_exact(folder):
    drawn = drawing(folder / "drawing.png")
    report, archive = compressed(folder, quality=75)
    assert archive.row("drawing.png").quality == EXACT and report.exact == 1
    assert archive.row("lake.png").quality == 75 and archive.row("noise.png").quality < EXACT
    assert np.array_equal(images.to_array(archive["drawing.png"]), drawn)
    latents = load_model(quick_model())[0].frozen().encode([drawn], 75)[0]
    assert len(archive.row("drawing.png").latents) < len(latents)


def test_what_finer_steps_do_not_help_is_soon_given_up(tmp_path, monkeypatch):
    """And images of one shape are decoded together."""
    (tmp_path / "in").mkdir()
    noise(28, 1).save(tmp_path / "in" / "noise.png")
    for number in range(3):
        shutil.copy(DIGITS / f"000{number}.png", tmp_path / "in")
    calls, model = [], digit_model()

    def encode(self, images, quality, effort=5):
        calls.append(("encode", len(images)))
        return before[0](self, images, quality, effort)

    def decode(self, payloads, shape, quality):
        calls.append(("decode", len(payloads)))
        return before[1](self, payloads, shape, quality)

    before = Dense.encode, Dense.decode
    monkeypatch.setattr(Dense, "encode", encode)
    monkeypatch.setattr(Dense, "decode", decode)
    report = aezip.compress(tmp_path / "in", tmp_path / "o.csv", model, compare=False)
    assert report.exact == 1 and calls[:2] == [("encode", 4), ("decode", 4)]
    assert 1 <= calls.count(("encode", 1)) <= 5


def test_the_comparison_takes_what_is_exact_as_it_is(folder):
    (folder / "noise.png").unlink()
    before = aezip.compress(folder, folder.parent / "1.csv", quick_model())
    drawing(folder / "drawing.png")
    after = aezip.compress(folder, folder.parent / "2.csv", quick_model())
    row = aezip.open(folder.parent / "2.csv").row("drawing.png")
    assert row.quality == EXACT
    for name, size in before.peers.items():
        assert after.peers[name] == pytest.approx(size + len(row.latents))


def test_of_a_promise_no_model_keeps_all_is_exact(folder):
    report, archive = compressed(folder, min_psnr=100)
    assert report.exact == 2 and math.isinf(report.worst_psnr)
    assert aezip.verify(archive.path, folder).wrong == []


def test_what_is_not_exact_after_all_is_refused_and_harms_no_other(folder, monkeypatch):
    def wrong(pixels):
        return encode(pixels[::-1] if pixels.shape[0] == 40 else pixels)

    encode = lossless.encode
    monkeypatch.setattr(lossless, "encode", wrong)
    report, archive = compressed(folder, lossless=True)
    assert report.failed == [("noise.png", "noise.png: its pixels cannot be stored exactly")]
    assert archive.names == ["lake.png"]


def test_what_is_beyond_a_limit_is_named_and_harms_no_other(folder, monkeypatch):
    with Image.open(folder / "lake.png") as image:
        image.resize((100, 100)).save(folder / "many.png")
        image.save(folder / "talkative.png", exif=b"Exif\0\0II*\0" + bytes(2000))
    noise(60).save(folder / "noise.png")
    monkeypatch.setenv("AEZIP_MAX_PIXELS", "9999")
    monkeypatch.setenv("AEZIP_MAX_METADATA_BYTES", "1999")
    monkeypatch.setenv("AEZIP_MAX_ROW_BYTES", "9000")
    report, archive = compressed(folder, quality=10, min_psnr=30)
    assert {name: why.split("(")[1] for name, why in report.failed} == {
        "many.png": "AEZIP_MAX_PIXELS)", "talkative.png": "AEZIP_MAX_METADATA_BYTES)",
        "noise.png": "AEZIP_MAX_ROW_BYTES)",
    }  # fmt: skip
    assert archive.names == ["lake.png"]


def test_mean_and_worst():
    assert mean_and_worst({"a": 30.0, "b": 20.0, "c": math.inf}) == (25.0, 20.0, "b")
    assert mean_and_worst({"a": math.inf}) == (math.inf, math.inf, "a")


@given(
    st.builds(
        Coded, st.just("a/ b\n%.png"),
        st.builds(Row, st.just("a/ b\n%.png"), st.integers(1, 99), st.integers(1, 99),
                  st.sampled_from(["L", "RGBA"]), st.integers(1, 101), st.binary(),
                  st.none() | st.integers(-(10**9), 10**12),
                  st.sampled_from(["", "0123abcd"]), st.binary()),
        st.floats(0, 99) | st.just(math.inf), st.integers(0, 9), st.integers(0, 10**19),
        st.binary(), st.integers(0, 9), st.text(max_size=5),
    )
)  # fmt: skip
def test_entries_of_a_journal(coded):
    assert from_entry(to_entry(coded)) == coded


# --- what belongs to an image -------------------------------------------------------------------

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation=1):
    found = Image.Exif()
    found[0x0112], found[0x010F] = orientation, "Camera"
    found[0x8825] = {1: "N"}
    read = Image.Exif()  # as of a file: Pillow writes no other into a TIFF
    read.load(found.tobytes())
    return read


@pytest.fixture
def taken(tmp_path):
    """Two photographs with all a camera writes, one without, each of its own time."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    with Image.open(photos() / "lake.png") as image:
        image.save(folder / "a.jpg", exif=exif(6), icc_profile=PROFILE, quality=95)
        image.save(folder / "below" / "b.png", exif=exif(1), icc_profile=PROFILE)
        image.save(folder / "c.webp")
        image.save(folder / "d.tif", exif=exif(1), icc_profile=PROFILE)
    for number, name in enumerate(sorted(files(folder))):
        os.utime(folder / name, (10**9 + 77 * number,) * 2)
    return folder


def test_everything_comes_back(taken):
    report, archive = compressed(taken, keep_metadata=True)
    assert report.dropped == 0 and 0 < report.kept < 400
    assert aezip.extract(archive, taken.parent / "out") == []
    for number, name in enumerate(sorted(files(taken))):
        path = (taken.parent / "out" / name).with_suffix(".png")
        assert os.stat(path).st_mtime == 10**9 + 77 * number
        with Image.open(path) as image:
            has = "c.webp" not in name
            assert image.info.get("icc_profile", b"") == (PROFILE if has else b"")
            found = image.getexif()
            assert image.size == ((64, 96) if name == "a.jpg" else (96, 64))
            if has:
                assert (found[0x010F], found.get(0x0112, 1)) == ("Camera", 1)
                assert found.get_ifd(0x8825)[1] == "N"
            else:
                assert not found


def test_exif_is_kept_only_when_asked_for(taken):
    report, archive = compressed(taken)
    assert report.kept == 0 and report.dropped > 150
    assert "exif" not in archive["a.jpg"].info
    assert archive["a.jpg"].info["icc_profile"] == PROFILE
    result = invoke("compress", taken, "p.csv", "--model", quick_model(), cwd=taken.parent)
    assert f"EXIF not kept: {report.dropped:,} bytes (--keep-metadata keeps it)" in result.stdout


def test_a_profile_that_no_png_can_have(tmp_path):
    profile = PROFILE + bytes((1 << 20) - len(PROFILE))
    (tmp_path / "in").mkdir()
    noise(8).save(tmp_path / "in" / "a.webp", icc_profile=profile, lossless=True)
    noise(9).save(tmp_path / "in" / "b.png", icc_profile=PROFILE)
    _, archive = compressed(tmp_path / "in", lossless=True)
    assert archive["a.webp"].info["icc_profile"] == profile
    out = tmp_path / "out"
    assert aezip.extract(archive, out) == [
        ("a.webp", f"{out}/a.png is without its colour profile: readers of PNG take none of 1048576"
                   " bytes"),
    ]  # fmt: skip
    for name in ("a", "b"):
        with Image.open(out / f"{name}.png") as image:
            image.load()
            assert image.info.get("icc_profile") == (PROFILE if name == "b" else None)
    done = invoke("view", archive.path, "--save", "x.png", cwd=tmp_path)
    assert done.exit_code == 0 and "without its colour profile" in done.stderr
    assert images.load(tmp_path / "x.png").lost == ""
    aezip.open(archive.path)["a.webp"].save(tmp_path / "y.webp", icc_profile=profile)
    assert images.write(archive["a.webp"], tmp_path / "x.webp") == ""


def test_a_profile_is_stored_once(taken, tmp_path):
    one = os.path.getsize(compressed(taken)[1].decoder_path)
    for number in range(9):
        shutil.copy(taken / "a.jpg", taken / f"{number}.jpg")
    report, archive = compressed(taken)
    assert abs(report.decoder_bytes - one) < 99
    assert {archive.row(x).profile for x in archive.names} == {archive.row("a.jpg").profile, ""}


def test_only_the_profile_that_is_asked_for_is_opened(taken, monkeypatch):
    other = PROFILE[:-4] + b"more"
    with Image.open(taken / "c.webp") as image:
        image.save(taken / "c.webp", icc_profile=other, lossless=True)
    _, archive = compressed(taken)
    opened, open_profile = [], archives.open_profile

    def noted(identity, *others):
        opened.append(identity)
        return open_profile(identity, *others)

    monkeypatch.setattr(archives, "open_profile", noted)
    assert archive["a.jpg"].info["icc_profile"] == archive["d.tif"].info["icc_profile"] == PROFILE
    assert opened == [archive.row("a.jpg").profile]
    assert archive["c.webp"].info["icc_profile"] == other


def test_a_profile_goes_when_its_last_image_does(taken):
    _, archive = compressed(taken)
    before = os.path.getsize(archive.decoder_path)
    aezip.remove(archive.path, ["a.jpg", "below/b.png"])
    assert os.path.getsize(archive.decoder_path) == before
    aezip.remove(archive.path, ["d.tif"])
    assert os.path.getsize(archive.decoder_path) < before - 300
    assert aezip.verify(archive.path, taken).wrong == []
    aezip.add(archive.path, taken)
    archive = aezip.open(archive.path)
    assert archive["a.jpg"].info["icc_profile"] == PROFILE
    assert aezip.verify(archive.path, taken).wrong == []


def test_a_profile_for_other_colours_is_not_kept(tmp_path):
    (tmp_path / "in").mkdir()
    noise(8).convert("CMYK").save(
        tmp_path / "in" / "a.jpg", icc_profile=b"\0" * 16 + b"CMYK" + b"\0" * 200
    )
    report, archive = compressed(tmp_path / "in")
    assert archive.row(0).profile == ""
    assert report.lost == [("a.jpg", "its colours as CMYK")]


def test_damaged_exif_harms_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    blocks = [b"", b"MM", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\1\x12" * 99]
    for number, block in enumerate(blocks):
        noise(8).save(tmp_path / "in" / f"{number}.jpg", exif=b"Exif\0\0" + block)
    report, archive = compressed(tmp_path / "in", keep_metadata=True)
    assert report.failed == [] and len(archive) == len(blocks)
    assert aezip.extract(archive, tmp_path / "out") == []


# --- deleting originals -------------------------------------------------------------------------


def test_originals_are_deleted_when_their_rows_are_there(taken):
    before = files(taken)
    options = ["--model", quick_model(), "--delete-originals"]
    asked = invoke("compress", taken, "o.csv", *options, cwd=taken.parent)
    assert asked.exit_code == 1 and "delete 4 images of" in asked.stdout  # nobody answered
    assert files(taken) == before and len(aezip.open(taken.parent / "o.csv")) == 4
    done = invoke("compress", taken, "o.csv", *options, "--force", "--yes", cwd=taken.parent)
    assert (done.exit_code, done.stderr) == (0, "")
    size = sum(map(len, before.values()))
    assert done.stdout.endswith(f"deleted 4 images, {size:,} bytes\n")
    assert files(taken) == {}
    refused(invoke("compress", taken, "p.csv", *options, cwd=taken.parent), "holds no images")
    assert invoke("compress", taken, "p.csv", "--yes", cwd=taken.parent).exit_code == 2


def test_what_holds_more_than_the_archive_stays(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    frames = [noise(20).convert("L"), noise(20).convert("L").rotate(90)]
    frames[0].save(folder / "frames.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((9, 9), 1234, np.uint16)).save(folder / "deep.png")
    noise(20).save(tmp_path / "elsewhere.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    noise(20).save(folder / "plain.png")
    options = ["--model", quick_model(), "--delete-originals", "--yes"]
    result = invoke("compress", folder, "o.csv", *options, cwd=tmp_path)
    assert result.exit_code == 1
    assert "deleted 1 image" in result.stdout
    assert sorted(files(folder)) == ["deep.png", "frames.gif", "link.png"]
    assert sorted(result.stderr.splitlines()) == [
        f"aezip: {folder}/deep.png is kept: its more than 8 bits a channel would be lost",
        f"aezip: {folder}/frames.gif is kept: its further frames would be lost",
        f"aezip: {folder}/link.png is kept: it is a link, or in a folder that is one",
    ]


def hiding(colour):
    """Opaque and grey above, wholly transparent and of another colour below."""
    pixels = np.full((24, 24, 4), (90, 90, 90, 255), np.uint8)
    pixels[12:] = (*colour, 0)
    return Image.fromarray(pixels)


def test_colours_that_nobody_sees_are_kept_or_named(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(8):
        hiding((250, number, 0)).save(folder / f"{number}.png")
    hiding((0, 0, 0)).save(folder / "black.png")
    aezip.fit(folder, tmp_path / "m.h5", arch="dense", steps=60)
    lossy = {"model": tmp_path / "m.h5", "compare": False, "quality": 90, "force": True}
    report = aezip.compress(folder, tmp_path / "o.csv", min_psnr=10, **lossy)
    archive = aezip.open(tmp_path / "o.csv")
    assert archive.row("0.png").quality != EXACT
    what = "its colours where it is wholly transparent"
    assert report.lost == [(f"{number}.png", what) for number in range(8)]
    report = aezip.compress(folder, tmp_path / "p.csv", lossless=True, compare=False)
    archive = aezip.open(tmp_path / "p.csv")
    assert report.lost == []
    assert archive["0.png"].tobytes() == Image.open(folder / "0.png").tobytes()
    deleted = aezip.delete_originals(tmp_path / "o.csv", folder, dict.fromkeys(archive.names, 0))
    assert deleted.kept[0] == ("0.png", f"{folder}/0.png is kept: {what} would be lost")
    assert sorted(files(folder)) == [f"{number}.png" for number in range(8)]
    deleted = aezip.delete_originals(tmp_path / "p.csv", folder, report.psnrs)
    assert deleted.count == 8 and files(folder) == {}


@pytest.mark.parametrize(("colour", "lost"), [((0, 0, 0), False), ((0, 0, 1), True)])
def test_black_that_nobody_sees_is_nothing_lost(tmp_path, colour, lost):
    original = np.asarray(hiding(colour))
    decoded = original.copy()
    decoded[12:, :, :3] = 90
    assert bool(lost_colours(original, decoded, 40.0, 30.0)) is lost


def test_a_file_that_is_not_what_was_compressed_stays(folder):
    report, archive = compressed(folder)
    noise(40).rotate(90).save(folder / "noise.png")
    deleted = aezip.delete_originals(archive.path, folder, report.psnrs)
    assert (deleted.count, sorted(files(folder))) == (1, ["noise.png"])
    assert "its row does not decode to it" in deleted.kept[0][1]


def test_no_original_is_deleted_of_an_archive_that_is_not_whole(folder):
    report, archive = compressed(folder)
    lines = archive.path.read_bytes().split(b"\n")
    archive.path.write_bytes(b"\n".join([lines[0], lines[2], b""]))
    with pytest.raises(ArchiveError, match=r"has 1 of its 2 rows.*no original was deleted"):
        aezip.delete_originals(archive.path, folder, report.psnrs)
    archive.path.write_bytes(b"\n".join([lines[0], lines[1], lines[2][:-1] + b"!", b""]))
    deleted = aezip.delete_originals(archive.path, folder, report.psnrs)
    assert sorted(files(folder)) == ["noise.png"] and deleted.count == 1


@pytest.mark.skipif(os.name != "posix", reason="links as of POSIX")
def test_what_is_reached_through_a_link_stays(folder, tmp_path):
    """The file may be somebody else's."""
    (folder / "below").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    noise(20).save(tmp_path / "elsewhere" / "a.png")
    report, archive = compressed(folder)
    deleted = aezip.delete_originals(archive.path, folder, report.psnrs)
    assert deleted.count == 2
    assert [name for name, _ in deleted.kept] == ["below/a.png"]
    assert "in a folder that is one" in deleted.kept[0][1]
    assert (tmp_path / "elsewhere" / "a.png").exists()


def test_a_file_that_is_changed_while_it_is_compared_stays(folder, monkeypatch):
    report, archive = compressed(folder)
    before = files(folder)

    def slow(*images):
        with open(folder / "lake.png", "ab") as file:
            file.write(b"more")
        return psnr(*images)

    monkeypatch.setattr(originals, "psnr", slow)
    deleted = aezip.delete_originals(archive.path, folder, {"lake.png": report.psnrs["lake.png"]})
    assert deleted.count == 0 and "it was changed meanwhile" in deleted.kept[0][1]
    assert files(folder)["lake.png"] == before["lake.png"] + b"more"


@pytest.mark.parametrize(("less", "count"), [(0, 1), (0.1, 0), (1, 0)])
def test_a_row_that_decodes_worse_than_was_measured_is_no_reason(folder, less, count):
    report, archive = compressed(folder)
    expected = {"lake.png": report.psnrs["lake.png"] + less}
    deleted = aezip.delete_originals(archive.path, folder, expected)
    assert deleted.count == count and (folder / "lake.png").exists() is not bool(count)


def test_no_original_is_deleted_of_rows_in_disorder(taken):
    report, archive = compressed(taken)
    before = files(taken)
    lines = archive.path.read_bytes().split(b"\n")
    archive.path.write_bytes(b"\n".join([lines[0], lines[2], lines[1], *lines[3:]]))
    with pytest.raises(ArchiveError, match=r"not in the order.*; no original was deleted"):
        aezip.delete_originals(archive.path, taken, report.psnrs)
    assert files(taken) == before


# --- profiles of the rows that stay -------------------------------------------------------------


def test_added_images_leave_the_others_their_profiles(taken, tmp_path):
    _, archive = compressed(taken)
    (tmp_path / "more").mkdir()
    noise(20).save(tmp_path / "more" / "plain.png")
    aezip.add(archive.path, tmp_path / "more")
    assert aezip.verify(archive.path, taken).wrong == []
    assert aezip.open(archive.path)["a.jpg"].info["icc_profile"] == PROFILE


def test_a_damaged_row_keeps_its_profile(taken):
    """A copy of the CSV may have it whole."""
    _, archive = compressed(taken)
    aezip.remove(archive.path, ["a.jpg", "below/b.png"])
    whole = archive.path.read_bytes()
    lines = whole.split(b"\n")
    at = next(i for i, line in enumerate(lines) if line.startswith(b"d.tif"))
    lines[at] = lines[at][:-1] + (b"A" if lines[at][-1:] != b"A" else b"B")
    archive.path.write_bytes(b"\n".join(lines))
    aezip.remove(archive.path, ["c.webp"])
    lines = archive.path.read_bytes().split(b"\n")
    archive.path.write_bytes(b"\n".join([lines[0], whole.split(b"\n")[at], b""]))
    assert aezip.open(archive.path)["d.tif"].info["icc_profile"] == PROFILE
