"""Writing an archive's images as files again, and nothing outside of the folder they go to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from itertools import accumulate, groupby
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from aezip import images as pictures
from aezip import workers
from aezip.archive import Archive
from aezip.errors import AezipError, ArchiveError, ImageError
from aezip.storage.files import one_line, reason

_BATCH_PIXELS = 1 << 20


def extract(
    archive: Archive,
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[str, str]]:
    """Write each image of an archive into a folder as PNG, under its own name, with its colour
    profile, EXIF and time of modification.

    Returns (name, why not) for each image that was not written: damaged, already there (unless
    `force`), or a name that leads out of the folder; or that was written without its profile, since
    no PNG can have it. Of names that differ in their extension alone each keeps its own: a.jpg.png
    and a.tif.png. jobs: processes that work side by side; more than one needs the usual `if
    __name__ == "__main__":`. progress: called with the images done.
    """
    failed: list[tuple[str, str]] = []
    done = 0
    with closing(_extract(archive, Path(folder), force, jobs)) as batches:
        for outcomes in batches:
            failed += [(name, error) for name, error in outcomes if error is not None]
            done += len(outcomes)
            if progress is not None:
                progress(done)
    return failed


_Outcome = tuple[str, str | None]  # name, why it was not written


class _Task(NamedTuple):
    row: int
    name: str
    file: str  # below the folder
    pixels: int


def _extract(
    archive: Archive, root: Path, force: bool, jobs: int
) -> Generator[list[_Outcome]]:
    rows: list[tuple[int, str, int]] = []
    for number in range(len(archive)):
        try:
            row = archive.row(number)
            rows.append((number, row.name, row.width * row.height))
        except ArchiveError as error:
            yield [(f"row {number}", str(error))]
    plain = [_without_extension(name) for _, name, _ in rows]
    # A name is also taken where another has it before its extension: a.jpg of a.jpg.png.
    count = Counter([*plain, *{name for _, name, _ in rows}])
    tasks = [
        _Task(number, name, f"{stem if count[stem] == 1 else name}.png", pixels)
        for (number, name, pixels), stem in zip(rows, plain, strict=True)
    ]
    ends = accumulate(task.pixels for task in tasks)
    shares = groupby(zip(ends, tasks, strict=True), lambda x: x[0] // _BATCH_PIXELS)
    batches = [[task for _, task in share] for _, share in shares]
    if jobs <= 1 or len(batches) <= 2:  # it is done before other processes have started
        yield from map(_writer(archive, root, force), batches)
    else:
        yield from workers.share_out(_writer, (archive, root, force), batches, jobs)


def _writer(
    archive: Archive, root: Path, force: bool
) -> Callable[[Sequence[_Task]], list[_Outcome]]:
    def write(tasks: Sequence[_Task]) -> list[_Outcome]:
        return [(task.name, _write(archive, root, force, task)) for task in tasks]

    return write


def _write(archive: Archive, root: Path, force: bool, task: _Task) -> str | None:
    """Write one image, or say why not, or what not of it."""
    shown = one_line(task.name)
    try:
        path = root / _inside(task.file)
        if os.path.lexists(path) and not force:
            raise ImageError(f"{one_line(path)} is there already (--force overwrites it)")
        if not path.resolve().is_relative_to(root.resolve()):  # by a link that is there
            raise ImageError(f"{shown} would be written outside of {one_line(root)}")
        row = archive.row(task.row)
        image = archive.decode(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        said = pictures.write(image, path)
        if row.modified is not None:
            with suppress(OSError, OverflowError):  # a time that this system cannot have
                os.utime(path, (row.modified, row.modified))
    except AezipError as error:
        return str(error)
    except OSError as error:
        return f"{shown} cannot be written: {reason(error)}"
    except ValueError:  # a zero byte, or what else no path can hold
        return f"{shown} cannot be written: no file can have this name"
    return said or None


def _without_extension(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def _inside(name: str) -> PurePosixPath:
    """`name`, if it stays below the folder that it is joined to."""
    path, here = PurePosixPath(name), PurePath(name)
    if path.is_absolute() or here.drive or here.root or ".." in {*path.parts, *here.parts}:
        raise ImageError(f"{one_line(name)} would be written outside of the folder")
    return path
