import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from folders import (
    DIGITS,
    decibels,
    digit_archive,
    files,
    photo_archive,
    photo_model,
    photos,
    pixels,
)
from PIL import Image
from samples import DATA

import aezip
from aezip import extracting, images
from aezip.archive import load_decoder
from aezip.errors import ArchiveError, ModelError
from aezip.metrics import psnr
from aezip.storage.hdf5 import read_decoder, write_decoder
from aezip.storage.limits import MAX_PIXELS
from aezip.storage.rows import Row, write_rows


def same(a, b):
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


@pytest.fixture
def archive():
    return aezip.open(digit_archive())


@pytest.fixture
def copied(tmp_path):
    """The digits' archive in a folder of its own, to be damaged."""
    for path in (digit_archive(), digit_archive().with_suffix(".h5")):
        shutil.copy(path, tmp_path)
    return tmp_path / "out.csv"


def damage_row(path, number, old=None):
    """Change the last character of a row's latents, or put bad text before its name."""
    lines = path.read_bytes().split(b"\n")
    line = lines[number + 1]
    if old is None:
        lines[number + 1] = line[:-1] + (b"A" if line[-1:] != b"A" else b"B")
    else:
        lines[number + 1] = old + line
    path.write_bytes(b"\n".join(lines))


def crafted(path, names, latents=None):
    """An archive of one digit under many names."""
    row = aezip.open(digit_archive()).row(0)
    header, parameters, identity = read_decoder(digit_archive().with_suffix(".h5"))
    write_decoder(path.with_suffix(".h5"), header, parameters)
    payloads = latents or [row.latents] * len(names)
    rows = [
        Row(name, row.width, row.height, row.mode, row.quality, payload)
        for name, payload in zip(names, payloads, strict=True)
    ]
    write_rows(path, rows, identity, header["defaults"])
    return path


# --- the public names ---------------------------------------------------------------------------


def test_importing_aezip_loads_no_numpy():
    code = "import aezip, sys; assert 'numpy' not in sys.modules and 'PIL' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_public_name_is_there():
    for name in aezip.__all__:
        assert getattr(aezip, name) is not None
    assert aezip.open is aezip.Archive
    assert issubclass(aezip.ArchiveError, aezip.AezipError)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aezip.nothing


def test_fit_compress_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    aezip.fit(DIGITS, arch="dense", steps=2)
    report = aezip.compress(DIGITS, "out.csv")
    archive = aezip.open("out.csv")
    assert len(archive) == report.images == 40
    assert decibels(pixels(DIGITS / "0003.png"), images.to_array(archive[3])) > 10


# --- a sequence of images -----------------------------------------------------------------------


def test_images_by_number_and_name(archive):
    assert len(archive) == 40
    assert archive.names == [f"{number:04}.png" for number in range(40)]
    assert isinstance(archive[3], Image.Image)
    assert (archive[3].mode, archive[3].size) == ("L", (28, 28))
    assert same(archive[3], archive["0003.png"]) and same(archive[-1], archive[39])
    assert same(archive[np.int64(3)], archive[3])
    assert not same(archive[3], archive[4])
    assert archive.find("0007.png") == 7
    assert archive.row(7).name == archive.row("0007.png").name == archive.row(-33).name
    assert same(archive.decode(archive.row(7)), archive[7])


def test_what_is_not_there(archive):
    for number in (40, -41, 10**30):
        with pytest.raises(IndexError, match="has 40 rows, numbered from 0 to 39; there is no row"):
            archive[number]
    with pytest.raises(IndexError, match="has 1 row, numbered 0"):
        archive[:1][1]
    with pytest.raises(IndexError, match="has no rows"):
        archive[:0][0]
    for name in ("", "40.png", "0003"):
        with pytest.raises(KeyError):
            archive[name]


def test_a_slice_is_an_archive(archive):
    assert archive.find("0012.png") == 12  # what is remembered of the whole is not the part's
    part = archive[10:20]
    assert isinstance(part, aezip.Archive) and len(part) == 10
    assert same(part[0], archive[10]) and same(part[-1], archive[19])
    assert part.names == archive.names[10:20] and part.find("0012.png") == 2
    assert same(part["0012.png"], archive[12])
    with pytest.raises(KeyError):
        part["0009.png"]
    with pytest.raises(IndexError):
        part[10]
    assert len(archive) == 40 and archive.find("0012.png") == 12


