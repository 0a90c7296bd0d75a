"""Bytes as text for the cells of a CSV, and cells that no program takes for anything but text.

A spreadsheet or `pandas.read_csv` guesses what a cell means and may change it. So the bytes are
written in characters that need no quoting, a cell that could be a number, a date or a formula is
marked with a leading `~`, and a file name is always one line.
"""

import re
import unicodedata
from typing import NamedTuple

from aezip.errors import ArchiveError

_RANGES = (
    # Printable ASCII without space, quote and comma.
    ((0x21, 0x21), (0x23, 0x2B), (0x2D, 0x7E)),
    # Latin, Greek, Cyrillic and Armenian: letters from left to right, in their composed form.
    ((0xC0, 0x2FF), (0x391, 0x3A1), (0x3A3, 0x482), (0x48A, 0x52F), (0x531, 0x556), (0x561, 0x587)),
    # Chinese ideographs, Yi and Korean syllables.
    ((0x3400, 0x4DB5), (0x4E00, 0x9FA5), (0xA000, 0xA48C), (0xAC00, 0xD7A3)),
)
ALPHABETS = tuple(
    "".join(chr(code) for first, last in ranges for code in range(first, last + 1))
    for ranges in _RANGES
)
"""The characters that take one, two and three bytes in UTF-8: 92, 1,060 and 39,821."""

_BLOCK = 84  # bytes that become a text of 100: nearly as short as any over these alphabets


class _Branch(NamedTuple):
    """The texts of some length that begin with a character of some width."""

    first: int  # their ranks, from here
    end: int  # to here
    follow: int  # how many of them there are for each such character
    left: int  # bytes after it
    alphabet: str


def _branches() -> tuple[list[list[_Branch]], list[int]]:
    """For texts of 0, 1, ... bytes their branches; and for 0, 1, ... _BLOCK bytes of data the
    length of their text: the shortest of which there are enough."""
    counts, lengths = [1], [0]
    branches: list[list[_Branch]] = [[]]
    while len(lengths) <= _BLOCK:
        size, end = len(counts), 0
        branches.append([])
        for width, alphabet in enumerate(ALPHABETS[:size], 1):
            first, follow = end, counts[size - width]
            end += len(alphabet) * follow
            branches[size].append(_Branch(first, end, follow, size - width, alphabet))
        counts.append(end)
        if end >= 1 << 8 * len(lengths):
            lengths.append(size)
    return branches, lengths


_BRANCHES, _LENGTHS = _branches()
_SIZES = {length: size for size, length in enumerate(_LENGTHS)}
_PLACES = {
    character: (kind, number)
    for kind, alphabet in enumerate(ALPHABETS)
    for number, character in enumerate(alphabet)
}


def encode_bytes(data: bytes) -> str:
    """`data` as text over `ALPHABETS` that takes about 1.19 bytes in UTF-8 for each of data.

    Each block of 84 bytes, and what is left at the end, becomes a text of a length that only its
    number of bytes decides, so no length is stored. It is a number, most significant byte first,
    and stands for the text of that rank among all texts of the length: those that begin with a
    character of one byte first, then by that character's place in its alphabet, then by what
    follows.
    """
    characters = []
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        rank, left = int.from_bytes(block, "big"), _LENGTHS[len(block)]
        while left:
            for branch in _BRANCHES[left]:
                if rank < branch.end:
                    break
            number, rank = divmod(rank - branch.first, branch.follow)
            characters.append(branch.alphabet[number])
            left = branch.left
    return "".join(characters)


def decode_text(text: str) -> bytes:
    """The bytes that `encode_bytes` wrote as `text`; the inverse for exactly its results.

    Raises ArchiveError for a length or a character that it never writes.
    """
    try:
        places = [_PLACES[character] for character in text]
    except KeyError:
        raise ArchiveError("coded text holds a character outside its alphabet") from None
    total = sum(kind + 1 for kind, _ in places)
    blocks, rest = [], iter(places)
    for start in range(0, total, _LENGTHS[_BLOCK]):
        left = min(_LENGTHS[_BLOCK], total - start)
        size, rank = _SIZES.get(left, -1), 0
        while left > 0:
            kind, number = next(rest)
            if kind >= left:
                size = -1  # the character does not end where its block does
                break
            branch = _BRANCHES[left][kind]
            rank += branch.first + number * branch.follow
            left = branch.left
        if size < 0:
            raise ArchiveError(
                "coded text does not divide into blocks: characters are lost or added"
            )
        if rank >> 8 * size:
            raise ArchiveError("coded text holds a block that stands for no bytes")
        blocks.append(rank.to_bytes(size, "big"))
    return b"".join(blocks)


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
