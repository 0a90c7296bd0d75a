"""The archive: a CSV with one row per image.

Columns are found by their titles, and each row is one line whatever a program does to its
quoting, so an archive survives being opened and saved by a spreadsheet. The title of the checksum
column says how many rows there are and seals their order, so that a row that went missing is
noticed. Reading keeps only where each line begins, so an archive of 100,000 images opens at once
and any row is read by itself.
"""

import contextlib
import csv
import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from aezip.errors import ArchiveError, LimitError
from aezip.storage.files import one_line, reason, replacing
from aezip.storage.limits import limit
from aezip.storage.row import (
    CELL_CHARACTERS,
    EXACT,
    LONG,
    MODES,
    OPTIONAL,
    Cells,
    Head,
    Row,
    checksum_of,
    default_cells,
    from_cells,
    kind_of,
    name_of,
    to_cells,
)
from aezip.storage.secrecy import Cipher

__all__ = [
    "CELL_CHARACTERS",
    "EXACT",
    "MODES",
    "VERSION",
    "Head",
    "Row",
    "RowFile",
    "default_cells",
    "rewrite_rows",
    "write_rows",
]

VERSION = 1

_TITLE = re.compile(r"aezip(\d{1,4})_([0-9a-f]{16})_(\d{1,12})_([0-9a-f]{8,16})")
_ANY_VERSION = re.compile(r"aezip(\d{1,4})_.*")
_IDENTITY = re.compile(r"[0-9a-f]{16}")
_LONG_SEAL = 16  # hexadecimal digits, of encrypted archives
_HEADER_BYTES = 1 << 20
_SCAN_BYTES = 1 << 24
_MARKS = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


def write_rows(
    path: str | os.PathLike[str],
    rows: Iterable[Row],
    decoder_id: str,
    defaults: Mapping[str, str],
    cipher: Cipher | None = None,
) -> None:
    """Write an archive of `rows`, in their order; the file appears whole or not at all.

    decoder_id: `content_id` of the decoder that the latents are for. defaults: cells as
    `default_cells` gives them, from the header of that decoder; a cell equal to its default is
    left blank. cipher: hides all that the rows say.

    Raises ArchiveError: two rows of one name, a row that cannot be written, or no writing there.
    """
    if not _IDENTITY.fullmatch(decoder_id):
        raise ValueError(f"a decoder's id has 16 hexadecimal digits: {decoder_id!r}")
    cells, checks = _all_cells(rows, decoder_id, defaults, cipher)
    used = set().union(*cells) if cells else set()
    titles = [
        *([] if cipher else ["name"]), *(x for x in OPTIONAL if x in used), "checksum",
        "latents", *_continued(used), *(["exif"] if "exif" in used else []),
    ]  # fmt: skip
    title = _title(decoder_id, checks, cipher)
    with _writing(path) as write:
        write(_line([title if x == "checksum" else x for x in titles]).encode() + b"\n")
        for row in cells:
            write(_line([row.get(x, "") for x in titles], titles).encode() + b"\n")


def rewrite_rows(
    path: str | os.PathLike[str],
    file: "RowFile",
    keep: Sequence[int],
    rows: Iterable[Row],
    defaults: Mapping[str, str],
) -> None:
    """Write an archive of the rows `keep` of `file`, byte by byte as they are, and of new ones
    after them, whose names none of the kept has; the file appears whole or not at all.

    What another program made of the file, its separator, encoding or columns, stays. `path` may
    be the file's own.

    Raises ArchiveError as `write_rows` does, LimitError where a row is too long to be read.
    """
    file.check_lengths(keep)
    cells, checks = _all_cells(rows, file.decoder_id, defaults, file.cipher)
    used = set().union(*cells) if cells else set()
    every = file.checksums()
    known = [every[i] or b"" for i in keep]
    titles = list(file.titles)
    # New columns come last, so that the rows that are there need not be touched.
    wanted = [*OPTIONAL, "latents", *_continued(used), "exif"]
    titles += [x for x in wanted if x in used and x not in titles]
    title = _title(file.decoder_id, [*known, *checks], file.cipher)
    encoding, end = file.encoding, "\r\n" if file.crlf else "\n"
    with _writing(path) as write:
        shown = [title if x == "checksum" else x for x in titles]
        write(file.mark + (_line(shown, (), file.delimiter) + end).encode(encoding))
        for line in file.lines(keep):
            write(line.removesuffix("\r".encode(encoding)) + end.encode(encoding))
        for row in cells:
            text = _line([row.get(x, "") for x in titles], titles, file.delimiter)
            write((text + end).encode(encoding))