def test_a_slice_of_a_slice(archive):
    part = archive[30:10:-2][1:4]
    assert part.names == ["0028.png", "0026.png", "0024.png"]
    assert [same(a, archive[n]) for a, n in zip(part, (28, 26, 24), strict=True)] == [True] * 3
    assert archive[5:5].names == [] and list(archive[50:]) == []


def test_iteration(archive):
    every = list(archive)
    assert len(every) == 40
    assert all(same(image, archive[number]) for number, image in enumerate(every))
    assert same(next(reversed(archive)), every[-1])


def test_thumbnails_are_small_and_of_the_same_proportions():
    archive = aezip.open(photo_archive())
    for number, whole in enumerate(archive):
        row = archive.row(number)
        for side in (1, 20, 48, 500):
            small = archive.thumbnail(row, side)
            assert small.mode == whole.mode
            assert max(small.size) <= min(side, max(whole.size))
            assert max(small.size) >= min(0.75 * side, max(whole.size)) - 1
            assert abs(small.width * whole.height / whole.width - small.height) < 2
        assert same(archive.thumbnail(row, 500), whole)
    digits = aezip.open(digit_archive())
    assert digits.thumbnail(digits.row(3), 14).size == (14, 14)


def test_heads_are_those_of_a_slice():
    archive = aezip.open(digit_archive())
    assert [head.name for head in archive[3:9:2].heads()] == archive[3:9:2].names


def test_paths_of_every_kind(tmp_path):
    path = photo_archive()
    assert aezip.open(str(path)).names == aezip.open(path).names
    assert aezip.open(path).decoder_path == path.with_suffix(".h5")
    named = shutil.copy(path, tmp_path / "LOUD.CSV")
    shutil.copy(path.with_suffix(".h5"), tmp_path / "LOUD.h5")
    assert len(aezip.open(named)) == 3


def outcomes(archive, folder, **options):
    """What became of each row, in their order: (name, None) or (name, why it was not written)."""
    failed = aezip.extract(archive, folder, **options)
    why = dict(failed)
    assert len(why) == len(failed)
    names = []
    for number in range(len(archive)):
        try:
            names.append(archive.row(number).name)
        except ArchiveError:
            names.append(f"row {number}")
    assert why.keys() <= set(names)
    return [(name, why.get(name)) for name in names]


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, b"%zz", b"\xff"])
def test_a_damaged_row_harms_no_other(copied, old):
    damage_row(copied, 5, old)
    archive = aezip.open(copied)
    whole = aezip.open(digit_archive())
    assert len(archive) == 40
    with pytest.raises(ArchiveError, match=r"out.csv, row 5.* is damaged"):
        archive[5]
    assert all(same(archive[n], whole[n]) for n in range(40) if n != 5)
    assert same(archive["0006.png"], whole[6])
    results = dict(outcomes(archive, copied.parent / "images"))
    assert len(results) == 40
    assert len([x for x in results.values() if x]) == 1
    written = sorted(os.listdir(copied.parent / "images"))
    assert written == [x for x in whole.names if x != "0005.png"]


def test_latents_of_no_image_are_an_error_or_an_image_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    payloads = [rng.bytes(n) for n in range(40)] + [b"\0" * 20, b"\xff" * 20]
    names = [f"{number}.png" for number in range(len(payloads))]
    archive = aezip.open(crafted(tmp_path / "o.csv", names, payloads))
    refused = 0
    for name in names:
        try:
            assert archive[name].size == (28, 28)
        except ArchiveError as error:
            refused += 1
            assert f"o.csv: {name} cannot be decoded: " in str(error)
    assert refused


