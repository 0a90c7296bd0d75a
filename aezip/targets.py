"""What a command is about to write, checked before its work: a wrong path costs neither time nor
what lies there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from aezip.errors import AezipError, ImageError
from aezip.storage.files import one_line, reason


def check_target(path: str | os.PathLike[str]) -> None:
    """Raises AezipError where no file of that name can be written."""
    folder = Path(os.path.realpath(path)).parent
    why = 0
    if not folder.exists():
        why = errno.ENOENT
    elif not folder.is_dir():
        why = errno.ENOTDIR
    elif not os.access(folder, os.W_OK):
        why = errno.EACCES
    if why:
        raise AezipError(f"{one_line(path)} cannot be written: {reason(OSError(why, ''))}")


def check_outside(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Raises ImageError for a picture that would lie among the images of a folder: it could
    replace one, and would be packed with them."""
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise ImageError(
            f"{one_line(path)} would lie among the images of {one_line(folder)}; name another place"
        )
