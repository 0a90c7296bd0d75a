"""One image as an archive holds it: what it is, as bytes and as the cells of a CSV.

The bytes are what a checksum covers and what an encrypted archive hides; the cells repeat nothing
that the decoder's file says once for the whole collection.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from aezip.errors import ArchiveError, LimitError
from aezip.storage.files import one_line
from aezip.storage.limits import limit
from aezip.storage.secrecy import Cipher
from aezip.storage.text import (
    decode_text,
    encode_bytes,
    escape_name,
    protect_cell,
    unescape_name,
    unprotect_cell,
)

MODES = ("L", "LA", "RGB", "RGBA")

EXACT = 101
"""The quality, beyond the best of 100, of an image whose latents are its very pixels, coded
losslessly; its cell is `exact`."""

CELL_CHARACTERS = 32_000
"""Longest cell of latents, before a `~`; Excel cuts off what is longer than 32,767."""

LONG = ("latents", "exif")
"""Columns that go on in others: `latents2`, `latents3`, ..."""

OPTIONAL = ("size", "mode", "quality", "time", "profile")
"""Columns that are only there where an image of the archive differs from the defaults."""

Cells = dict[str, str]

_SIZE = re.compile(r"([1-9]\d{0,6})x([1-9]\d{0,6})")
_QUALITY = re.compile(r"q(\d{1,3})")
_LONGEST_SIDE = 9_999_999  # pixels
_TIME = re.compile(r"t(-?\d{1,13})?")
_FURTHEST = 10**12  # seconds, so that differences of two have no more digits than that
_PROFILE = re.compile(r"icc_([0-9a-f]{8}|none)")
_HEAD = struct.Struct("<IIIHBqBI")
_NO_TIME = -(1 << 63)


@dataclass(frozen=True)
class Row:
    """One image: its name (forward slashes between folders), what it is, and its coded latents.

    modified: seconds since 1970, None where nobody knows. profile: the `profile_id` of its ICC
    profile, empty for none. exif: its EXIF block, compressed by zlib, empty for none.
    """

    name: str
    width: int
    height: int
    mode: str  # one of MODES
    quality: int  # or EXACT
    latents: bytes
    modified: int | None = None
    profile: str = ""
    exif: bytes = b""


class Head(NamedTuple):
    """What a line says of its image before the latents, and how many bytes of the file it takes."""

    name: str
    width: int
    height: int
    mode: str
    quality: int
    size: int


def time_of(nanoseconds: int) -> int | None:
    """When a file was modified, as a row says it: None for a time that no cell holds, however far
    it is from the others."""
    seconds = nanoseconds // 10**9
    return seconds if abs(seconds) < _FURTHEST else None


def unstorable(row: Row) -> str:
    """Why no archive could hold a row; empty where one can."""
    if max(row.width, row.height) > _LONGEST_SIDE:
        return f"it has more than {_LONGEST_SIDE:,} pixels a side"
    most = limit("MAX_ROW_BYTES")
    # As text, 100 bytes for 84; the rest is more than all else can take.
    if 100 * (len(row.latents) + len(row.exif)) // 84 + 8 * len(row.name) + 4096 > most:
        return f"its row would be longer than {most:,} bytes (AEZIP_MAX_ROW_BYTES)"
    return ""


def expanded(data: bytes) -> bytes:
    """What zlib compressed. Raises ArchiveError, and LimitError where it is longer than metadata
    may be."""
    most = limit("MAX_METADATA_BYTES")
    inflate = zlib.decompressobj()
    try:
        whole = inflate.decompress(data, most)
    except zlib.error:
        raise ArchiveError("its metadata are damaged") from None
    if inflate.eof:
        return whole
    if len(whole) == most:
        raise LimitError(f"its metadata claim more than {most} bytes (AEZIP_MAX_METADATA_BYTES)")
    raise ArchiveError("its metadata end too early")


def default_cells(
    width: int, height: int, mode: str, quality: int, modified: int | None = None, profile: str = ""
) -> dict[str, str]:
    """What a row's cells may leave blank, as the decoder's header keeps it (JSON-able).

    Leave out a key to make the rows say it themselves.
    """
    cells = {"size": f"{width}x{height}", "mode": mode, "quality": _quality_cell(quality)}
    if modified is not None:
        cells["time"] = f"t{modified}"
    if profile:
        cells["profile"] = f"icc_{profile}"
    return cells


# --- as bytes -----------------------------------------------------------------------------------


def pack(row: Row) -> bytes:
    """Everything a row says, in one way only: each part has a fixed length or is preceded by its
    length."""
    name, profile = escape_name(row.name).encode(), row.profile.encode()
    time = _NO_TIME if row.modified is None else row.modified
    head = _HEAD.pack(
        len(name), row.width, row.height, row.quality, MODES.index(row.mode), time, len(profile),
        len(row.exif),
    )  # fmt: skip
    return head + name + profile + row.exif + row.latents


def unpack(data: bytes) -> Row:
    """The row that `pack` was given. Raises ArchiveError for bytes that it never gives."""
    try:
        lengths = _HEAD.unpack_from(data)
        name_size, width, height, quality, mode, time, profile_size, exif_size = lengths
        ends = [_HEAD.size]
        for size in (name_size, profile_size, exif_size):
            ends.append(ends[-1] + size)
        if ends[-1] > len(data):
            raise ValueError
        name, profile, exif = (data[a:b] for a, b in pairwise(ends))
        return Row(
            unescape_name(name.decode()), width, height, MODES[mode], quality, data[ends[-1] :],
            None if time == _NO_TIME else time, profile.decode("ascii"), exif,
        )  # fmt: skip
    except (struct.error, ValueError, IndexError):
        raise ArchiveError("it is not a row") from None


def checksum(packed: bytes, decoder_id: str) -> bytes:
    """CRC-32 of the decoder's id and a packed row, most significant byte first."""
    return struct.pack(">I", zlib.crc32(packed, zlib.crc32(decoder_id.encode())))