@pytest.mark.parametrize(
    "changed", [{"width": 27}, {"mode": "RGB"}, {"quality": 0}, {"quality": 101},
                {"width": 10**6, "height": MAX_PIXELS // 10**6 + 1}]
)  # fmt: skip
def test_rows_that_claim_what_cannot_be(tmp_path, changed):
    row = aezip.open(digit_archive()).row(0)
    header, parameters, identity = read_decoder(digit_archive().with_suffix(".h5"))
    write_decoder(tmp_path / "o.h5", header, parameters)
    write_rows(tmp_path / "o.csv", [Row(**{**vars(row), **changed})], identity, header["defaults"])
    archive = aezip.open(tmp_path / "o.csv")
    with pytest.raises(ArchiveError, match=r"o\.csv: 0000\.png cannot be decoded: "):
        archive[0]


def test_padding_counts_as_pixels(tmp_path, monkeypatch):
    """A line of pixels has as much to compute as an image 64 times as high."""
    archive = aezip.open(photo_archive())
    header, parameters, identity = read_decoder(photo_archive().with_suffix(".h5"))
    write_decoder(tmp_path / "o.h5", header, parameters)
    latents = archive.decoder.encode([np.full((1, 640, 3), 90, np.uint8)], 75)[0]
    line = Row(**{**vars(archive.row(0)), "width": 640, "height": 1, "latents": latents})
    write_rows(tmp_path / "o.csv", [line], identity, header["defaults"])
    monkeypatch.setenv("AEZIP_MAX_PIXELS", str(640 * 32))
    assert aezip.open(tmp_path / "o.csv")[0].size == (640, 1)
    monkeypatch.setenv("AEZIP_MAX_PIXELS", str(640 * 32 - 1))
    with pytest.raises(ArchiveError, match=r"it takes more than 40958 pixels"):
        aezip.open(tmp_path / "o.csv")[0]


def test_what_is_no_archive(tmp_path):
    (tmp_path / "table.csv").write_text("name,size\na,1\n")
    with pytest.raises(ArchiveError, match=r"table\.csv is not an aezip archive"):
        aezip.open(tmp_path / "table.csv")
    with pytest.raises(ArchiveError, match="there is no such file"):
        aezip.open(tmp_path / "none.csv")
    with pytest.raises(ArchiveError, match=r"ends in \.csv"):
        aezip.open(digit_archive().with_suffix(".h5"))


# --- the decoder --------------------------------------------------------------------------------


def test_a_missing_decoder(copied):
    copied.with_suffix(".h5").unlink()
    with pytest.raises(ModelError, match=r"out.h5, the decoder of .*out.csv, is missing: keep"):
        aezip.open(copied)


def test_the_decoder_of_another_archive(copied):
    shutil.copy(photo_archive().with_suffix(".h5"), copied.with_suffix(".h5"))
    with pytest.raises(ModelError, match=r"out.h5 is not the decoder that .*out.csv was written"):
        aezip.open(copied)


def test_a_model_in_the_decoders_place(copied):
    shutil.copy(photo_model(), copied.with_suffix(".h5"))
    with pytest.raises(ModelError, match="is a fitted model"):
        aezip.open(copied)


def test_a_newer_decoder(copied):
    with h5py.File(copied.with_suffix(".h5"), "r+") as file:
        file.attrs.modify("version", np.uint8(2))
    with pytest.raises(ModelError, match="format version 2, written by a newer aezip"):
        aezip.open(copied)


@pytest.mark.parametrize("where", [0, 100, -50])
def test_a_damaged_decoder(copied, where):
    path = copied.with_suffix(".h5")
    data = bytearray(path.read_bytes())
    data[where] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"out\.h5"):
        aezip.open(copied)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ModelError, match=r"out\.h5"):
        aezip.open(copied)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({}, "architecture that this aezip does not know"),
        ({"arch": "other"}, "architecture that this aezip does not know"),
        ({"arch": "dense"}, "its header is incomplete"),
        ({"arch": "dense", "config": [], "defaults": {}}, "its header is incomplete"),
        ({"arch": "dense", "config": {}, "defaults": {}}, "its architecture makes no sense"),
        ({"arch": "pyramid", "config": {}, "defaults": {}}, "its architecture makes no sense"),
    ],
)
def test_decoders_of_strangers(tmp_path, header, says):
    identity = write_decoder(tmp_path / "o.h5", header, b"abc")
    with pytest.raises(ModelError, match=rf"o\.h5.* {says}"):
        load_decoder(tmp_path / "o.h5")
    write_rows(tmp_path / "o.csv", [], identity, {})
    with pytest.raises(ModelError, match=says):
        aezip.open(tmp_path / "o.csv")


