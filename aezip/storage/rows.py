"""The archive: a CSV with one row per image.

Columns are found by their titles, and each row is one line whatever a program does to its
quoting, so an archive survives being opened and saved by a spreadsheet. A row repeats nothing
that the decoder's file says once for the whole collection. Reading keeps only where each line
begins, so an archive of 100,000 images opens at once and any row is read by itself.
"""

import contextlib
import csv
import io
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aezip.errors import ArchiveError
from aezip.storage.files import one_line, reason, replacing
from aezip.storage.text import (
    decode_text,
    encode_bytes,
    escape_name,
    protect_cell,
    unescape_name,
    unprotect_cell,
)

VERSION = 1
MODES = ("L", "LA", "RGB", "RGBA")
CELL_CHARACTERS = 32_000
"""Longest cell of latents, before a `~`; Excel cuts off what is longer than 32,767."""

MAX_ROW_BYTES = 1 << 28
"""A longer line is refused before it is read."""

_CHECKSUM_TITLE = re.compile(r"aezip(\d{1,4})_([0-9a-f]{16})")
_SIZE = re.compile(r"([1-9]\d{0,6})x([1-9]\d{0,6})")
_QUALITY = re.compile(r"q(\d{1,3})")
_HEADER_BYTES = 1 << 20
_SCAN_BYTES = 1 << 24


@dataclass(frozen=True)
class Row:
    """One image: its name (forward slashes between folders), what it is, and its coded latents."""

    name: str
    width: int
    height: int
    mode: str  # one of MODES
    quality: int
    latents: bytes


def default_cells(width: int, height: int, mode: str, quality: int) -> dict[str, str]:
    """What a row's cells may leave blank, as the decoder's header keeps it (JSON-able).

    Leave out a key to make the rows say it themselves.
    """
    return {"size": f"{width}x{height}", "mode": mode, "quality": f"q{quality}"}


def write_rows(
    path: str | os.PathLike[str],
    rows: Iterable[Row],
    decoder_id: str,
    defaults: Mapping[str, str],
) -> None:
    """Write an archive of `rows`, in their order; the file appears whole or not at all.

    decoder_id: `content_id` of the decoder that the latents are for. defaults: cells as
    `default_cells` gives them, from the header of that decoder; a cell equal to its default is
    left blank.

    Raises ArchiveError: two rows of one name, a row that cannot be written, or no writing there.
    """
    title = f"aezip{VERSION}_{decoder_id}"
    if not _CHECKSUM_TITLE.fullmatch(title):
        raise ValueError(f"a decoder's id has 16 hexadecimal digits: {decoder_id!r}")
    seen: set[str] = set()
    heads: list[str] = []
    latents: list[list[str]] = []
    for row in rows:
        if row.name in seen:
            raise ArchiveError(f"two images are named {one_line(row.name)}")
        seen.add(row.name)
        heads.append(_head_cells(row, decoder_id, defaults))
        text = encode_bytes(row.latents)
        latents.append(
            [
                protect_cell(text[start : start + CELL_CHARACTERS])
                for start in range(0, len(text), CELL_CHARACTERS)
            ]
        )
    columns = max(map(len, latents), default=1) or 1
    titles = ["name", "size", "mode", "quality", title, *_latent_titles(columns)]
    try:
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.write(",".join(titles).encode() + b"\n")
            for head, cells in zip(heads, latents, strict=True):
                cells = cells + [""] * (columns - len(cells))
                file.write(f"{head},{','.join(cells)}\n".encode())
    except OSError as error:
        raise ArchiveError(f"{one_line(path)} cannot be written: {reason(error)}") from error


def _latent_titles(columns: int) -> list[str]:
    return ["latents", *(f"latents{number}" for number in range(2, columns + 1))]


def _head_cells(row: Row, decoder_id: str, defaults: Mapping[str, str]) -> str:
    """All but the latents, as they stand in the line."""
    own = default_cells(row.width, row.height, row.mode, row.quality)
    shown = one_line(row.name)
    if not row.name:
        raise ArchiveError("an image without a name cannot be stored")
    if not (_SIZE.fullmatch(own["size"]) and row.mode in MODES and 0 <= row.quality <= 999):
        raise ArchiveError(f"{shown} cannot be stored: {' '.join(own.values())}")
    name = protect_cell(escape_name(row.name))
    if any(mark in name for mark in ',";'):
        # The semicolon too: programs of some countries take it for the separator.
        name = '"' + name.replace('"', '""') + '"'
    blank = ["" if defaults.get(key) == cell else cell for key, cell in own.items()]
    return ",".join([name, *blank, protect_cell(_checksum(row, decoder_id))])


