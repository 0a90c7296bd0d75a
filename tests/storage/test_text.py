from __future__ import annotations

import csv
import io
import os
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aezip.errors import ArchiveError
from aezip.storage.text import (
    ALPHABET,
    decode_text,
    encode_bytes,
    escape_name,
    protect_cell,
    unescape_name,
    unprotect_cell,
)

# --- bytes as text ---


def slowly_encoded(data: bytes) -> str:
    """What `encode_bytes` promises, one bit at a time."""
    bits = "".join(f"{byte:08b}" for byte in data)
    text = ""
    while len(bits) > 6:
        first, second = divmod(int(bits[:13].ljust(13, "0"), 2), 91)
        text, bits = text + ALPHABET[first] + ALPHABET[second], bits[13:]
    return text + (ALPHABET[int(bits.ljust(6, "0"), 2)] if bits else "")


def test_every_length_round_trips():
    rng = np.random.default_rng(1)
    for size in range(300):
        for data in (rng.bytes(size), bytes(size), b"\xff" * size):
            assert decode_text(encode_bytes(data)) == data


@given(st.binary(max_size=100))
def test_bytes_round_trip(data):
    text = encode_bytes(data)
    assert text == slowly_encoded(data)
    assert set(text) <= set(ALPHABET)
    assert decode_text(text) == data


def test_the_alphabet_needs_no_quoting():
    assert len(ALPHABET) == len(set(ALPHABET)) == 91
    assert ALPHABET.isascii() and ALPHABET.isprintable()
    assert not set(ALPHABET) & set('",~ \t')


def test_the_text_is_at_most_a_quarter_longer():
    for size in range(1000):
        length = len(encode_bytes(bytes(size)))
        assert length <= 1.25 * size + 1
        assert size < 25 or length <= 1.25 * size + 0.25  # by rounding, no more


def test_a_megabyte():
    data = np.random.default_rng(2).bytes(1 << 20)
    text = encode_bytes(data)
    assert len(text) < 1.2309 * len(data)
    assert decode_text(text) == data


@given(st.text(st.sampled_from(ALPHABET), max_size=60))
@example("!")
@example("!!!!")
def test_what_is_never_written_is_refused(text):
    try:
        data = decode_text(text)
    except ArchiveError:
        return
    assert encode_bytes(data) == text


def test_few_of_the_random_texts_of_one_length_mean_anything():
    # Of all pairs of characters, 8192 of 8281; then the filling bits of 3 bytes in 4 characters.
    found = 0
    for first in ALPHABET:
        for second in ALPHABET:
            try:
                found += encode_bytes(decode_text("ab" + first + second)) != ""
            except ArchiveError as error:
                assert re.search("alphabet|filling", str(error))
    assert found == 1 << 11


@pytest.mark.parametrize("length", [1, 6, 11, 97, 1 + 16 * 64])
def test_impossible_lengths_are_refused(length):
    with pytest.raises(ArchiveError, match=f"cannot have {length} characters"):
        decode_text("!" * length)


@pytest.mark.parametrize("character", ['"', ",", "~", " ", "\t", "\n", "\0", "\x7f", "é", "\udcff"])
def test_characters_outside_the_alphabet_are_refused(character):
    text = encode_bytes(bytes(2))  # one pair and a tail
    for at in range(len(text)):
        with pytest.raises(ArchiveError, match="outside its alphabet"):
            decode_text(text[:at] + character + text[at + 1 :])


def test_pairs_and_tails_without_a_meaning_are_refused():
    for text in (ALPHABET[-1] * 2 + "!!", "!!" + ALPHABET[64]):
        with pytest.raises(ArchiveError, match="outside its alphabet"):
            decode_text(text)


def test_filling_bits_must_be_zero():
    assert decode_text("!!") == b"\0"
    with pytest.raises(ArchiveError, match="filling bits"):
        decode_text("!#")


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
