import csv
import re
import shutil

import numpy as np
import pytest
from folders import (
    copied,
    decibels,
    digit_archive,
    files,
    invoke,
    photos,
    pixels,
    quick_archive,
    refused,
    run,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import aezip
from aezip import images
from aezip.storage.hdf5 import read_decoder, write_decoder


@pytest.fixture
def here(tmp_path):
    """A folder with the photographs' archive `out.csv`, and their originals in `photos`."""
    shutil.copytree(photos(), tmp_path / "photos")
    return copied(quick_archive(), tmp_path).parent


@pytest.fixture
def digits(tmp_path):
    """The digits' archive, to be damaged."""
    return copied(digit_archive(), tmp_path)


def wrong(path, **options):
    """What is said to be wrong, without the path."""
    found = aezip.verify(path, **options).wrong
    assert all(line.isprintable() and str(path.parent) in line for line in found)
    return [line.replace(f"{path.parent}/", "") for line in found]


def lines(path):
    return path.read_bytes().split(b"\n")


def same(a, b):
    return a.mode == b.mode and a.tobytes() == b.tobytes()


# --- all is well --------------------------------------------------------------------------------


def test_a_whole_archive(here):
    done = run("verify", "out.csv", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3 of 3 rows are whole and decode\n"


def test_against_the_originals(here):
    (here / "photos" / "drum.jpg").unlink()
    done = run("verify", "out.csv", "--against", "photos", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    archive = aezip.open(here / "out.csv")
    db = {
        name: decibels(pixels(here / "photos" / name), images.to_array(archive[name]))
        for name in ("animals/dogs.png", "lake.png")
    }
    worst = min(db, key=db.get)
    assert done.stdout == (
        "3 of 3 rows are whole and decode\n"
        f"PSNR {np.mean([*db.values()]):.2f} dB on average, at worst {db[worst]:.2f} dB ({worst})\n"
        "compared with 2 originals, 1 are gone\n"
    )


def test_originals_that_are_in_no_row_are_named(here):
    """They would be lost with the folder."""
    shutil.copy(here / "photos" / "lake.png", here / "photos" / "animals" / "new\n.png")
    (here / "photos" / "broken.jpg").write_bytes(b"nothing")
    (here / "photos" / "notes.txt").write_text("no image")
    done = run("verify", "out.csv", "--against", "photos", cwd=here)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "aezip: photos/animals/new\\n.png is not in out.csv",
        "aezip: photos/broken.jpg is not in out.csv",
    ]
    assert done.stdout.splitlines()[-2:] == [
        "compared with 3 originals, 0 are gone", "not in out.csv: 2 images of photos"
    ]  # fmt: skip
    found = aezip.verify(here / "out.csv", here / "photos")
    assert found.wrong == [] and found.absent == ["animals/new\n.png", "broken.jpg"]
    assert aezip.verify(here / "out.csv").absent == []
    shutil.rmtree(here / "photos")
    (here / "photos").mkdir()
    found = aezip.verify(here / "out.csv", here / "photos")
    assert (found.wrong, found.absent, found.gone) == ([], [], 3)


def test_as_many_processes_as_one_likes(digits):
    assert aezip.verify(digits, jobs=2) == aezip.verify(digits)
    digits.write_bytes(digits.read_bytes().replace(b"0007.png,", b"0008.png,"))
    assert wrong(digits, jobs=2) == wrong(digits)


# --- what programs make of it -------------------------------------------------------------------


STYLES = [
    {},
    {"delimiter": ";"},
    {"delimiter": "\t"},
    {"quoting": csv.QUOTE_ALL},
    {"lineterminator": "\n"},
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("style", STYLES)
def test_saved_again_by_a_spreadsheet(digits, encoding, style):
    with open(digits, newline="", encoding="utf-8") as file:
        cells = list(csv.reader(file))
    with open(digits, "w", newline="", encoding=encoding) as file:
        csv.writer(file, **style).writerows(cells)
    assert wrong(digits) == []
    assert same(aezip.open(digits)[7], aezip.open(digit_archive())[7])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "gb18030", "ascii"])
def test_saved_again_in_an_encoding_without_its_letters(digits, encoding):
    text = digits.read_text("utf-8")
    digits.write_bytes(text.encode(encoding, "replace"))
    whole = aezip.open(digit_archive())
    found = aezip.verify(digits)
    assert found.wrong and found.intact + len(found.wrong) == 40
    assert all(re.search(r"out.csv, row \d+ .*is damaged: ", x) for x in found.wrong)
    archive, intact = aezip.open(digits), 0
    for number in range(40):
        try:
            image = archive[number]
        except aezip.ArchiveError:
            continue
        assert same(image, whole[number])
        intact += 1
    assert intact == found.intact


# --- rows that are missing, in disorder, damaged ------------------------------------------------


def test_cut_off_at_a_line_end(digits):
    digits.write_bytes(b"\n".join(lines(digits)[:31]) + b"\n")
    says = "out.csv has 30 of its 40 rows: it was cut short, or rows were deleted"
    assert wrong(digits) == [says]
    for command, shown in (
        (["list", "out.csv"], 31), (["extract", "out.csv", "x"], 1), (["info", "out.csv"], 9),
    ):  # fmt: skip
        done = invoke(*command, cwd=digits.parent)
        assert (done.exit_code, done.stderr) == (1, f"aezip: {says}\n")
        assert len(done.stdout.splitlines()) >= shown
    assert len(files(digits.parent / "x")) == 30


def test_cut_off_anywhere(digits):
    whole, data = aezip.open(digit_archive()), digits.read_bytes()
    start = data.index(b"\n") + 1
    for size in range(start, len(data) - 1, 97):
        digits.write_bytes(data[:size])
        found = aezip.verify(digits)
        assert "of its 40 rows" in found.wrong[0] or f"row {found.rows - 1} " in found.wrong[0]
        archive = aezip.open(digits)
        assert all(same(archive[n], whole[n]) for n in range(0, found.intact, 9))


def test_a_row_twice(digits):
    data = lines(digits)
    digits.write_bytes(b"\n".join([*data[:3], data[2], *data[3:]]))
    assert wrong(digits) == [
        "out.csv has 41 rows where 40 were written", "out.csv has 2 rows named 0001.png"
    ]  # fmt: skip


def test_rows_in_another_order(digits):
    data = lines(digits)
    digits.write_bytes(b"\n".join([data[0], data[2], data[1], *data[3:]]))
    assert wrong(digits) == [
        "out.csv: its rows are not in the order in which they were written, or one was put in "
        "another's place"
    ]
    archive = aezip.open(digits)
    assert archive.names[:2] == ["0001.png", "0000.png"]
    assert same(archive["0001.png"], aezip.open(digit_archive())[1])
    assert invoke("verify", "out.csv", cwd=digits.parent).exit_code == 1


def test_a_whole_row_of_another_time(digits, tmp_path):
    """A row that is right in itself, in the place of another."""
    archive = aezip.open(digits)
    aezip.remove(digits, ["0000.png"])
    (tmp_path / "more").mkdir()
    shutil.copy(photos() / "lake.png", tmp_path / "more" / "0000.png")
    before = lines(digit_archive())
    after = lines(digits)
    assert len(archive) == 40 and before[2:] == after[1:]
    digits.write_bytes(b"\n".join([after[0], before[1], *after[2:]]))
    assert "in another's place" in wrong(digits)[0]


@pytest.mark.parametrize("column", [0, 1, 2])
def test_cells_of_two_rows_exchanged(digits, column):
    with open(digits, newline="", encoding="utf-8") as file:
        cells = list(csv.reader(file))
    cells[3][column], cells[9][column] = cells[9][column], cells[3][column]
    with open(digits, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(cells)
    found = aezip.verify(digits)
    assert found.intact == 38
    assert [re.search(r"row (\d+) .* is damaged", x)[1] for x in found.wrong] == ["2", "8"]


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_noticed_or_changes_nothing(digits, data):
    original = digit_archive().read_bytes()
    start = original.index(b"\n") + 1
    at = data.draw(st.integers(start, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda x: x != original[at]))
    digits.write_bytes(original[:at] + bytes([byte]) + original[at + 1 :])
    whole = aezip.open(digit_archive())
    number = original[start:at].count(b"\n")
    archive = aezip.open(digits)
    found = aezip.verify(digits)
    if not found.wrong:
        assert archive.names == whole.names
        assert same(archive[number], whole[number])
    assert found.intact >= 38


# --- the decoder --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["missing", "cut", "other", "zeros"])
def test_a_decoder_that_is_not_it(digits, what):
    path = digits.with_suffix(".h5")
    data = path.read_bytes()
    if what == "missing":
        path.unlink()
    elif what == "other":
        shutil.copy(quick_archive().with_suffix(".h5"), path)
    else:
        path.write_bytes(data[:-9] if what == "cut" else data[:900] + bytes(50) + data[950:])
    line = refused(invoke("verify", "out.csv", cwd=digits.parent), "out.h5")
    says = {"missing": "is missing", "other": "is not the decoder that"}.get(what, "is damaged")
    assert says in line


def test_a_decoder_that_also_holds_the_one_before(digits):
    """As a crash between the two renames leaves them."""
    path = digits.with_suffix(".h5")
    header, parameters, identity = read_decoder(quick_archive().with_suffix(".h5"))
    wanted = read_decoder(path)[2]
    write_decoder(path, header, parameters, {}, wanted)
    assert read_decoder(path)[2] == identity
    assert wrong(digits) == []
    assert same(aezip.open(digits)[0], aezip.open(digit_archive())[0])


# --- promises -----------------------------------------------------------------------------------


def test_an_original_that_was_changed(here):
    with Image.open(here / "photos" / "lake.png") as image:
        image.rotate(180).save(here / "photos" / "lake.png")
    Image.new("RGB", (5, 5)).save(here / "photos" / "animals" / "dogs.png")
    (here / "photos" / "drum.jpg").write_text("no image")
    result = invoke("verify", "out.csv", "--against", "photos", cwd=here)
    assert result.exit_code == 1
    says = result.stderr.splitlines()
    assert says[0] == "aezip: photos/animals/dogs.png has another size or kind than its row"
    assert "photos/drum.jpg cannot be compared" in says[1]
    assert re.fullmatch(r"aezip: photos/lake.png: [\d.]+ dB, promised 19.7 dB", says[2])
    assert "3 things are wrong" in result.stdout
