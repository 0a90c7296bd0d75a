from __future__ import annotations

import csv
import os
import re
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aezip.errors import ArchiveError, LimitError
from aezip.storage import rows
from aezip.storage.limits import MAX_ROW_BYTES
from aezip.storage.rows import (
    CELL_CHARACTERS,
    MODES,
    Row,
    RowFile,
    default_cells,
    rewrite_rows,
    write_rows,
)
from aezip.storage.text import decode_text, encode_bytes

DECODER = "0123456789abcdef"
DEFAULTS = default_cells(64, 48, "RGB", 50)
CELL_BYTES = CELL_CHARACTERS  # about: 1.19 bytes of text each, 1.15 to a character

ROWS = [
    Row("IMG_1.jpg", 64, 48, "RGB", 50, b"\x01\x02\x03"),
    Row("a folder/Grüße, 写真; \"😀\" 'x'.png", 48, 64, "RGBA", 50, bytes(100)),
    Row("=cmd|' /C calc'!A0", 64, 48, "L", 7, b"\xff" * 40),
    Row("1", 1, 1, "LA", 0, b""),
    Row("two\nlines\r\n\t;;,,\"\"", 9_999_999, 1, "RGB", 999, b"\0"),
    Row(" spaces ", 64, 48, "RGB", 50, bytes(range(256))),
    Row("100%.png", 64, 48, "RGB", 50, b"~"),
    Row("~", 64, 48, "RGB", 51, b"~"),
    Row(b"caf\xe9".decode("utf-8", "surrogateescape"), 64, 48, "RGB", 50, b"\n"),
    Row("NA", 64, 49, "RGB", 50, b"x" * 77),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.csv"


def written(path: Path, rows: list[Row] = ROWS, defaults: dict[str, str] = DEFAULTS) -> Path:
    write_rows(path, rows, DECODER, defaults)
    return path


def read(path: Path, defaults: dict[str, str] = DEFAULTS) -> list[Row]:
    file = RowFile(path)
    assert file.decoder_id == DECODER and file.version == 1
    rows = [file.row(index, defaults) for index in range(len(file))]
    assert file.names() == [row.name for row in rows]
    return rows


def table(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def save(path: Path, cells: list[list[str]], encoding: str = "utf-8", **style) -> None:
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file, **style).writerows(cells)


# --- what is written is read ---


@pytest.mark.parametrize("defaults", [DEFAULTS, {}, {"mode": "RGB"}, default_cells(1, 1, "LA", 0)])
def test_round_trip(path, defaults):
    assert read(written(path, ROWS, defaults), defaults) == ROWS


@given(
    st.lists(
        st.builds(
            Row,
            st.text(min_size=1),
            st.integers(1, 9_999_999),
            st.integers(1, 9_999_999),
            st.sampled_from(MODES),
            st.integers(0, 999),
            st.binary(max_size=60),
        ),
        max_size=5,
        unique_by=lambda row: row.name,
    )
)
@settings(max_examples=50)
def test_any_rows_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    assert read(written(path, rows)) == rows


def test_an_archive_of_no_images(path):
    assert read(written(path, [])) == []
    with pytest.raises(ArchiveError, match=r"out\.csv has no rows; there is no row 0$"):
        RowFile(path).row(0, DEFAULTS)


def test_the_file_as_it_is_written(path):
    written(path, ROWS[:3])
    lines = path.read_bytes().decode().split("\n")
    title = rf"name,size,mode,quality,aezip1_{DECODER}_3_[0-9a-f]{{8}},latents"
    assert re.fullmatch(title, lines[0])
    # Nothing but the name, 5 characters of checksum and the latents, where all is as usual.
    checksum, latents = lines[1].removeprefix("IMG_1.jpg,,,,").split(",")
    assert len(checksum.removeprefix("~").encode()) == len(encode_bytes(bytes(4)).encode()) == 5
    assert decode_text(latents) == ROWS[0].latents
    assert lines[2].startswith('"a folder/Grüße, 写真; ""😀"" \'x\'.png",48x64,RGBA,,')
    assert lines[3].startswith("~=cmd|' /C calc'!A0,,L,q7,")
    assert lines[4:] == [""]
    assert "\r" not in "".join(lines)


def test_cells_equal_to_their_defaults_are_blank(path):
    row = Row("a", 64, 48, "RGB", 50, b"abc")
    for defaults, cells in (
        (DEFAULTS, ["", "", ""]),
        ({}, ["64x48", "RGB", "q50"]),
        (default_cells(48, 64, "RGBA", 51), ["64x48", "RGB", "q50"]),
        ({"mode": "RGB"}, ["64x48", "", "q50"]),
    ):
        written(path, [row], defaults)
        found = dict(zip(*table(path), strict=True))
        assert [found.get(x, "") for x in ("size", "mode", "quality")] == cells
        assert {x for x in found if x in ("size", "mode", "quality")} == {
            x for x, cell in zip(("size", "mode", "quality"), cells, strict=True) if cell
        }  # no column of nothing but blanks
        assert read(path, defaults) == [row]


def test_the_defaults_are_part_of_what_is_checked(path):
    file = RowFile(written(path, ROWS[:1]))
    for wrong in ({**DEFAULTS, "quality": "q51"}, default_cells(48, 64, "RGB", 50)):
        with pytest.raises(ArchiveError, match="its checksum does not match"):
            file.row(0, wrong)
    for wrong in ({}, {**DEFAULTS, "mode": "CMYK"}, {**DEFAULTS, "size": "0x1"}):
        with pytest.raises(ArchiveError, match="does not say the image's size, mode and quality"):
            file.row(0, wrong)


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_many_latents_take_several_cells(path, cells):
    rng = np.random.default_rng(1)
    # About five sixths of the bytes are characters' own, the rest those of characters of several.
    many = rng.bytes(cells * CELL_BYTES - CELL_BYTES // 2)
    rows = [replace(ROWS[0], latents=many), ROWS[1], replace(ROWS[2], latents=b"")]
    assert read(written(path, rows)) == rows
    found = table(path)
    assert found[0][5:] == ["latents", "latents2", "latents3"][:cells]
    assert all(len(line) == 5 + cells for line in found)
    assert max(len(cell) for line in found for cell in line) <= CELL_CHARACTERS + 1 <= 32_767


@pytest.mark.parametrize("more", [0, 2])
def test_a_cell_that_is_just_full(path, more):
    whole, rest = divmod(CELL_CHARACTERS + more, 100)
    size = next(n for n in range(84) if len(encode_bytes(bytes(n))) == rest)
    rows = [replace(ROWS[0], latents=bytes(84 * whole + size))]
    assert read(written(path, rows)) == rows
    assert [len(x) for x in table(path)[1][2:]] == [CELL_CHARACTERS, more][: 1 + (more > 0)]


@pytest.mark.parametrize("character", "=+-@'#\\")
def test_a_later_cell_may_begin_as_a_formula_does(path, character):
    before, inside = divmod(CELL_CHARACTERS, 100)
    block = ("!" * inside + character).ljust(100, "!")
    rows = [replace(ROWS[0], latents=bytes(84 * before) + decode_text(block))]
    assert read(written(path, rows)) == rows
    assert table(path)[1][3] == "~" + block[inside:]


def test_writing_is_all_or_nothing(path):
    written(path, ROWS[:1])
    before = path.read_bytes()

    def failing():
        yield ROWS[1]
        raise RuntimeError("no more images")

    with pytest.raises(RuntimeError):
        write_rows(path, failing(), DECODER, DEFAULTS)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["out.csv"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (replace(ROWS[1], name=ROWS[0].name), "two images are named IMG_1.jpg"),
        (replace(ROWS[0], name=""), "an image without a name cannot be stored"),
        (replace(ROWS[1], name="b\n", width=0), r"b\\n cannot be stored: 0x64 RGBA q50"),
        (replace(ROWS[1], height=10_000_000), "cannot be stored: 48x10000000 RGBA q50"),
        (replace(ROWS[1], mode="CMYK"), "cannot be stored: 48x64 CMYK q50"),
        (replace(ROWS[1], quality=1000), "cannot be stored: 48x64 RGBA q1000"),
        (replace(ROWS[1], quality=-1), "cannot be stored: 48x64 RGBA q-1"),
    ],
)
def test_rows_that_cannot_be_written(path, row, message):
    with pytest.raises(ArchiveError, match=message):
        written(path, [ROWS[0], row])
    assert not path.exists()


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(ArchiveError, match="cannot be written: no such file or directory"):
        written(tmp_path / "no" / "out.csv")
    with pytest.raises(ArchiveError, match="cannot be written: it exists and is not a file"):
        written(tmp_path)


@pytest.mark.parametrize("identity", ["", "0123456789ABCDEF", "0123456789abcde", "0" * 17])
def test_a_decoder_must_be_named_by_its_id(path, identity):
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        write_rows(path, ROWS, identity, DEFAULTS)


# --- what programs make of it ---

LONG = [*ROWS, replace(ROWS[0], name="long", latents=bytes(range(256)) * 130)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_saved_again_by_a_spreadsheet(path, encoding, delimiter, end, quoting):
    cells = table(written(path, LONG))
    save(path, cells, encoding, delimiter=delimiter, lineterminator=end, quoting=quoting)
    assert read(path) == LONG


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_in_another_order_and_of_ones_own(path, end):
    cells = table(written(path, LONG))
    order = np.random.default_rng(1).permutation(len(cells[0]))
    cells = [["", *(line[i] for i in order), f"note {n}"] for n, line in enumerate(cells)]
    save(path, cells, lineterminator=end)
    assert read(path) == LONG


def test_rows_in_another_order_or_removed(path):
    cells = table(written(path))
    save(path, [cells[0], *cells[:4:-1]], lineterminator="\n")
    assert read(path) == ROWS[:3:-1]


def test_a_row_copied_by_hand_is_there_twice(path):
    written(path, ROWS[:1])
    path.write_bytes(path.read_bytes() + path.read_bytes().split(b"\n")[1] + b"\n")
    assert read(path) == ROWS[:1] * 2


@pytest.mark.parametrize(
    "end",
    [b"\n", b"\r\n\r\n", b",,,,,\n,,,,,\n", b'"","","",""\r\n', b";;;;;\r\n\n", b" \n\t\t"],
)
def test_empty_lines_at_the_end(path, end):
    written(path)
    path.write_bytes(path.read_bytes() + end)
    assert read(path) == ROWS


HOSTILE = {"commas": b",,\n" * 6_000_000, "breaks": b"\n" * 50_000_000, "spaces": b"  \n" * 10**6,
           "long": b"," * 20_000_000}  # fmt: skip


@pytest.mark.parametrize("tail", HOSTILE)
def test_blank_lines_cost_neither_time_nor_memory(path, tail):
    with open(written(path), "ab") as file:
        file.write(HOSTILE[tail])
    began = time.process_time()
    tracemalloc.start()
    try:
        assert read(path) == ROWS
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 5 and peak < 200e6


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("size", [4, 6, 100, 4096])
def test_blank_lines_are_told_wherever_the_file_is_cut(path, monkeypatch, encoding, size):
    save(path, table(written(path)), encoding)
    whole = path.read_bytes()
    monkeypatch.setattr(rows, "_SCAN_BYTES", size)
    monkeypatch.setattr(rows, "_TAIL_BYTES", size)
    form = "utf-16-le" if encoding == "utf-16" else encoding
    for blank in ("", "\r\n", ",,\n", '"","" \n;\t\n', " " * 5000, "\n\n\r\n\n", "xy"):
        path.write_bytes(whole + blank.encode(form))
        assert len(RowFile(path)) == len(ROWS) + (blank == "xy")
        assert [RowFile(path).row(i, DEFAULTS) for i in range(len(ROWS))] == ROWS
    save(path, table(written(path)), encoding, quoting=csv.QUOTE_ALL, lineterminator="\n")
    whole = path.read_bytes()
    path.write_bytes(whole[: -len("\n".encode(form))])
    assert read(path) == ROWS


def test_more_rows_than_one_allows(path, monkeypatch):
    monkeypatch.setenv("AEZIP_MAX_ROWS", str(len(ROWS)))
    assert read(written(path)) == ROWS
    with open(path, "ab") as file:
        file.write(b"ab\n")
    with pytest.raises(ArchiveError, match="has more than 10 rows"):
        len(RowFile(path))


@pytest.mark.parametrize("own", [b"Gr\xc3\xb6\xc3\x9fe", b"caf\xe9", "写真".encode()])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_titles_of_ones_own_stay_as_they_are(path, own, end):
    lines = written(path).read_bytes().split(b"\n")
    path.write_bytes(end.join([lines[0] + b"," + own, *lines[1:]]))
    file = RowFile(path)
    rewrite_rows(path, file, range(len(ROWS)), [Row("new", 64, 48, "RGB", 50, b"1")], DEFAULTS)
    assert path.read_bytes().split(end)[0].endswith(b"," + own)
    assert read(path)[:-1] == ROWS


def test_titles_in_utf_16_stay_as_they_are(path):
    cells = table(written(path))
    save(path, [[*cells[0], "Größe 写真"], *cells[1:]], "utf-16")
    file = RowFile(path)
    rewrite_rows(path, file, range(len(ROWS)), [], DEFAULTS)
    assert path.read_text("utf-16").split("\n")[0].endswith(",Größe 写真")
    assert read(path) == ROWS


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_empty_lines_in_between_have_no_number(path, end):
    written(path)
    path.write_bytes(path.read_bytes().replace(b"\n", end * 3))
    assert read(path) == ROWS


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_last_line_end_may_be_missing(path, end):
    written(path)
    path.write_bytes(path.read_bytes().replace(b"\n", end).removesuffix(end))
    assert read(path) == ROWS


def test_trailing_empty_cells_may_be_missing(path):
    rows = [ROWS[0], replace(ROWS[1], latents=b""), LONG[-1]]
    cells = table(written(path, rows))
    for line in cells:
        while not line[-1]:
            line.pop()
    assert [len(line) for line in cells] == [6, 5, 4, 6]
    save(path, cells)
    assert read(path) == rows


def test_spaces_around_titles_and_cells_of_few_letters(path):
    cells = table(written(path, ROWS, {}))
    save(path, [[f" {title} " for title in cells[0]], *cells[1:]])
    assert read(path) == ROWS


def test_pandas(path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(written(path, LONG))
    assert len(frame) == len(LONG) and frame["name"][0] == "IMG_1.jpg"
    assert not any(pandas.api.types.is_numeric_dtype(frame[c].dropna()) for c in ("name", "size"))
    for index in (False, True):
        frame.to_csv(path, index=index)
        assert read(path) == LONG


# --- damage ---


def damaged(path: Path, index: int) -> str:
    """What is said of row `index`; all others must still be read."""
    file = RowFile(path)
    assert len(file) == len(ROWS)
    for other in range(len(ROWS)):
        if other != index:
            assert file.row(other, DEFAULTS) == ROWS[other]
    with pytest.raises(ArchiveError) as caught:
        file.row(index, DEFAULTS)
    message = str(caught.value)
    assert message.splitlines() == [message]
    start = f"{path}, row {index} "
    assert message.startswith(start) and "is damaged: " in message
    return message.removeprefix(start)


@pytest.mark.parametrize("index", [0, 1, 5, len(ROWS) - 1])
def test_a_row_cut_short(path, index):
    whole = written(path).read_bytes().split(b"\n")
    for length in range(2, len(whole[index + 1]), 7):
        lines = [*whole]
        lines[index + 1] = lines[index + 1][:length]
        path.write_bytes(b"\n".join(lines))
        damaged(path, index)


@given(st.data())
@settings(max_examples=50)
def test_one_wrong_byte(tmp_path_factory, data):
    path = written(tmp_path_factory.getbasetemp() / "wrong byte.csv")
    lines = path.read_bytes().split(b"\n")
    index = data.draw(st.integers(0, len(ROWS) - 1))
    line = bytearray(lines[index + 1])
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b not in b"\n" and b != line[at]))
    line[at] = byte
    lines[index + 1] = bytes(line)
    path.write_bytes(b"\n".join(lines))
    message = ""
    file = RowFile(path)
    assert len(file) == len(ROWS)
    for other in range(len(ROWS)):
        try:
            assert file.row(other, DEFAULTS) == ROWS[other]
        except ArchiveError as error:
            assert other == index
            message = str(error)
    if message:
        assert f"row {index} " in message and "damaged" in message
    else:  # nothing that matters: a space in a blank cell, quotes around another, a needless ~
        assert bytes([byte]) in b" \t~\"\x0b\x0c\x1c\x1d\x1e\x1f\r"


@pytest.mark.parametrize(
    ("column", "cell", "why"),
    [
        (0, "IMG_2.jpg", "(IMG_2.jpg) is damaged: its checksum does not match"),
        (0, "", "is damaged: its checksum does not match"),
        (0, "50%", "is damaged: a name holds a % that begins no escape"),
        (1, "64x49", "(IMG_1.jpg) is damaged: its checksum does not match"),
        (1, "064x48", "(IMG_1.jpg) is damaged: it does not say the image's size, mode and quality"),
        (2, "RGBA", "(IMG_1.jpg) is damaged: its checksum does not match"),
        (2, "rgb", "(IMG_1.jpg) is damaged: it does not say the image's size, mode and quality"),
        (3, "q5", "(IMG_1.jpg) is damaged: its checksum does not match"),
        (3, "50", "(IMG_1.jpg) is damaged: it does not say the image's size, mode and quality"),
        (4, "", "(IMG_1.jpg) is damaged: its checksum does not match"),
        (5, "", "(IMG_1.jpg) is damaged: its checksum does not match"),
        (5, "!!!!", "(IMG_1.jpg) is damaged: its checksum does not match"),
        (5, "!", "(IMG_1.jpg) is damaged: coded text does not divide into blocks: characters are "
         "lost or added"),
        (5, "\xb2!!!", "(IMG_1.jpg) is damaged: coded text holds a character outside its alphabet"),
    ],
)
def test_an_edited_cell(path, column, cell, why):
    cells = table(written(path))
    cells[1][column] = cell
    save(path, cells, lineterminator="\n")
    assert damaged(path, 0) == why


@pytest.mark.parametrize("column", range(6))
def test_cells_of_two_rows_swapped(path, column):
    rows = [
        Row("a", 1, 2, "L", 3, b"x"), Row("b", 2, 1, "LA", 4, b"y"), Row("c", 1, 2, "L", 3, b"z")
    ]  # fmt: skip
    cells = table(written(path, rows))
    cells[1][column], cells[2][column] = cells[2][column], cells[1][column]
    save(path, cells)
    file = RowFile(path)
    for index in (0, 1):
        with pytest.raises(ArchiveError, match=f"row {index} .* its checksum does not match"):
            file.row(index, DEFAULTS)
    assert file.row(2, DEFAULTS) == rows[2]


def test_rows_of_another_decoder(path):
    written(path)
    path.write_text(path.read_text().replace(DECODER, DECODER[::-1]))
    with pytest.raises(ArchiveError, match="its checksum does not match"):
        RowFile(path).row(0, DEFAULTS)


@pytest.mark.parametrize("line", ['"', 'a,"', '"a"b,,,,,', "\0", "a,b\rc", "x" * 200_000])
def test_a_line_that_is_no_csv(path, line):
    lines = written(path).read_text().split("\n")
    lines[3] = line + ",,"
    path.write_text("\n".join(lines))
    damaged(path, 2)


def test_a_line_of_another_encoding(path):
    lines = written(path).read_bytes().split(b"\n")
    lines[2] = lines[2].decode().encode("cp1252", "ignore")
    path.write_bytes(b"\n".join(lines))
    assert damaged(path, 1).endswith("it is not UTF-8, the file was saved in another encoding")
    assert RowFile(path).names()[1] == 'a folder/Grüße, ; "" \'x\'.png'


@pytest.mark.parametrize("cell", ["50%", "50%,", '"50%"', '"a'])
def test_a_name_that_is_none(path, cell):
    written(path, ROWS[:2])
    path.write_bytes(path.read_bytes() + cell.encode() + b",,,,,")
    file = RowFile(path)
    with pytest.raises(ArchiveError, match=r"out\.csv, row 2 is damaged: "):
        file.names()
    assert file.row(1, DEFAULTS) == ROWS[1]


def test_a_line_too_long_is_not_read(path):
    written(path, ROWS[:1])
    with open(path, "ab") as file:
        file.truncate(file.tell() + MAX_ROW_BYTES + 1)  # takes no room on the disk
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    archive = RowFile(path)
    assert len(archive) == 2 and archive.row(0, DEFAULTS) == ROWS[0]
    with pytest.raises(LimitError, match=r"row 1 is longer than 268,435,456 bytes \(AEZIP_MAX_ROW"):
        archive.row(1, DEFAULTS)


# --- what is no archive ---


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (b"", "no column title of its first line names a decoder"),
        (b"\n\n", "no column title of its first line names a decoder"),
        (b"name,size,mode,quality,latents\n", "no column title"),
        (b'"name,size\n', "no column title"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no column title"),
        (bytes(3 << 20), "no column title"),
        (b"name,aezip1_0123456789ABCDEF_1_01234567,latents\n", "the title that names its dec"),
        (b"name,aezip1_0123456789abcdef,latents\n", "the title that names its decoder is damaged"),
        (b"name,aezip1_0123456789abcdef_1_01234567\n", "no column latents"),
        (b"nom,aezip1_0123456789abcdef_1_01234567,latents\n", "no column name"),
        (b"name,aezip0_0123456789abcdef_1_01234567,latents\n", "no such version"),
    ],
)
def test_a_wrong_header(path, start, why):
    path.write_bytes(start)
    with pytest.raises(ArchiveError, match=rf"out\.csv is not an aezip archive: {why}"):
        RowFile(path)


