from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from folders import (
    DIGITS,
    copied,
    decibels,
    digit_archive,
    files,
    foreign_archive,
    foreign_photos,
    invoke,
    photo_archive,
    photos,
    pixels,
    refused,
    run,
)
from PIL import Image

import aezip
from aezip import images, sheet


@pytest.fixture
def drawn(monkeypatch):
    """What is written on a sheet, and where."""
    words = []
    pen = sheet.ImageDraw.ImageDraw.text

    def text(self, place, text, *more, **options):
        words.append((text, place))
        return pen(self, place, text, *more, **options)

    monkeypatch.setattr(sheet.ImageDraw.ImageDraw, "text", text)
    return words


def found_in(page: np.ndarray, part: np.ndarray) -> list[tuple[int, int]]:
    """(top, left) of each place where the part is, pixel by pixel."""
    h, w = part.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(page, (h, w), axis=(0, 1))
    diagonal = range(0, min(h, w), 5)  # a few pixels tell most places apart
    same = np.ones(windows.shape[:2], bool)
    for at in diagonal:
        same &= (windows[:, :, :, at, at] == part[at, at]).all(axis=2)
    places = np.argwhere(same)
    return [(y, x) for y, x in places if np.array_equal(page[y : y + h, x : x + w], part)]


def test_small_images_stand_enlarged_below_their_originals(tmp_path, drawn):
    done = invoke("sheet", digit_archive(), "x.png", "--against", DIGITS, cwd=tmp_path)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "10 images -> x.png\n", "")
    page = pixels(tmp_path / "x.png")
    archive = aezip.open(digit_archive())
    lines = digit_archive().read_bytes().splitlines(keepends=True)[1:]
    for row in (0, 4, 39):  # ten of forty, the first and the last among them
        name = archive.names[row]
        pair = images.to_array(images.read(DIGITS / name)), images.to_array(archive[row])
        places = []
        for image in pair:
            large = np.repeat(np.repeat(np.repeat(image, 4, 0), 4, 1), 3, 2)
            (place,) = found_in(page, large)
            places.append(place)
        (above, left), (below, same) = places
        assert left == same and below == above + 112 + 8
        under = [
            text
            for text, (x, y) in drawn
            if left < x < left + 112 and below + 112 < y < below + 160
        ]
        assert under == [f"{decibels(*pair):.1f} dB", f"{len(lines[row])} bytes"]


def test_larger_images_stand_in_lines_of_one_height(tmp_path, drawn):
    assert run("sheet", photo_archive(), "x.png", cwd=tmp_path).returncode == 0
    page = pixels(tmp_path / "x.png")
    for image in aezip.open(photo_archive()):  # none is over 96 pixels: they are drawn as tiles
        assert len(found_in(page, images.to_array(image))) == 1
    invoke("sheet", photo_archive(), "y.png", cwd=tmp_path)
    assert not [text for text, _ in drawn if "dB" in text]
    wide = sheet._in_line(Image.new("L", (3000, 1000)))
    assert wide == (440, 147) and sheet._in_line(Image.new("L", (500, 1000))) == (110, 220)


def test_colours_are_those_that_the_profile_means(tmp_path):
    run("sheet", foreign_archive(), "x.png", "--against", foreign_photos(), cwd=tmp_path)
    page = pixels(tmp_path / "x.png")
    for name in aezip.open(foreign_archive()).names:
        swapped = pixels(foreign_photos() / name)[..., [1, 0, 2]].astype(int)
        height, width = swapped.shape[:2]
        places = [
            (y, x)
            for y in range(16, page.shape[0] - height)
            for x in range(94, page.shape[1] - width)
            if (np.abs(page[y, x : x + width : 9] - swapped[0, ::9]) <= 2).all()
        ]
        found = [page[y : y + height, x : x + width] - swapped for y, x in places]
        assert sum(np.abs(x).max() <= 2 for x in found) == 2  # above and below


@pytest.mark.parametrize(("rows", "count"), [("0:3", 3), ("7", 1), ("-2:", 2), ("0:25", 25)])
def test_rows_one_asks_for(tmp_path, rows, count):
    done = invoke("sheet", digit_archive(), "x.webp", "--rows", rows, "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"images": count, "picture": "x.webp", "failed": []}
    height = images.read(tmp_path / "x.webp").height
    assert height == 32 + -(-count // 10) * (112 + 26 + 8) - 8


def test_the_next_row_stands_in_for_a_damaged_one(tmp_path, drawn):
    csv = copied(digit_archive(), tmp_path)
    lines = csv.read_bytes().split(b"\n")
    damaged = [1, 5, 10]  # lines; rows 0 and 9 are chosen, row 4 is
    for line in damaged:
        lines[line] = lines[line][:-1] + (b"A" if lines[line][-1:] != b"A" else b"B")
    csv.write_bytes(b"\n".join(lines))
    assert sheet.chosen(aezip.open(csv))[:3] == [0, 4, 9]
    steps = []
    count, failed = sheet.sheet(
        aezip.open(csv), tmp_path / "x.png", progress=lambda *step: steps.append(step)
    )
    assert count == 10 and [name for name, _ in failed] == ["row 0", "row 4", "row 9"]
    assert steps == [(i, 10) for i in range(1, 11)]
    done = invoke("sheet", "out.csv", "x.png", cwd=tmp_path)
    assert (done.exit_code, done.stdout) == (1, "10 images -> x.png\n")
    assert done.stderr.count("is damaged") == 3
    page = pixels(tmp_path / "x.png")
    for row in (1, 5, 10):
        image = images.to_array(aezip.open(csv)[row])
        large = np.repeat(np.repeat(np.repeat(image, 4, 0), 4, 1), 3, 2)
        assert len(found_in(page, large)) == 1
    done = invoke("sheet", "out.csv", "x.png", "--rows", "0:3", "--json", cwd=tmp_path)
    assert done.exit_code == 1 and json.loads(done.stdout)["images"] == 2
    refused(invoke("sheet", "out.csv", "y.png", "--rows", "0", cwd=tmp_path), "damaged")
    assert not (tmp_path / "y.png").exists()


def test_what_cannot_be_drawn(tmp_path):
    folder = shutil.copytree(photos(), tmp_path / "photos")
    (folder / "drum.jpg").unlink()
    csv = photo_archive()
    for arguments, says in (
        (["x.png", "--against", folder], "drum.jpg"),
        (["x.png", "--against", "none"], "none"),
        (["x.png", "--rows", "9:"], "has no rows 9:"),
        (["x.gif"], "x.gif: pictures are written as"),
        (["none/x.png"], "none/x.png cannot be written"),
    ):
        refused(invoke("sheet", csv, *arguments, cwd=tmp_path), says)
    Image.new("RGB", (3, 3)).save(folder / "drum.jpg")
    refused(invoke("sheet", csv, "x.png", "--against", folder, cwd=tmp_path),
            "drum.jpg is not the image of row 1")  # fmt: skip
    before = files(folder)
    refused(invoke("sheet", csv, folder / "lake.png", "--against", folder, cwd=tmp_path),
            "lake.png would lie among the images")  # fmt: skip
    assert files(folder) == before
    assert invoke("sheet", csv, "x.png", "--rows", "x", cwd=tmp_path).exit_code == 2
    assert not (tmp_path / "x.png").exists()
