from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aezip.errors import ArchiveError
from aezip.storage.text import (
    ALPHABETS,
    decode_text,
    encode_bytes,
    escape_name,
    protect_cell,
    unescape_name,
    unprotect_cell,
)

# --- bytes as text ---


@cache
def texts(size: int) -> int:
    """How many texts of so many bytes there are."""
    if size <= 0:
        return int(size == 0)
    return sum(len(x) * texts(size - width) for width, x in enumerate(ALPHABETS, 1))


def length(size: int) -> int:
    """Of the shortest texts of which there are enough for so many bytes."""
    return next(n for n in range(101) if texts(n) >= 256**size)


def slowly_encoded(data: bytes) -> str:
    """What `encode_bytes` promises: each block's text by its rank, one character at a time."""
    text = ""
    for start in range(0, len(data), 84):
        block = data[start : start + 84]
        rank, left = int.from_bytes(block, "big"), length(len(block))
        while left:
            for width, alphabet in enumerate(ALPHABETS, 1):
                follow = texts(left - width)
                if rank < len(alphabet) * follow:
                    text += alphabet[rank // follow]
                    rank, left = rank % follow, left - width
                    break
                rank -= len(alphabet) * follow
    return text


def test_every_length_round_trips():
    rng = np.random.default_rng(1)
    for size in range(300):
        for data in (rng.bytes(size), bytes(size), b"\xff" * size):
            assert decode_text(encode_bytes(data)) == data


@given(st.binary(max_size=100))
@example(b"\xff" * 84)
@example(bytes(3))
def test_bytes_round_trip(data):
    text = encode_bytes(data)
    assert text == slowly_encoded(data)
    assert set(text) <= set("".join(ALPHABETS))
    assert decode_text(text) == data


def test_the_alphabets_need_no_quoting_and_no_program_changes_them():
    assert [len(x) for x in ALPHABETS] == [92, 1060, 39821]
    every = "".join(ALPHABETS)
    assert len(set(every)) == len(every) and every.isprintable()
    for width, alphabet in enumerate(ALPHABETS, 1):
        assert {len(c.encode()) for c in alphabet} == {width}
    assert not set(every) & set('", \t')
    assert unicodedata.normalize("NFC", every) == every
    # Letters and signs that stand alone, from left to right.
    assert not {unicodedata.category(c)[0] for c in every} & set("CMZ")
    assert not {unicodedata.bidirectional(c) for c in every} & {"R", "AL", "AN"}


@pytest.mark.parametrize("size", [*range(90), 999, 1000, 1001])
def test_text_is_as_short_as_texts_of_its_blocks_can_be(size):
    data = np.random.default_rng(size).bytes(size)
    blocks, rest = divmod(size, 84)
    for x in (data, bytes(size), b"\xff" * size):
        assert len(encode_bytes(x).encode()) == 100 * blocks + length(rest)


def test_a_megabyte():
    data = np.random.default_rng(2).bytes(1 << 20)
    assert decode_text(encode_bytes(data)) == data


every_character = st.sampled_from(ALPHABETS[0]) | st.sampled_from("".join(ALPHABETS))


@given(st.text(every_character, max_size=20))
@example("!")
@example("~" * 6)
@example("~" * 100)
def test_what_is_never_written_is_refused(text):
    try:
        data = decode_text(text)
    except ArchiveError:
        return
    assert encode_bytes(data) == text


def test_blocks_that_stand_for_nothing_are_refused():
    """Of the 9,524 texts of two bytes 256 mean something."""
    found = 0
    for text in [a + b for a in ALPHABETS[0] for b in ALPHABETS[0]] + list(ALPHABETS[1]):
        try:
            found += encode_bytes(decode_text(text)) == text
        except ArchiveError as error:
            assert re.search("stands for no bytes", str(error))
    assert found == 256


@pytest.mark.parametrize("text", ["!", "!" * 7, "!" * 30 + "\u00e9", "!" * 29 + "\u4e00", "!" * 32])
def test_impossible_lengths_are_refused(text):
    with pytest.raises(ArchiveError, match="does not divide into blocks"):
        decode_text(text)


OUTSIDE = ['"', ",", " ", "\t", "\n", "\0", "\x7f", "\xa0", "\u0301", "\ufffd", "\udcff",
           "\U0001f600"]  # fmt: skip


@pytest.mark.parametrize("character", OUTSIDE)
def test_characters_outside_the_alphabets_are_refused(character):
    text = encode_bytes(bytes(7))
    for at in range(len(text)):
        with pytest.raises(ArchiveError, match="outside its alphabet"):
            decode_text(text[:at] + character + text[at + 1 :])


# --- cells that stay text ---

CONVERTED = """
    1 -1 +1 1.5 1,5 .5 5. 1e5 1E5 1e400 0x1f 1_000 1.000,00 1'000 12345678901234567890 ١٢ 1/2 5% $5
    5€ (5) 1j 007 2024 2024-01-01 01.02.2024 1.2. 2024-01-01T12:00:00Z 12:30 12:30pm 1h 3d 5e 2e1
    jan JAN Jan Jan-24 1-Jan 1.Mai 3.März 1月2日 mar mai Sept Monday TRUE true True False wahr VRAI
    ИСТИНА NA N/A #N/A #n/a NaN nan -nan NULL null None none <NA> inf -inf Infinity nil
    =1+1 =A1 +A1 -A1 @A1 'a # #REF! #a \\a ＝1 ＋1 ~ ~a ~~
"""
UNTOUCHED = """
    001.jpg 2024-01-01.png 1.tif IMG_0001.JPG IMG_1234 a/b.png holiday/001.jpg a/1#2
    report_final.docx Photo_of_the_sea Großmutter_im_Garten x_1 The/Sea B_52
"""


@pytest.mark.parametrize(
    "text", [*CONVERTED.split(), " a", "a ", " ", "\ta", "1 000", "1 Jan 2024", "- 1"]
)
def test_what_programs_convert_is_marked(text):
    assert protect_cell(text) == f"~{text}"


@pytest.mark.parametrize("text", UNTOUCHED.split())
def test_names_are_left_alone(text):
    assert protect_cell(text) == text


def test_an_empty_cell_stays_empty():
    assert protect_cell("") == unprotect_cell("") == ""


@given(st.text())
def test_any_text_is_restored(text):
    assert unprotect_cell(protect_cell(text)) == text


@given(st.text() | st.text("0123456789eE+-.,_ :/xXjJnNaAiIfF%$€'=@", max_size=8))
def test_no_cell_is_a_number_or_a_formula(text):
    cell = protect_cell(text)
    assert not cell.startswith(("=", "+", "-", "@"))
    assert cell == cell.strip() or cell.startswith("~")
    with pytest.raises(ValueError, match="could not convert"):
        float(cell or "empty")


@given(st.dates() | st.times() | st.datetimes())
def test_dates_are_marked(date):
    for text in (str(date), date.isoformat(), f"{date:%d.%m.%y}", f"{date:%d-%b-%Y}", f"{date:%x}"):
        assert protect_cell(text) == f"~{text}"


@given(st.integers() | st.floats(allow_nan=False) | st.decimals(allow_nan=False))
def test_numbers_are_marked(number):
    for text in (f"{number}", f"{number}%", f"{number} €", f"({number})"):
        assert protect_cell(text) == f"~{text}"


@given(st.integers(min_value=0), st.complex_numbers(allow_nan=False, allow_infinity=False))
def test_numbers_of_programming_languages_are_marked(whole, number):
    for text in (hex(whole), hex(whole).upper(), f"{whole:_}", str(number).strip("()")):
        assert protect_cell(text) == f"~{text}"


def test_latents_seldom_need_the_mark():
    rng = np.random.default_rng(3)
    cells = [protect_cell(encode_bytes(rng.bytes(20))) for _ in range(1000)]
    # Those that begin with one of = + - @ ' # \.
    assert sum(cell.startswith("~") for cell in cells) < 150


def cells_for_pandas() -> list[str]:
    rng = np.random.default_rng(4)
    characters = list("0123456789eE+-.,_ :/xXjJnNaAiIfFtTrRuUlLsSbB%$€é~'")
    drawn = ["".join(rng.choice(characters, rng.integers(1, 6))) for _ in range(3000)]
    latents = [encode_bytes(rng.bytes(size)) for size in rng.integers(1, 5, 2000)]
    return [*CONVERTED.split(), *UNTOUCHED.split(), *drawn, *latents]


def test_pandas_leaves_every_cell_as_it_is():
    pandas = pytest.importorskip("pandas")
    cells = [protect_cell(text) for text in cells_for_pandas()]
    file = io.StringIO()
    # A column of its own for each, so that no neighbour decides what it is.
    csv.writer(file).writerows([[f"c{i}" for i in range(len(cells))], cells])
    file.seek(0)
    assert pandas.read_csv(file).iloc[0].tolist() == cells


# --- names ---

# Names that a file can have: of bytes that need not be UTF-8, or of any characters at all,
# halves of a pair of surrogates included, which Windows allows.
NAMES = (
    st.text()
    | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))
    | st.text(st.characters(categories=["Cs"], max_codepoint=0xDBFF) | st.characters())
    | st.text(" \t\n\r\v\f\x1c\x85\u2028\u2029\ufeff%,;\"'~=0AFu")
)