def test_a_newer_version(path):
    path.write_text(f"name,new,aezip2_{DECODER}\n")
    with pytest.raises(
        ArchiveError,
        match="is of format version 2, written by a newer aezip; this one reads version 1",
    ):
        RowFile(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ArchiveError, match=r"out\.csv: there is no such file$"):
        RowFile(tmp_path / "out.csv")
    with pytest.raises(ArchiveError, match="cannot be read: "):
        RowFile(tmp_path)
    with pytest.raises(ArchiveError, match=r"a\\nb\.csv: there is no such file$"):
        RowFile(f"{tmp_path}/a\nb.csv")


def test_a_disk_that_fails_while_reading():
    unreadable = Path("/proc/self/mem")  # opens, but holds nothing at its beginning
    if not unreadable.exists():
        pytest.skip("no such file on this system")
    with pytest.raises(ArchiveError, match="/proc/self/mem cannot be read: input/output error"):
        RowFile(unreadable)


def test_there_is_no_such_row(path):
    file = RowFile(written(path))
    for index in (-1, len(ROWS), 10**12):
        with pytest.raises(ArchiveError) as caught:
            file.row(index, DEFAULTS)
        assert str(caught.value) == (
            f"{path} has 10 rows, numbered from 0 to 9; there is no row {index}"
        )
    with pytest.raises(ArchiveError, match=r"has 1 row, numbered 0; there is no row 1$"):
        RowFile(written(path, ROWS[:1])).row(1, DEFAULTS)


