"""Checking all of an archive: every row read, decoded, and compared with its original."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from aezip import images as pictures
from aezip import workers
from aezip.archive import Archive
from aezip.errors import AezipError, ArchiveError, ImageError
from aezip.metrics import psnr
from aezip.originals import original_path
from aezip.storage.files import one_line
from aezip.storage.row import EXACT

_BATCH = 16  # rows
_SLACK = 0.05  # dB: another processor may round a few pixels otherwise


@dataclass
class Verified:
    """What `verify` found. wrong: one line for each thing that is wrong. psnrs: by name, of the
    images whose originals were there, infinite where nothing that is seen differs. exact: how many
    of these images are stored exactly. gone: images whose originals were not
    there. absent: images of the folder that the archive has no row for."""

    rows: int
    intact: int
    promise: float
    wrong: list[str] = field(default_factory=list)
    psnrs: dict[str, float] = field(default_factory=dict)
    exact: int = 0
    gone: int = 0
    absent: list[str] = field(default_factory=list)


def verify(
    csv: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    *,
    passphrase: str | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Read and decode every row of an archive. against: the folder of the originals, to compare
    with those that are still there; an image must keep the archive's promise. What would be lost
    with the folder is in `absent`.

    Raises ArchiveError or ModelError where the archive cannot be opened at all.
    """
    archive = Archive(csv, passphrase)
    total = len(archive)
    result = Verified(total, 0, archive.promise)
    if archive.missing:
        result.wrong.append(archive.missing)
    names: list[str] = []
    with closing(_all(archive, against, total, jobs)) as batches:
        for done, batch in enumerate(batches, 1):
            for name, error, db in batch:
                names += [name] if name else []
                if error:
                    result.wrong.append(error)
                else:
                    result.intact += 1
                if db is not None:
                    result.psnrs[name] = db
                elif against is not None and not error:
                    result.gone += 1
            if progress is not None:
                progress(min(done * _BATCH, total), total)
    heads = [x for x in archive.heads() if not isinstance(x, ArchiveError)]
    result.exact = sum(x.quality == EXACT and x.name in result.psnrs for x in heads)
    if against is not None:
        try:
            known = {*names, *(x.name for x in heads)}  # what is damaged is said already
            result.absent = [x for x in pictures.find(against).names if x not in known]
        except ImageError as error:
            if result.psnrs:  # otherwise there is no image
                result.wrong.append(str(error))
    shown = one_line(csv)
    for name, count in Counter(names).items():
        if count > 1:
            result.wrong.append(f"{shown} has {count} rows named {one_line(name)}")
    if not result.wrong and archive.disordered:
        result.wrong.append(archive.disordered)
    return result


_Found = tuple[str, str, float | None]  # name, what is wrong, PSNR where it was measured


def _all(
    archive: Archive,
    against: str | os.PathLike[str] | None,
    total: int,
    jobs: int,
) -> Generator[list[_Found]]:
    batches = [range(i, min(i + _BATCH, total)) for i in range(0, total, _BATCH)]
    folder = None if against is None else Path(against)
    jobs = min(jobs, len(batches))
    if jobs <= 1:
        yield from map(_Checker(archive, folder).check, batches)
    else:
        yield from workers.share_out(_checker, (archive, folder), batches, jobs)


def _checker(archive: Archive, folder: Path | None) -> Callable[[Sequence[int]], list[_Found]]:
    return _Checker(archive, folder).check


class _Checker:
    def __init__(self, archive: Archive, folder: Path | None) -> None:
        self.archive = archive
        self.folder = folder

    def check(self, numbers: Sequence[int]) -> list[_Found]:
        return [self._check(number) for number in numbers]

    def _check(self, number: int) -> _Found:
        try:
            row = self.archive.row(number)
        except ArchiveError as error:
            return "", str(error), None
        try:
            image = self.archive.decode(row)
        except ArchiveError as error:
            return row.name, str(error), None
        if self.folder is None:
            return row.name, "", None
        try:
            path = original_path(self.folder, row.name)
            if not path.exists():
                return row.name, "", None
            original = pictures.to_array(pictures.read(path))
        except (AezipError, OSError, ValueError) as error:
            shown = one_line(self.folder / row.name)
            return row.name, f"{shown} cannot be compared: {one_line(error)}", None
        decoded = pictures.to_array(image)
        if original.shape != decoded.shape:
            return row.name, f"{one_line(path)} has another size or kind than its row", None
        db = psnr(original, decoded)
        least = float("inf") if row.quality == EXACT else self.archive.promise - _SLACK
        if db < least:
            promised = "exact" if row.quality == EXACT else f"{self.archive.promise:.1f} dB"
            return row.name, f"{one_line(path)}: {db:.2f} dB, promised {promised}", db
        return row.name, "", db
