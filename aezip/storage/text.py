"""Bytes as text for the cells of a CSV, and cells that no program takes for anything but text.

A spreadsheet or `pandas.read_csv` guesses what a cell means and may change it. So the bytes are
written in characters that need no quoting, a cell that could be a number, a date or a formula is
marked with a leading `~`, and a file name is always one line.
"""

import re
import unicodedata

import numpy as np

from aezip.errors import ArchiveError

ALPHABET = "".join(chr(code) for code in range(33, 127) if chr(code) not in '",~')
"""91 printable characters: ASCII without space, quote, comma, and the `~` of `protect_cell`."""

_BASE = len(ALPHABET)
_PAIR_BITS = 13  # 91**2 = 8281 >= 2**13, so two characters carry 13 bits: 6.5 a character
_TAIL_BITS = 6  # one character alone carries 6

_CODES = np.frombuffer(ALPHABET.encode(), np.uint8)


def _pair_tables() -> tuple[np.ndarray, np.ndarray]:
    """(8192,) uint16: a value's two characters; (65536,) int16: back, or -1."""
    values = np.arange(1 << _PAIR_BITS)
    pairs = np.stack([_CODES[values // _BASE], _CODES[values % _BASE]], axis=1)
    to_pair = np.ascontiguousarray(pairs, np.uint8).view(np.uint16).ravel()
    to_value = np.full(1 << 16, -1, np.int16)
    to_value[to_pair] = values
    return to_pair, to_value


_TO_PAIR, _TO_VALUE = _pair_tables()


def encode_bytes(data: bytes) -> str:
    """`data` as text over `ALPHABET`: 13 bits become two characters, most significant first.

    What is left of at most 6 bits takes one character, of more two; the last bits are filled
    with zeros. The text is 16/13 = 1.23 times as long as the bytes, and the number of bytes
    follows from the number of characters, so no length is stored.
    """
    size = len(data)
    pairs, rest = divmod(8 * size, _PAIR_BITS)
    # 13 bytes are 8 groups of 13 bits; computing with whole blocks keeps every step vectorised.
    block = np.zeros((-(-size // 13), 14), np.uint32)
    padded = np.zeros(len(block) * 13, np.uint8)
    padded[:size] = np.frombuffer(data, np.uint8)
    block[:, :13] = padded.reshape(-1, 13)
    values = np.empty((len(block), 8), np.uint32)
    for group in range(8):
        first, offset = divmod(_PAIR_BITS * group, 8)
        window = block[:, first] << 16 | block[:, first + 1] << 8
        if first + 2 < 13:
            window |= block[:, first + 2]
        values[:, group] = window >> (11 - offset) & 0x1FFF
    flat = values.ravel()
    text = _TO_PAIR[flat[:pairs]].tobytes()
    if rest > _TAIL_BITS:
        text += _TO_PAIR[flat[pairs : pairs + 1]].tobytes()
    elif rest:
        text += bytes([_CODES[flat[pairs] >> (_PAIR_BITS - _TAIL_BITS)]])
    return text.decode("ascii")


def decode_text(text: str) -> bytes:
    """The bytes that `encode_bytes` wrote as `text`; the inverse for exactly its results.

    Raises ArchiveError for a length, a character or filling bits that it never writes.
    """
    pairs, tail = divmod(len(text), 2)
    size = (_PAIR_BITS * pairs + _TAIL_BITS * tail) // 8
    if _text_length(size) != len(text):
        raise ArchiveError(f"coded text cannot have {len(text)} characters")
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise ArchiveError("coded text holds a character outside its alphabet") from None
    found = _TO_VALUE[np.frombuffer(raw, np.uint16, pairs)]
    blocks = -(-(pairs + tail) // 8)
    values = np.zeros(blocks * 8, np.uint32)
    values[:pairs] = found
    last = ALPHABET.find(text[-1]) if tail else 0
    if (found < 0).any() or not 0 <= last < 1 << _TAIL_BITS:
        raise ArchiveError("coded text holds a character outside its alphabet")
    if tail:
        values[pairs] = last << (_PAIR_BITS - _TAIL_BITS)
    groups = values.reshape(-1, 8)
    out = np.empty((blocks, 13), np.uint8)
    for index in range(13):
        group, offset = divmod(8 * index, _PAIR_BITS)
        window = groups[:, group] << _PAIR_BITS
        if group + 1 < 8:
            window |= groups[:, group + 1]
        out[:, index] = window >> (2 * _PAIR_BITS - 8 - offset) & 0xFF
    data = out.tobytes()
    if data[size:].strip(b"\0"):
        raise ArchiveError("coded text ends in filling bits that are not zero")
    return data[:size]


def _text_length(size: int) -> int:
    """Characters of `size` bytes; grows with every byte, so a length stands for one size only."""
    pairs, rest = divmod(8 * size, _PAIR_BITS)
    return 2 * pairs + (0 if rest == 0 else 1 if rest <= _TAIL_BITS else 2)


# --- cells that stay text ------------------------------------------------------------------

_FIRST = "=+-@'~#\\＝＋－＠"
"""A cell that begins so is a formula, an error value, a hidden apostrophe, or marked already."""

_WORDS = frozenset(
    # pandas' missing values that would pass for ordinary text below
    (
        "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan", "<na>",
        "n/a", "na", "null", "nan", "none", "nil", "inf", "infinity", "true", "false",
    )
)  # fmt: skip

_NUMERIC_PUNCTUATION = frozenset(" .,:/-+()%'’\\")
"""What numbers, dates, times, percentages, fractions and amounts of money are written with."""

_SHORT_PARTS = frozenset(
    (
        "e", "x", "d", "t", "z", "h", "m", "s", "b", "o", "am", "pm", "a", "p", "st", "nd", "rd",
        "th", "kr", "fr", "rs", "r", "ad", "bc", "cr", "dr",
    )
)  # fmt: skip
"""Runs of one or two letters that numbers, dates and amounts of money hold."""

_IN_SOURCE_CODE = re.compile(r"[0-9.][0-9a-fx_.+-]*[ijl]?", re.IGNORECASE)
"""Numbers as programming languages write them, 0x1f and 1_000 and 2j: R and DuckDB read some."""

_PICTURE_NAME = re.compile(
    r".*\.(jpe?g|jpe|jfif|png|apng|gif|webp|avifs?|tiff?|bmp|dib|p[bgpn]m|pfm|heic|heif|jxl|jp2|"
    r"j2k|ico|icns|tga|psd|qoi|sgi|pcx|xbm|xpm)",
    re.IGNORECASE | re.DOTALL,
)
"""No number or date ends like these, so `001.jpg` and `2024-01-01.png` are text to everyone."""


def protect_cell(text: str) -> str:
    """`text` with a leading `~` where a program might not take it for text; empty stays empty.

    A formula, a number, a date in any language, a boolean or a missing value: the rule is wider
    than what any one program converts, since a needless `~` costs one character and does no
    other harm. A cell that begins with `~` gets another one.
    """
    return f"~{text}" if text and _may_be_converted(text) else text


def unprotect_cell(cell: str) -> str:
    """The text that `protect_cell` was given."""
    return cell[1:] if cell.startswith("~") else cell


def _may_be_converted(text: str) -> bool:
    if text[0] in _FIRST or text[0].isspace() or text[-1].isspace():
        return True
    if text.lower() in _WORDS or _IN_SOURCE_CODE.fullmatch(text):
        return True
    if _PICTURE_NAME.fullmatch(text):
        return False
    # A single character that no number or date contains settles it; long text meets one soon.
    parts: list[str] = []
    digits, inside = False, False
    for character in text:
        if character.isalpha():
            if inside:
                parts[-1] += character
            else:
                parts.append(character)
            inside = True
            continue
        inside = False
        if character.isnumeric():
            digits = True
        elif character not in _NUMERIC_PUNCTUATION and unicodedata.category(character) not in (
            "Sc",  # currency
            "Zs",  # any space
            "Mn",  # accents and vowel signs, parts of words
            "Mc",
        ):
            return False
    if not digits and parts:
        # Words alone: a month's or a boolean's name in some language is one short word.
        return len(parts) == 1 and len(text) < 12 and _like_a_word(parts[0])
    return all(_like_a_word(part) for part in parts)


def _like_a_word(part: str) -> bool:
    """Whether letters in a row could be a month, a weekday, a unit or a currency."""
    if not part.isascii():
        return True
    if len(part) <= 2:
        return part.lower() in _SHORT_PARTS
    return part.islower() or part.isupper() or part.istitle()


# --- names ---------------------------------------------------------------------------------

_ESCAPED = re.compile(r"%u([0-9A-F]{4})|((?:%[0-9A-F]{2})+)")


def escape_name(name: str) -> str:
    """A file's name as one printable line that any UTF-8 file can hold.

    `%`, control characters, line ends of every kind and spaces at either end become `%` and two
    hexadecimal digits for each byte of their UTF-8 form. So do the bytes of a name that is not
    valid UTF-8 (Python reads those as lone surrogates; any other lone surrogate, which Windows
    allows, becomes `%u` and four digits). Everything else, in any script, stays.
    """
    inner = name.strip()
    start = name.find(inner) if inner else len(name)
    end = start + len(inner)
    return "".join(
        _escape_character(c) if c in "%\u2028\u2029" or unicodedata.category(c) in ("Cc", "Cs")
        or not start <= i < end else c
        for i, c in enumerate(name)
    )


def _escape_character(character: str) -> str:
    if "\ud800" <= character <= "\udfff" and not "\udc80" <= character <= "\udcff":
        return f"%u{ord(character):04X}"
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def unescape_name(text: str) -> str:
    """The name that `escape_name` was given, for every name that a file can have.

    Raises ArchiveError where a `%` is not the beginning of an escape.
    """
    if "%" in _ESCAPED.sub("", text):
        raise ArchiveError("a name holds a % that begins no escape")
    return _ESCAPED.sub(_unescape_match, text)


def _unescape_match(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return bytes.fromhex(match[2].replace("%", "")).decode("utf-8", "surrogateescape")