@pytest.mark.parametrize("style", [{}, {"quoting": csv.QUOTE_ALL, "delimiter": ";"}])
def test_heads_say_what_rows_say_and_their_bytes(path, style):
    written(path)
    if style:
        save(path, table(path), **style)
    lines = path.read_bytes().splitlines(keepends=True)[1:]
    heads = RowFile(path).heads(DEFAULTS)
    for row, head, line in zip(ROWS, heads, lines, strict=True):
        assert head[:5] == (row.name, row.width, row.height, row.mode, row.quality)
        assert head.size == len(line)


def test_a_damaged_head_hides_no_other(path):
    written(path)
    cells = table(path)
    cells[2][1] = "wide"
    save(path, cells)
    heads = RowFile(path).heads(DEFAULTS)
    assert isinstance(heads[1], ArchiveError) and "row 1" in str(heads[1])
    assert [head[0] for head in heads[2:]] == [row.name for row in ROWS[2:]]


@pytest.mark.parametrize("indexed", [False, True])
def test_a_file_changed_while_it_is_open(path, indexed):
    file = RowFile(written(path))
    if indexed:
        assert len(file) == len(ROWS)
    written(path, ROWS[1:])
    for use in (lambda: file.row(0, DEFAULTS), file.names):
        with pytest.raises(ArchiveError, match="was changed while it was open; open it again"):
            use()
    path.unlink()
    with pytest.raises(ArchiveError, match="there is no such file"):
        file.row(0, DEFAULTS)


def test_a_change_that_keeps_the_size(path):
    file = RowFile(written(path))
    os.utime(path, ns=(0, 0))
    with pytest.raises(ArchiveError, match="was changed while it was open"):
        len(file)


def test_no_file_is_kept_open(path):
    file = RowFile(written(path))
    file.row(0, DEFAULTS)
    file.names()
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("no such folder on this system")
    assert str(path) not in {os.path.realpath(handle) for handle in handles.iterdir()}


def test_a_hundred_thousand_rows_open_at_once(path):
    head, *lines = written(path, ROWS).read_bytes().splitlines(keepends=True)
    path.write_bytes(head + b"".join(lines) * 10_000)
    start = time.process_time()
    file = RowFile(path)
    assert file.row(99_999, DEFAULTS) == ROWS[-1]
    assert time.process_time() - start < 0.5  # 0.02 s; parsing every row takes 12 s
    assert len(file) == 100_000
    assert file.names()[:20] == [row.name for row in ROWS] * 2