# --- as cells -----------------------------------------------------------------------------------


def to_cells(
    row: Row, decoder_id: str, defaults: Mapping[str, str], cipher: Cipher | None = None
) -> tuple[Cells, bytes]:
    """(the cells that are not blank, by their titles; the checksum as bytes).

    Raises ArchiveError for a row that cannot be stored.
    """
    shown = one_line(row.name)
    if not row.name:
        raise ArchiveError("an image without a name cannot be stored")
    size = f"{row.width}x{row.height}"
    quality = _quality_cell(row.quality)
    profile = f"icc_{row.profile or 'none'}"
    if not (
        _SIZE.fullmatch(size) and row.mode in MODES and 0 <= row.quality <= 999
        and _PROFILE.fullmatch(profile)
    ):  # fmt: skip
        raise ArchiveError(f"{shown} cannot be stored: {size} {row.mode} {quality}")
    packed = pack(row)
    if cipher is not None:
        tag, hidden = cipher.seal(packed, "row")
        return {"checksum": protect_cell(encode_bytes(tag)), **_long("latents", hidden)}, tag
    check = checksum(packed, decoder_id)
    own = {"size": size, "mode": row.mode, "quality": quality}
    cells = {
        "name": protect_cell(escape_name(row.name)),
        **{title: cell for title, cell in own.items() if defaults.get(title) != cell},
        "time": _time_cell(row.modified, defaults),
        "profile": "" if profile == defaults.get("profile", "icc_none") else profile,
        "checksum": protect_cell(encode_bytes(check)),
        **_long("latents", row.latents),
        **_long("exif", row.exif),
    }
    return {title: cell for title, cell in cells.items() if cell}, check