@given(NAMES)
@example("\udcc3\udc28")
@example("%\udc80")
@example("\udcc2\x85")
@example("\ud83d.png")
def test_names_round_trip(name):
    text = escape_name(name)
    assert unescape_name(text) == name
    assert not text or text.splitlines() == [text]
    assert text == text.strip()
    assert "\0" not in text and text.encode().decode() == text
    assert unescape_name(unprotect_cell(protect_cell(text))) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("IMG_1.jpg", "IMG_1.jpg"),
        ("Grüße/写真 😀,;\"'~.png", "Grüße/写真 😀,;\"'~.png"),
        ("100%.png", "100%25.png"),
        ("%41", "%2541"),
        ("a\nb\r\n\tc", "a%0Ab%0D%0A%09c"),
        ("a\x85b\u2028c", "a%C2%85b%E2%80%A8c"),
        (" a b ", "%20a b%20"),
        ("\u3000", "%E3%80%80"),
        (b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "caf%E9.jpg"),
        ("\ud83d", "%uD83D"),
    ],
)
def test_names_as_they_are_written(name, text):
    assert escape_name(name) == text
    assert unescape_name(text) == name


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_name_that_is_no_text_leads_to_its_file_again(tmp_path):
    raw = os.path.join(os.fsencode(tmp_path), b"caf\xe9 \n.jpg")
    try:
        open(raw, "wb").close()
    except OSError:
        pytest.skip("this file system takes no such name")
    (name,) = os.listdir(tmp_path)
    assert (tmp_path / unescape_name(escape_name(name))).exists()


@pytest.mark.parametrize("text", ["%", "100%", "%4", "%4G", "%c3%a9", "%uD83", "a%%41", "% 41"])
def test_what_is_no_escape_is_refused(text):
    with pytest.raises(ArchiveError, match="begins no escape"):
        unescape_name(text)
