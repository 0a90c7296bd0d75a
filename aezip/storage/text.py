"""Bytes as text for the cells of a CSV, and cells that no program takes for anything but text.

A spreadsheet or `pandas.read_csv` guesses what a cell means and may change it. So the bytes are
written in characters that need no quoting, a cell that could be a number, a date or a formula is
marked with a leading `~`, and a file name is always one line.
"""

import re
import unicodedata

import numpy as np

from aezip.errors import ArchiveError

_RANGES = (
    # Printable ASCII without space, quote, comma, and the `~` of `protect_cell`.
    ((0x21, 0x21), (0x23, 0x2B), (0x2D, 0x7D)),
    # Latin, Greek, Cyrillic and Armenian: letters from left to right, in their composed form.
    ((0xC0, 0x2FF), (0x391, 0x3A1), (0x3A3, 0x482), (0x48A, 0x52F), (0x531, 0x556), (0x561, 0x587)),
    # Chinese ideographs and Korean syllables.
    ((0x4E00, 0x9FA5), (0xAC00, 0xD7A3)),
)
ALPHABETS = tuple(
    "".join(chr(code) for first, last in ranges for code in range(first, last + 1))
    for ranges in _RANGES
)
"""The characters that take one, two and three bytes in UTF-8: 91, 1,060 and 32,074."""

_BLOCK = 5  # bytes that become a text of _BLOCK + 1 bytes in UTF-8


def _counts() -> list[int]:
    """How many texts of 0, 1, ... _BLOCK + 1 bytes there are."""
    counts = [1]
    while len(counts) < _BLOCK + 2:
        pairs = zip(ALPHABETS, reversed(counts), strict=False)
        counts.append(sum(len(alphabet) * rest for alphabet, rest in pairs))
    return counts


# texts[n]: how many there are of n bytes; before[n, k]: how many of them come before those that
# begin with a character of k + 1 bytes; after[n, k]: how many go on from one such character.
_TEXTS = np.array(_counts(), np.uint64)
_AFTER = np.array(
    [[_TEXTS[n - k] if k <= n else 0 for k in (1, 2, 3)] for n in range(_BLOCK + 2)], np.uint64
)
_SIZES = np.array([len(x) for x in ALPHABETS], np.uint64)
_BEFORE = np.concatenate(
    [np.zeros((_BLOCK + 2, 1), np.uint64), np.cumsum(_AFTER * _SIZES, axis=1)[:, :2]], axis=1
)

_CODES = [np.array([ord(c) for c in x], np.uint32) for x in ALPHABETS]
_NUMBER = np.full(1 << 16, -1, np.int64)  # of a character within its alphabet
_WIDTH = np.zeros(1 << 16, np.int64)  # its bytes
for _size, _codes in enumerate(_CODES, 1):
    _NUMBER[_codes] = np.arange(len(_codes))
    _WIDTH[_codes] = _size


def encode_bytes(data: bytes) -> str:
    """`data` as text over `ALPHABETS` that takes six bytes in UTF-8 for five of data.

    The last block, if shorter, takes one byte more than it has. The number of bytes follows from
    that of the text, so no length is stored. Each block is a number, most significant byte first,
    and stands for the text of that rank among all texts of its length: those that begin with a
    character of one byte first, then by that character's place in its alphabet, then by what
    follows.
    """
    size = len(data)
    blocks = -(-size // _BLOCK)
    if not blocks:
        return ""
    last = size - (blocks - 1) * _BLOCK
    # The bytes of the last block belong at the end of a number.
    padded = data[: size - last] + bytes(_BLOCK - last) + data[size - last :]
    digits = np.frombuffer(padded, np.uint8).reshape(blocks, _BLOCK).astype(np.uint64)
    rank = digits @ (np.uint64(256) ** np.arange(_BLOCK - 1, -1, -1, dtype=np.uint64))
    left = np.full(blocks, _BLOCK + 1)
    left[-1] = last + 1
    codes = np.zeros((blocks, _BLOCK + 1), np.uint32)
    for place in range(_BLOCK + 1):
        kind = (rank[:, None] >= _BEFORE[left, 1:]).sum(axis=1)
        kind[left == 0] = 0
        rank -= _BEFORE[left, kind]
        unit = np.maximum(_AFTER[left, kind], 1)
        number = (rank // unit).astype(np.intp)
        rank %= unit
        for k, alphabet in enumerate(_CODES):
            some = (kind == k) & (left > 0)
            codes[some, place] = alphabet[number[some]]
        left = np.maximum(left - kind - 1, 0)
    return codes[codes > 0].astype("<u4").tobytes().decode("utf-32-le")


def decode_text(text: str) -> bytes:
    """The bytes that `encode_bytes` wrote as `text`; the inverse for exactly its results.

    Raises ArchiveError for a length or a character that it never writes.
    """
    if not text:
        return b""
    try:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    except UnicodeEncodeError:
        codes = np.array([1 << 16])
    if codes.max() >= 1 << 16 or (_NUMBER[codes] < 0).any():
        raise ArchiveError("coded text holds a character outside its alphabet")
    width, number = _WIDTH[codes], _NUMBER[codes].astype(np.uint64)
    end = np.cumsum(width)
    total = int(end[-1])
    block = (end - 1) // (_BLOCK + 1)
    blocks, last = int(block[-1]) + 1, (total - 1) % (_BLOCK + 1)
    left = (np.minimum((block + 1) * (_BLOCK + 1), total) - end) + width
    if last == 0 or ((end - width) // (_BLOCK + 1) != block).any():
        raise ArchiveError("coded text does not divide into blocks: characters are lost or added")
    part = _BEFORE[left, width - 1] + number * _AFTER[left, width - 1]
    first = np.flatnonzero(np.diff(block, prepend=-1))
    rank = np.add.reduceat(part, first)
    sizes = np.full(blocks, _BLOCK)
    sizes[-1] = last
    if (rank >> (8 * sizes).astype(np.uint64)).any():
        raise ArchiveError("coded text holds a block that stands for no bytes")
    shifts = np.arange(8 * (_BLOCK - 1), -1, -8).astype(np.uint64)
    data = (rank[:, None] >> shifts & np.uint64(0xFF)).astype(np.uint8).tobytes()
    whole = (blocks - 1) * _BLOCK
    return data[:whole] + data[whole + _BLOCK - last :]


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
