"""Writing an archive's images as files again, and nothing outside of the folder they go to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath

from aezip import images as pictures
from aezip.archive import Archive
from aezip.errors import AezipError, ArchiveError, ImageError
from aezip.storage.files import one_line, reason


def extract(
    archive: Archive,
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[str, str]]:
    """Write each image of an archive into a folder as PNG, under its own name, with its colour
    profile, EXIF and time of modification.

    Returns (name, why not) for each image that was not written: damaged, already there (unless
    `force`), or a name that leads out of the folder. Of names that differ in their extension
    alone each keeps its own: a.jpg.png and a.tif.png. progress: called with the images done.
    """
    failed = []
    for done, (name, error) in enumerate(_extract(archive, Path(folder), force), 1):
        if error is not None:
            failed.append((name, error))
        if progress is not None:
            progress(done)
    return failed


def _extract(archive: Archive, root: Path, force: bool) -> Iterator[tuple[str, str | None]]:
    names: list[str] = []
    rows: list[int] = []
    for number in range(len(archive)):
        try:
            names.append(archive.row(number).name)
            rows.append(number)
        except ArchiveError as error:
            yield f"row {number}", str(error)
    plain = [_without_extension(name) for name in names]
    # A name is also taken where another has it before its extension: a.jpg of a.jpg.png.
    count = Counter([*plain, *set(names)])
    for number, name, stem in zip(rows, names, plain, strict=True):
        try:
            path = root / _inside(f"{stem if count[stem] == 1 else name}.png")
            if os.path.lexists(path) and not force:
                raise ImageError(f"{one_line(path)} is there already (--force overwrites it)")
            if not path.resolve().is_relative_to(root.resolve()):  # by a link that is there
                raise ImageError(f"{one_line(name)} would be written outside of {one_line(root)}")
            row = archive.row(number)
            image = archive.decode(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            pictures.write(image, path)
            if row.modified is not None:
                with suppress(OSError, OverflowError):  # a time that this system cannot have
                    os.utime(path, (row.modified, row.modified))
        except AezipError as error:
            yield name, str(error)
        except OSError as error:
            yield name, f"{one_line(name)} cannot be written: {reason(error)}"
        except ValueError:  # a zero byte, or what else no path can hold
            yield name, f"{one_line(name)} cannot be written: no file can have this name"
        else:
            yield name, None


def _without_extension(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def _inside(name: str) -> PurePosixPath:
    """`name`, if it stays below the folder that it is joined to."""
    path, here = PurePosixPath(name), PurePath(name)
    if path.is_absolute() or here.drive or here.root or ".." in {*path.parts, *here.parts}:
        raise ImageError(f"{one_line(name)} would be written outside of the folder")
    return path