def from_cells(
    cell: Callable[[str], str],
    decoder_id: str,
    defaults: Mapping[str, str],
    cipher: Cipher | None = None,
) -> Row:
    """The row whose cells `cell` gives by their titles (blank where there is none).

    Raises ArchiveError or ValueError where it is damaged.
    """
    check, latents = checksum_of(cell), decode_text(_joined("latents", cell))
    if cipher is not None:
        return unpack(cipher.open(check, latents, "row"))
    profile = _PROFILE.fullmatch(_own(cell, "profile", defaults) or "icc_none")
    if profile is None:
        raise ValueError("it does not say the image's colour profile")
    row = Row(
        name_of(cell),
        *kind_of(cell, defaults),
        latents,
        modified=_time(cell("time").strip(), defaults),
        profile="" if profile[1] == "none" else profile[1],
        exif=decode_text(_joined("exif", cell)),
    )
    if check != checksum(pack(row), decoder_id):
        raise ArchiveError("its checksum does not match")
    return row


def name_of(cell: Callable[[str], str]) -> str:
    """The name that a row's cells say, unchecked. Raises ArchiveError where it is none."""
    return unescape_name(unprotect_cell(cell("name")))


def kind_of(
    cell: Callable[[str], str], defaults: Mapping[str, str]
) -> tuple[int, int, str, int]:
    """Width, height, mode and quality that a row's cells say, unchecked. Raises ValueError."""
    size = _SIZE.fullmatch(_own(cell, "size", defaults))
    mode, quality = _own(cell, "mode", defaults), quality_of(_own(cell, "quality", defaults))
    if size is None or mode not in MODES or quality is None:
        raise ValueError("it does not say the image's size, mode and quality")
    return int(size[1]), int(size[2]), mode, quality


def quality_of(cell: str) -> int | None:
    """The quality that a cell says, or EXACT; None where it says none."""
    match = _QUALITY.fullmatch(cell)
    return int(match[1]) if match else {"exact": EXACT}.get(cell)


def _own(cell: Callable[[str], str], title: str, defaults: Mapping[str, str]) -> str:
    return cell(title).strip() or defaults.get(title, "")


def checksum_of(cell: Callable[[str], str]) -> bytes:
    """The checksum that a row's cells say. Raises ArchiveError where it is none."""
    try:
        return decode_text(unprotect_cell(cell("checksum")))
    except ArchiveError:
        raise ArchiveError("its checksum does not match") from None


def quality_text(quality: int) -> int | str:
    """A quality as one says it: its number, or `exact`."""
    return "exact" if quality == EXACT else quality


def _quality_cell(quality: int) -> str:
    return "exact" if quality == EXACT else f"q{quality}"


def _base(defaults: Mapping[str, str]) -> int | None:
    """The time that blank cells mean, and others count from."""
    match = _TIME.fullmatch(defaults.get("time", ""))
    return int(match[1]) if match and match[1] else None


def _time_cell(modified: int | None, defaults: Mapping[str, str]) -> str:
    base = _base(defaults)
    if modified == base:
        return ""
    return "t" if modified is None else f"t{modified - (base or 0)}"


def _time(cell: str, defaults: Mapping[str, str]) -> int | None:
    base = _base(defaults)
    if not cell:
        return base
    match = _TIME.fullmatch(cell)
    if match is None:
        raise ValueError("it does not say when the image was modified")
    return None if match[1] is None else int(match[1]) + (base or 0)


def long_title(title: str, number: int) -> str:
    """The title of the column in which a long one goes on, `number` counted from 1."""
    return title if number == 1 else f"{title}{number}"


def _long(title: str, data: bytes) -> Cells:
    text = encode_bytes(data)
    pieces = [text[i : i + CELL_CHARACTERS] for i in range(0, len(text), CELL_CHARACTERS)]
    return {long_title(title, n): protect_cell(piece) for n, piece in enumerate(pieces, 1)}


def _joined(title: str, cell: Callable[[str], str]) -> str:
    pieces: list[str] = []
    while piece := cell(long_title(title, len(pieces) + 1)):
        pieces.append(unprotect_cell(piece))
    return "".join(pieces)
