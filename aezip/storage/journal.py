"""What a long work on an archive has done so far: OUT.csv.partial.

Whoever writes an archive holds this file, so that no two do. Each image is appended as soon as it
is coded; where the work ends early, the next one may take from here what was done. A file that
was cut anywhere gives all that was whole before the cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from aezip.errors import ArchiveError
from aezip.storage.files import one_line, reason, remove_leftovers
from aezip.storage.secrecy import TAG, Cipher

_FRAME = struct.Struct("<II")  # bytes, CRC-32
_MAGIC = b"aezip-partial-1\n"
_LONGEST = 1 << 30
_SYNC_EVERY = 1.0  # seconds
_BINARY = getattr(os, "O_BINARY", 0)  # on Windows


def partial_path(csv: str | os.PathLike[str]) -> Path:
    """Where the journal of an archive is."""
    real = Path(os.path.realpath(csv))
    return real.with_name(f"{real.name}.partial")


class Journal:
    """The open journal of one archive. `settings` and `entries` are those that were found."""

    def __init__(self, file: FileIO, csv: str | os.PathLike[str]) -> None:
        self._file = file
        self._shown = one_line(csv)
        self._cipher: Cipher | None = None
        self._synced = 0.0
        self._count: int | None = None  # of entries, once they are known
        self.finished = False
        self.settings: dict[str, Any] | None = None
        file.seek(0)
        if file.read(len(_MAGIC)) == _MAGIC and (first := self._read()) is not None:
            with contextlib.suppress(ValueError):
                found = json.loads(first)
                self.settings = found if isinstance(found, dict) else None

    def begin(self, settings: Mapping[str, Any], cipher: Cipher | None = None) -> None:
        """Forget what is there and begin anew. settings: what JSON can hold."""
        self._cipher, self.settings, self._count = cipher, dict(settings), 0
        with self._writing():
            self._file.seek(0)
            self._file.truncate()
            _write(self._file, _MAGIC)
        self._append(json.dumps(self.settings).encode())

    def go_on(self, cipher: Cipher | None = None) -> list[bytes]:
        """The entries that are there; further ones are appended to them."""
        self._cipher = cipher
        entries = []
        end = self._file.tell()
        while (data := self._read()) is not None:
            if cipher is not None:
                try:
                    data = cipher.open(data[:TAG], data[TAG:], "journal")
                except ArchiveError:
                    break
            entries.append(data)
            end = self._file.tell()
        self._count = len(entries)
        with self._writing():
            self._file.seek(end)
            self._file.truncate()
        return entries

    def add(self, entry: bytes) -> None:
        """Append an entry. Raises ArchiveError where the disk is full."""
        if self._cipher is not None:
            entry = b"".join(self._cipher.seal(entry, "journal"))
        self._append(entry)
        self._count = (self._count or 0) + 1

    @property
    def useful(self) -> bool:
        """Whether there is something to go on from."""
        return not self.finished and self.settings is not None and self._count != 0

    def _append(self, data: bytes) -> None:
        with self._writing():
            _write(self._file, _FRAME.pack(len(data), zlib.crc32(data)) + data)
            if time.monotonic() - self._synced > _SYNC_EVERY:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def _read(self) -> bytes | None:
        head = self._file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            return None
        size, check = _FRAME.unpack(head)
        data = self._file.read(size) if size <= _LONGEST else b""
        return data if len(data) == size and zlib.crc32(data) == check else None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArchiveError(f"{self._shown} cannot be written: {reason(error)}") from error


@contextlib.contextmanager
def writing(csv: str | os.PathLike[str]) -> Iterator[Journal]:
    """The journal of an archive, held by nobody else meanwhile.

    It is removed when the work has `finished`, or where nothing was entered; else it stays.

    Raises ArchiveError: another process is at work on the archive, or nothing can be written there.
    """
    path, shown = partial_path(csv), one_line(csv)
    try:
        file = _locked(path)
    except BlockingIOError:
        raise ArchiveError(f"another aezip is writing {shown}; wait until it has ended") from None
    except OSError as error:
        raise ArchiveError(f"{shown} cannot be written: {reason(error)}") from error
    with file:
        journal = Journal(file, csv)
        try:
            remove_leftovers(csv)  # nobody else is writing it now
            yield journal
        finally:
            if not journal.useful:
                with contextlib.suppress(OSError):
                    if os.name == "nt":  # an open file cannot be removed there
                        file.close()
                    path.unlink()


def _write(file: FileIO, data: bytes) -> None:
    """All of the data: from here on it outlives this process."""
    while data:
        data = data[file.write(data) :]


def _locked(path: Path) -> FileIO:
    """The file, made if need be, and locked until it is closed; without a buffer, whose rest would
    be written once more when it is closed on a full disk."""
    while True:
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o666), "r+")
        try:
            _lock(file)
            # Whoever held the lock may have removed the file meanwhile.
            if os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: FileIO) -> None:
    """Raises BlockingIOError where another process has it."""
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise BlockingIOError from error
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # some network disks cannot lock
        pass
