"""Writing a file so that a crash at any moment leaves either the old file or the new one.

Everything aezip writes goes through here: a temporary name in the same folder, then a rename.
"""

import contextlib
import os
import secrets
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

_LONG_AGO = 3600  # seconds: no file that is written here takes so long


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = True) -> Iterator[Path]:
    """Lend a temporary path beside `path`; when the block ends well, it becomes `path`.

    The temporary name is hidden and carries the same extension. When the block raises, the
    temporary file is removed and `path` is as it was. With `sync` the bytes are on the disk, not
    only in the system's cache, before the rename: what an archive needs, and what thousands of
    extracted pictures can do without.

    Raises OSError: no such folder, no permission, disk full, or `path` is not a regular file.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one, its target is replaced
    if target.exists() and not target.is_file():
        # Renaming over a folder fails anyway; renaming over /dev/null would succeed.
        raise OSError("it exists and is not a file")
    if sync:
        remove_leftovers(target, older=_LONG_AGO)
    temporary = target.parent / f"{_start(target)}{secrets.token_hex(6)}{target.suffix}"
    try:
        yield temporary
        if sync:
            _sync(temporary)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        _sync_folder(target.parent)


def remove_leftovers(path: str | os.PathLike[str], older: float = 0) -> None:
    """Remove the temporary files of writers of `path` that were killed, if they are so many seconds
    old; with 0, nobody may be writing it meanwhile."""
    target = Path(os.path.realpath(path))
    with contextlib.suppress(OSError):
        for left in target.parent.glob(f"{_start(target)}*"):
            if not older or time.time() - left.stat().st_mtime > older:
                left.unlink()


def _start(target: Path) -> str:
    """What the names of temporary files for this one begin with; short, since names have a
    greatest length."""
    return f".aezip-{zlib.crc32(os.fsencode(target.name)):08x}-"


def _sync(path: Path) -> None:
    # "r+b": Windows flushes only through a writable handle.
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # The rename itself is an entry of the folder. Windows cannot open one; some network file
    # systems refuse to sync one, and then nothing better can be had.
    if os.name == "posix":
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def one_line(text: object) -> str:
    """`text` as one line for a message: what would break the line is shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def reason(error: OSError) -> str:
    """What the system said, without the path and the error number it wraps around."""
    # Not `strerror`, where h5py puts a report of its own with the temporary file's name.
    said = os.strerror(error.errno) if error.errno else str(error) or "unknown error"
    return one_line(said[:1].lower() + said[1:])