# --- extracting ---------------------------------------------------------------------------------


def test_extract_makes_the_folders_again(tmp_path):
    archive = aezip.open(photo_archive())
    results = list(outcomes(archive, tmp_path / "new" / "images"))
    assert results == [(name, None) for name in archive.names]
    written = files(tmp_path / "new" / "images")
    assert sorted(written) == ["animals/dogs.png", "drum.png", "lake.png"]
    for name in archive.names:
        path = (tmp_path / "new" / "images" / name).with_suffix(".png")
        assert np.array_equal(pixels(path), images.to_array(archive[name]))
        assert decibels(pixels(path), pixels(photos() / name)) > 25


def test_extract_in_several_processes_does_the_same(tmp_path, monkeypatch):
    shared = []
    real = extracting.workers.share_out
    monkeypatch.setattr(
        extracting.workers, "share_out", lambda *a: shared.append(a[-1]) or real(*a)
    )
    monkeypatch.setattr(extracting, "_BATCH_PIXELS", 5 * 28 * 28)
    archive = aezip.open(digit_archive())[3:23]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "0004.png").write_text("mine")
    told = []
    assert aezip.extract(archive, tmp_path / "one") == [] and shared == []
    failed = aezip.extract(archive, tmp_path / "two", jobs=2, progress=told.append)
    assert [name for name, _ in failed] == ["0004.png"] and shared == [2]
    assert told[-1] == 20 and told == sorted(told)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert two.pop("0004.png") == b"mine" and one.pop("0004.png")
    assert one == two and len(one) == 19


def test_extract_overwrites_only_when_told(tmp_path):
    archive = aezip.open(digit_archive())[:3]
    (tmp_path / "0001.png").write_text("mine")
    results = dict(outcomes(archive, tmp_path))
    assert results["0000.png"] is None and results["0002.png"] is None
    assert "0001.png is there already (--force overwrites it)" in results["0001.png"]
    assert (tmp_path / "0001.png").read_text() == "mine"
    assert set(dict(outcomes(archive, tmp_path, force=True)).values()) == {None}
    assert same(Image.open(tmp_path / "0001.png"), archive[1])


BAD_NAMES = ["../a.png", "/a.png", "b/../../a.png", "/"]
# Ways out on Windows, and ordinary names elsewhere.
FOREIGN_NAMES = ["C:\\a.png", "C:a.png", "\\\\host\\a.png", "..\\a.png", "b/..\\..\\a.png"]


def test_no_name_leads_out_of_the_folder(tmp_path):
    archive = aezip.open(crafted(tmp_path / "o.csv", [*BAD_NAMES, *FOREIGN_NAMES, "good.png"]))
    (tmp_path / "in").mkdir()
    results = dict(outcomes(archive, tmp_path / "in" / "images"))
    assert results.pop("good.png") is None
    bad = [*BAD_NAMES, *FOREIGN_NAMES] if os.name == "nt" else BAD_NAMES
    assert all("outside of the folder" in results.pop(x) for x in bad)
    assert set(results.values()) <= {None}
    written = {f"in/images/{x}" for x in ("good.png", *results)}
    assert {*files(tmp_path)} == {*written, "o.csv", "o.h5"}


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_no_link_leads_out_of_the_folder(tmp_path):
    archive = aezip.open(crafted(tmp_path / "o.csv", ["link/a.png", "b.png"]))
    (tmp_path / "images").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "images" / "link").symlink_to(tmp_path / "outside")
    results = dict(outcomes(archive, tmp_path / "images"))
    assert "outside of" in results["link/a.png"] and results["b.png"] is None
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
@pytest.mark.parametrize("force", [False, True])
def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path, force):
    archive = aezip.open(crafted(tmp_path / "o.csv", ["a.png"]))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").symlink_to(tmp_path / "outside.png")
    results = dict(outcomes(archive, tmp_path / "images", force=force))
    assert results["a.png"] is not None and not (tmp_path / "outside.png").exists()