def _all_cells(
    rows: Iterable[Row], decoder_id: str, defaults: Mapping[str, str], cipher: Cipher | None
) -> tuple[list[Cells], list[bytes]]:
    names: set[str] = set()
    every, checks = [], []
    for row in rows:
        if row.name in names:
            raise ArchiveError(f"two images are named {one_line(row.name)}")
        names.add(row.name)
        cells, check = to_cells(row, decoder_id, defaults, cipher)
        every.append(cells)
        checks.append(check)
    return every, checks


def _continued(used: Iterable[str]) -> list[str]:
    """The titles among `used` in which long columns go on, in their order."""
    found = [re.fullmatch(r"(latents|exif)(\d+)", x) for x in used]
    ordered = sorted((LONG.index(x[1]), int(x[2]), x[0]) for x in found if x)
    return [title for _, _, title in ordered]


def _title(decoder_id: str, checks: Sequence[bytes], cipher: Cipher | None) -> str:
    return f"aezip{VERSION}_{decoder_id}_{len(checks)}_{_seal(checks, cipher)}"


def _seal(checks: Sequence[bytes], cipher: Cipher | None) -> str:
    """What the checksums in their order amount to."""
    every = b"".join(checks)
    return f"{zlib.crc32(every):08x}" if cipher is None else cipher.mac(every)[:8].hex()


def _line(cells: Sequence[str], titles: Sequence[str] = (), delimiter: str = ",") -> str:
    """Without its end."""
    shown = []
    for number, cell in enumerate(cells):
        # In names the semicolon too: programs of some countries take it for the separator.
        marks = f'"{delimiter}' + (",;" if titles and titles[number] == "name" else "")
        quoted = any(mark in cell for mark in marks)
        shown.append('"' + cell.replace('"', '""') + '"' if quoted else cell)
    return delimiter.join(shown)


@contextlib.contextmanager
def _writing(path: str | os.PathLike[str]) -> Iterator[Callable[[bytes], object]]:
    try:
        with replacing(path) as temporary, open(temporary, "wb") as file:
            yield file.write
    except OSError as error:
        raise ArchiveError(f"{one_line(path)} cannot be written: {reason(error)}") from error