def _checksum(row: Row, decoder_id: str) -> str:
    """CRC-32 of the decoder's id and everything that the row says, as 5 characters.

    Each part has a fixed length or is preceded by its length, so no two rows give the same bytes.
    """
    name = escape_name(row.name).encode()
    mode = row.mode.encode()
    fields = struct.pack("<IIHB", row.width, row.height, row.quality, len(mode)) + mode
    head = decoder_id.encode() + struct.pack("<I", len(name)) + name + fields
    value = zlib.crc32(row.latents, zlib.crc32(head))
    return encode_bytes(struct.pack(">I", value))


class Head(NamedTuple):
    """What a line says of its image before the latents, and how many bytes of the file it takes."""

    name: str
    width: int
    height: int
    mode: str
    quality: int
    size: int


class RowFile:
    """An archive opened for reading. Keeps no file open and, of each row, only where it begins.

    path: the file. decoder_id: content id of the decoder that it needs. version: of its format.

    Raises ArchiveError: no such file, not an archive, or written by a newer aezip.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._shown = one_line(path)
        with self._open() as file:
            self._stamp = _stamp(file)
            line = file.readline(_HEADER_BYTES)
            self._start = file.tell()
        titles, self._delimiter = self._titles(line)
        match = next(filter(None, map(_CHECKSUM_TITLE.fullmatch, titles)), None)
        if match is None:
            raise ArchiveError(
                f"{self._shown} is not an aezip archive: no column title of its first line "
                "names a decoder"
            )
        self.version = int(match[1])
        self.decoder_id = match[2]
        if self.version > VERSION:
            raise ArchiveError(
                f"{self._shown} is of format version {self.version}, written by a newer aezip; "
                f"this one reads version {VERSION}"
            )
        titles[titles.index(match[0])] = "checksum"
        self._columns = {title: titles.index(title) for title in titles}
        missing = {"name", "size", "mode", "quality", "latents"} - set(titles)
        if self.version < 1 or missing:
            what = f"no column {min(missing)}" if missing else "no such version"
            raise ArchiveError(f"{self._shown} is not an aezip archive: {what}")
        count = 1
        while f"latents{count + 1}" in self._columns:
            count += 1
        self._latent_columns = [self._columns[title] for title in _latent_titles(count)]
        self._lines: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._index())

    def row(self, index: int, defaults: Mapping[str, str]) -> Row:
        """Row `index`, counted from 0, checked against its checksum.

        defaults: what blank cells mean, from the header of the archive's decoder.

        Raises ArchiveError: no such row, or the row is damaged.
        """
        lines = self._index()
        if not 0 <= index < len(lines):
            count = len(lines)
            has = {0: "no rows", 1: "1 row, numbered 0"}.get(
                count, f"{count} rows, numbered from 0 to {count - 1}"
            )
            raise ArchiveError(f"{self._shown} has {has}; there is no row {index}")
        start, size = lines[index].tolist()
        if size > MAX_ROW_BYTES:
            raise self._damaged(index, "", f"it is longer than {MAX_ROW_BYTES >> 20} MiB")
        with self._open() as file:
            self._check_unchanged(file)
            file.seek(start)
            line = file.read(size)
        name = ""
        try:
            cells = self._cells(line)
            name = unescape_name(unprotect_cell(self._cell(cells, "name")))
            row, checksum = self._parse(name, cells, defaults)
        except (ValueError, ArchiveError) as error:
            raise self._damaged(index, name, str(error)) from error
        if checksum != _checksum(row, self.decoder_id):
            raise self._damaged(index, name, "its checksum does not match")
        return row

    def names(self) -> list[str]:
        """Every row's name, read from the file anew; keep the list if you need it again.

        Names are not checked: a checksum covers a whole row, and only `row` reads that.

        Raises ArchiveError for a line that is not text, or a name that is none.
        """
        lines = self._index()
        names = []
        with self._open() as file:
            self._check_unchanged(file)
            for index, (start, size) in enumerate(lines.tolist()):
                file.seek(start)
                names.append(self._name(index, file.read(min(size, MAX_ROW_BYTES))))
        return names

    def heads(self, defaults: Mapping[str, str]) -> list[Head | ArchiveError]:
        """What every row says of its image, in a tenth of the time that `row` takes: unchecked, as
        `names` are. For a line that says nothing of the kind there is the error instead.

        Raises ArchiveError where the file cannot be read.
        """
        found: list[Head | ArchiveError] = []
        lines = self._index()
        with self._open() as file:
            self._check_unchanged(file)
            for index, (start, size) in enumerate(lines.tolist()):
                file.seek(start)
                name = ""
                try:
                    cells = self._cells(file.read(min(size, MAX_ROW_BYTES)))
                    name = unescape_name(unprotect_cell(self._cell(cells, "name")))
                    found.append(Head(name, *self._kind(cells, defaults), size + 1))
                except (ValueError, ArchiveError) as error:
                    found.append(self._damaged(index, name, str(error)))
        return found

    # --- the file ---

    @contextlib.contextmanager
    def _open(self) -> Iterator[io.BufferedReader]:
        # Around the reading too: a disk can fail after the file was opened.
        try:
            with open(self.path, "rb") as file:
                yield file
        except FileNotFoundError:
            raise ArchiveError(f"{self._shown}: there is no such file") from None
        except OSError as error:
            raise ArchiveError(f"{self._shown} cannot be read: {reason(error)}") from error

    def _check_unchanged(self, file: io.BufferedReader) -> None:
        if _stamp(file) != self._stamp:
            raise ArchiveError(f"{self._shown} was changed while it was open; open it again")

    def _index(self) -> np.ndarray:
        """(rows, 2) int64: where each line begins and how many bytes it has, scanned once.

        No cell ever holds a line end (names are escaped), so each line end closes a row even
        where a damaged line holds an odd quote.
        """
        if self._lines is None:
            with self._open() as file:
                self._check_unchanged(file)
                file.seek(self._start)
                ends = np.concatenate([np.array([self._start - 1]), *_line_ends(file)])
                size = file.seek(0, os.SEEK_END)
            if ends[-1] != size - 1:  # the last line end may be missing
                ends = np.append(ends, size)
            lines = np.stack([ends[:-1] + 1, np.diff(ends) - 1], axis=1)
            # Spreadsheets leave empty lines, and lines of nothing but commas, at the end.
            lines = lines[lines[:, 1] > 1]
            with self._open() as file:
                while len(lines) and self._is_blank(file, *lines[-1].tolist()):
                    lines = lines[:-1]
            self._lines = lines
        return self._lines

    def _is_blank(self, file: io.BufferedReader, start: int, size: int) -> bool:
        file.seek(start)
        return not file.read(min(size, 4096)).strip(b'",;\t\r ')

    # --- one line ---

    def _titles(self, line: bytes) -> tuple[list[str], str]:
        """The titles of the columns, and what separates them: `,`, or what a spreadsheet chose."""
        text = line.removeprefix(b"\xef\xbb\xbf").decode("latin-1").strip("\r\n")
        delimiter = max(",;\t", key=text.count)
        try:
            return [title.strip() for title in next(csv.reader([text], delimiter=delimiter))], (
                delimiter
            )
        except (csv.Error, StopIteration):
            return [], ","

    def _cells(self, line: bytes) -> list[str]:
        text = line.decode("utf-8").rstrip("\r")
        if '"' not in text:
            return text.split(self._delimiter)
        try:
            return next(csv.reader([text], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise ValueError(str(error)) from error

    def _cell(self, cells: list[str], title: str) -> str:
        column = self._columns[title]
        return cells[column] if column < len(cells) else ""

    def _kind(
        self, cells: list[str], defaults: Mapping[str, str]
    ) -> tuple[int, int, str, int]:
        """Width, height, mode and quality. Raises ValueError where they are not said."""
        own = {
            key: self._cell(cells, key).strip() or defaults.get(key, "")
            for key in ("size", "mode", "quality")
        }
        size, quality = _SIZE.fullmatch(own["size"]), _QUALITY.fullmatch(own["quality"])
        if size is None or quality is None or own["mode"] not in MODES:
            raise ValueError("it does not say the image's size, mode and quality")
        return int(size[1]), int(size[2]), own["mode"], int(quality[1])

    def _parse(
        self, name: str, cells: list[str], defaults: Mapping[str, str]
    ) -> tuple[Row, str]:
        kind = self._kind(cells, defaults)
        latents = "".join(
            unprotect_cell(cells[column]) for column in self._latent_columns if column < len(cells)
        )
        row = Row(name, *kind, decode_text(latents))
        return row, unprotect_cell(self._cell(cells, "checksum"))

    def _name(self, index: int, line: bytes) -> str:
        try:
            if self._columns["name"] == 0 and not line.startswith(b'"'):
                cell = line.split(self._delimiter.encode(), 1)[0].decode("utf-8")
            else:
                cell = self._cell(self._cells(line), "name")
            return unescape_name(unprotect_cell(cell))
        except (ValueError, ArchiveError) as error:
            raise self._damaged(index, "", str(error)) from error

    def _damaged(self, index: int, name: str, why: str) -> ArchiveError:
        named = f" ({one_line(name)})" if name else ""
        return ArchiveError(f"{self._shown}, row {index}{named} is damaged: {one_line(why)}")


def _stamp(file: io.BufferedReader) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def _line_ends(file: io.BufferedReader) -> Iterator[np.ndarray]:
    """Where in the file the line ends are, from its present position, in arrays of int64."""
    position = file.tell()
    while chunk := file.read(_SCAN_BYTES):
        yield np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n")) + position
        position += len(chunk)