def test_names_that_are_no_names(tmp_path):
    names = [".", "..", "a\0b.png", "a\0b/c.png", "a\nb.png", " ", "x" * 300, "good.png"]
    archive = aezip.open(crafted(tmp_path / "o.csv", names))
    results = list(outcomes(archive, tmp_path / "images"))
    assert [x[0] for x in results] == names
    failed = {name: error for name, error in results if error}
    assert {"a\0b.png", "a\0b/c.png", "x" * 300} <= failed.keys()
    assert "good.png" not in failed
    assert all(error.isprintable() for error in failed.values())
    assert {x.split("/")[0] for x in files(tmp_path)} == {"images", "o.csv", "o.h5"}


def test_names_that_differ_in_the_extension_alone_are_both_kept(tmp_path):
    names = ["a.jpg", "a.png", "b.tif", "c/a.jpg", "noextension", "b.tif.png"]
    archive = aezip.open(crafted(tmp_path / "o.csv", names))
    for force in (False, True):
        folder = tmp_path / f"{force}"
        assert list(outcomes(archive, folder, force=force)) == [(x, None) for x in names]
        assert sorted(files(folder)) == [
            "a.jpg.png", "a.png.png", "b.png", "b.tif.png.png", "c/a.png", "noextension.png",
        ]  # fmt: skip


def test_extract_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    results = list(outcomes(aezip.open(digit_archive())[:2], tmp_path / "file"))
    assert len(results) == 2 and all("cannot be written" in x[1] for x in results)
    assert (tmp_path / "file").read_text() == "in the way"


# --- images of every kind, from file to file ----------------------------------------------------


def test_every_kind_of_image(tmp_path):
    """What comes out has the kind and size of what went in, and looks like it."""
    with Image.open(DATA / "photos" / "lake.jpg") as photo:
        rgb = photo.crop((100, 100, 177, 160))
    grey, alpha = rgb.convert("L"), Image.linear_gradient("L").resize(rgb.size)
    folder = tmp_path / "in"
    folder.mkdir()
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {
        "1.png": (grey.convert("1", dither=Image.Dither.NONE), "L"),
        "16.png": (Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "L"),
        "L.png": (grey, "L"),
        "LA.png": (Image.merge("LA", [grey, alpha]), "LA"),
        "P.png": (rgb.quantize(64), "RGB"),
        "RGB.png": (rgb, "RGB"),
        "RGBA.png": (rgba, "RGBA"),
        "cmyk.jpg": (rgb.convert("CMYK"), "RGB"),
        "one.png": (rgb.crop((5, 5, 6, 6)), "RGB"),
        "narrow.png": (grey.resize((1, 77), Image.Resampling.BOX), "L"),
        "flat.png": (rgb.resize((77, 1), Image.Resampling.BOX), "RGB"),
        "turned.jpg": (rgb, "RGB"),
    }
    for name, (image, _) in kinds.items():
        options = {"exif": turned} if name == "turned.jpg" else {}
        image.save(folder / name, **options)
    aezip.fit(folder, tmp_path / "m.h5", steps=5)
    report = aezip.compress(folder, tmp_path / "o.csv", tmp_path / "m.h5", quality=90)
    assert report.failed == [] and report.images == len(kinds)
    archive = aezip.open(tmp_path / "o.csv")
    assert all(x[1] is None for x in outcomes(archive, tmp_path / "out"))
    for name, (image, mode) in kinds.items():
        size = image.size[::-1] if name == "turned.jpg" else image.size
        assert (archive.row(name).mode, archive[name].size) == (mode, size), name
        with Image.open((tmp_path / "out" / name).with_suffix(".png")) as out:
            assert (out.mode, out.size) == (mode, size), name
            before, after = images.to_array(images.read(folder / name)), images.to_array(out)
        assert psnr(before, after) > 30, name
    assert report.worst_psnr > 30