class RowFile:
    """An archive opened for reading. Keeps no file open and, of each row, only where it begins.

    path: the file. decoder_id: content id of the decoder that it needs. version: of its format.
    count: how many rows were written; there may be fewer now. cipher: to be set where the archive
    is encrypted, before a row is read.

    Raises ArchiveError: no such file, not an archive, or written by a newer aezip.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.cipher: Cipher | None = None
        self._shown = one_line(path)
        with self._open() as file:
            self._stamp = _stamp(file)
            self._read_header(file)
        self._lines: np.ndarray | None = None

    def _read_header(self, file: io.BufferedReader) -> None:
        start = file.read(3)
        self.encoding, self.mark = next(
            ((name, mark) for name, mark in _MARKS.items() if start.startswith(mark)),
            ("utf-8", b""),
        )
        file.seek(len(self.mark))
        head = file.read(_HEADER_BYTES)
        end = next(_line_ends(io.BytesIO(head), self.encoding), np.array([]))
        size = int(end[0]) if len(end) else len(head)
        self._unit = len("\n".encode(self.encoding))
        self._start = len(self.mark) + size + self._unit
        # Titles are ASCII; what else stands there is one's own.
        text = head[:size].decode(self.encoding if self.mark else "latin-1", "replace")
        self.crlf = text.endswith("\r")
        self.titles, self.delimiter = _titles(text.strip("\r"))
        versions = [x for x in map(_ANY_VERSION.fullmatch, self.titles) if x]
        if not versions:
            raise self._not_an_archive("no column title of its first line names a decoder")
        self.version = int(versions[0][1])
        if self.version > VERSION:
            raise ArchiveError(
                f"{self._shown} is of format version {self.version}, written by a newer aezip; "
                f"this one reads version {VERSION}"
            )
        if self.version < 1:
            raise self._not_an_archive("no such version")
        match = _TITLE.fullmatch(versions[0][0])
        if match is None:
            raise self._not_an_archive("the title that names its decoder is damaged")
        self.decoder_id, self.count, self._sealed = match[2], int(match[3]), match[4]
        self.titles[self.titles.index(match[0])] = "checksum"
        encrypted = len(self._sealed) == _LONG_SEAL
        missing = {"latents"} if encrypted else {"name", "latents"}
        if missing - set(self.titles):
            raise self._not_an_archive(f"no column {min(missing - set(self.titles))}")
        self._columns = {title: n for n, title in enumerate(self.titles)}

    def _not_an_archive(self, why: str) -> ArchiveError:
        return ArchiveError(f"{self._shown} is not an aezip archive: {why}")

    def __len__(self) -> int:
        return len(self._index())

    def row(self, index: int, defaults: Mapping[str, str]) -> Row:
        """Row `index`, counted from 0, checked against its checksum.

        defaults: what blank cells mean, from the header of the archive's decoder.

        Raises ArchiveError: no such row, or the row is damaged; LimitError: it is too long.
        """
        lines = self._index()
        if not 0 <= index < len(lines):
            count = len(lines)
            has = {0: "no rows", 1: "1 row, numbered 0"}.get(
                count, f"{count} rows, numbered from 0 to {count - 1}"
            )
            raise ArchiveError(f"{self._shown} has {has}; there is no row {index}")
        self.check_lengths([index])
        line = next(self.lines([index]))
        name, foreign = "", False
        try:
            cell, foreign = self._cells(line)
            if self.cipher is None:
                name = name_of(cell)
            return from_cells(cell, self.decoder_id, defaults, self.cipher)
        except (ValueError, ArchiveError) as error:
            why = str(error)
            if foreign:
                why = "it is not UTF-8, the file was saved in another encoding"
            raise self._damaged(index, name, why) from error

    def names(self) -> list[str]:
        """Every row's name, read from the file anew; keep the list if you need it again.

        Names are not checked, unless they are encrypted: a checksum covers a whole row, and only
        `row` reads that.

        Raises ArchiveError for a line that is not text, or a name that is none.
        """
        if self.cipher is not None:
            return [self.row(index, {}).name for index in range(len(self))]
        return [self._name(index, line) for index, line in enumerate(self.lines())]

    def heads(self, defaults: Mapping[str, str]) -> list[Head | ArchiveError]:
        """What every row says of its image, in a tenth of the time that `row` takes: unchecked, as
        `names` are. For a line that says nothing of the kind there is the error instead.

        Raises ArchiveError where the file cannot be read.
        """
        found: list[Head | ArchiveError] = []
        for index, line in enumerate(self.lines()):
            name = ""
            try:
                if self.cipher is not None:
                    row = self.row(index, defaults)
                    kind = row.width, row.height, row.mode, row.quality
                    name = row.name
                else:
                    cell = self._cells(line)[0]
                    name, kind = name_of(cell), kind_of(cell, defaults)
                found.append(Head(name, *kind, len(line) + self._unit))
            except ValueError as error:
                found.append(self._damaged(index, name, str(error)))
            except ArchiveError as error:
                found.append(error if self.cipher else self._damaged(index, name, str(error)))
        return found

    def checksums(self) -> list[bytes | None]:
        """Of each row what it says of itself, None where that is unreadable."""
        found: list[bytes | None] = []
        for line in self.lines():
            try:
                found.append(checksum_of(self._cells(line)[0]))
            except (ValueError, ArchiveError):
                found.append(None)
        return found

    def missing(self) -> str:
        """One line where there are fewer rows than were written, or more; empty where not."""
        found = len(self)
        if found == self.count:
            return ""
        if found < self.count:
            return (
                f"{self._shown} has {found} of its {self.count} rows: it was cut short, or rows "
                "were deleted"
            )
        return f"{self._shown} has {found} rows where {self.count} were written"

    def disordered(self) -> str:
        """One line where the rows, each of them whole, are not those that were written or not in
        their order; empty where they are."""
        found = [x or b"" for x in self.checksums()]
        if _seal(found, self.cipher) == self._sealed:
            return ""
        return (
            f"{self._shown}: its rows are not in the order in which they were written, or one "
            "was put in another's place"
        )

    def check_lengths(self, indices: Iterable[int]) -> None:
        """Raise LimitError where one of these rows is longer than a row may be."""
        found, most = self._index(), limit("MAX_ROW_BYTES")
        for index in indices:
            if found[index, 1] > most:
                raise LimitError(
                    f"{self._shown}: row {index} is longer than {most} bytes (AEZIP_MAX_ROW_BYTES)"
                )

    def lines(self, indices: Iterable[int] | None = None) -> Iterator[bytes]:
        """The lines of these rows, or of all, as they are in the file, without their LF; what is
        longer than a row may be is cut."""
        found = self._index()
        most = limit("MAX_ROW_BYTES")
        with self._open() as file:
            self._check_unchanged(file)
            for index in range(len(found)) if indices is None else indices:
                start, size = found[index].tolist()
                file.seek(start)
                yield file.read(min(size, most))

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
            unit = self._unit
            with self._open() as file:
                self._check_unchanged(file)
                file.seek(self._start)
                found = _line_ends(file, self.encoding)
                ends = np.concatenate([np.array([self._start - unit]), *found])
                size = file.seek(0, os.SEEK_END)
            if ends[-1] < size - unit:  # the last line end may be missing
                ends = np.append(ends, size)
            lines = np.stack([ends[:-1] + unit, np.diff(ends) - unit], axis=1)
            # Spreadsheets leave empty lines, and lines of nothing but commas, at the end.
            lines = lines[lines[:, 1] > unit]
            with self._open() as file:
                while len(lines) and self._is_blank(file, *lines[-1].tolist()):
                    lines = lines[:-1]
            self._lines = lines
        return self._lines

    def _is_blank(self, file: io.BufferedReader, start: int, size: int) -> bool:
        file.seek(start)
        return not file.read(min(size, 4096)).decode(self.encoding, "replace").strip('",;\t\r ')

    # --- one line ---

    def _cells(self, line: bytes) -> tuple[Callable[[str], str], bool]:
        """(the cell of a title, blank where there is none; whether the line is in some encoding of
        Western Europe, in which names at least may be read)."""
        foreign = False
        try:
            text = line.decode(self.encoding)
        except UnicodeDecodeError:
            foreign, text = True, _western(line)
        text = text.rstrip("\r")
        cells = text.split(self.delimiter)
        if '"' in text:
            try:
                cells = next(csv.reader([text], delimiter=self.delimiter, strict=True))
            except csv.Error as error:
                raise ValueError(str(error)) from error

        def cell(title: str) -> str:
            column = self._columns.get(title)
            return cells[column] if column is not None and column < len(cells) else ""

        return cell, foreign

    def _name(self, index: int, line: bytes) -> str:
        try:
            return name_of(self._cells(line)[0])
        except (ValueError, ArchiveError) as error:
            raise self._damaged(index, "", str(error)) from error

    def _damaged(self, index: int, name: str, why: str) -> ArchiveError:
        named = f" ({one_line(name)})" if name else ""
        return ArchiveError(f"{self._shown}, row {index}{named} is damaged: {one_line(why)}")


def _titles(text: str) -> tuple[list[str], str]:
    """The titles of the columns, and what separates them: `,`, or what a spreadsheet chose."""
    delimiter = max(",;\t", key=text.count)
    try:
        return [x.strip() for x in next(csv.reader([text], delimiter=delimiter))], delimiter
    except (csv.Error, StopIteration):
        return [], ","


def _western(line: bytes) -> str:
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _stamp(file: io.BufferedReader) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def _line_ends(file: io.BufferedIOBase, encoding: str) -> Iterator[np.ndarray]:
    """Where in the file the line ends are, from its present position, in arrays of int64."""
    kind = {"utf-8": "u1", "utf-16-le": "<u2", "utf-16-be": ">u2"}[encoding]
    unit = np.dtype(kind).itemsize
    position = file.tell()
    while chunk := file.read(_SCAN_BYTES):
        whole = chunk[: len(chunk) // unit * unit]
        yield np.flatnonzero(np.frombuffer(whole, kind) == ord("\n")) * unit + position
        position += len(chunk)
