"""Whether a file is what a row of an archive was made of.

A row that is not exact cannot tell by itself: what it decodes to is near to many images. But coding
the file anew in the same way comes to the same latents. Where those differ in a few places, as
between two processors or two efforts, what they decode to is still the same but for noise; a
change of the image is not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aezip import images as pictures
from aezip import workers
from aezip.archive import Archive, profile_id
from aezip.autoencoders import DEFAULT_EFFORT, Autoencoder, Pixels
from aezip.errors import AezipError, ModelError
from aezip.metrics import visible
from aezip.storage.files import one_line
from aezip.storage.row import EXACT, Row

_BATCH = 16  # images
_BLOCK = 16  # pixels a side
_STRIP = 1 << 20  # samples that are compared at once, about
# Coding at a similar effort moves a block's mean by less than 0.08 of what its error is, and its
# squared error by less than 0.9 of itself and the image's; coding at the least or the most by more.
_MOVED, _WORSE = 0.1, 1.0
_EFFORTS = (DEFAULT_EFFORT, 2, 1, 9)

Outcome = tuple[str, str]  # name, why it is not there; blank where it is


def compare(
    archive: Archive,
    autoencoder: Autoencoder,
    folder: Path,
    names: Sequence[str],
    effort: int,
    jobs: int = 1,
) -> Generator[list[Outcome]]:
    """Of files of a folder, all of which have rows of their names, whether they are what is there.

    autoencoder: that of the archive, able to encode. effort: what the rows were coded with, as far
    as is known.
    """
    batches = [names[i : i + _BATCH] for i in range(0, len(names), _BATCH)]
    jobs = min(jobs, len(batches))
    state = (archive, autoencoder, folder, effort)
    if jobs <= 1:
        yield from map(_comparer(*state), batches)
    else:
        yield from workers.share_out(_comparer, state, batches, jobs)


def _comparer(
    archive: Archive, autoencoder: Autoencoder, folder: Path, effort: int
) -> Callable[[Sequence[str]], list[Outcome]]:
    def compared(name: str) -> Outcome:
        try:
            if is_same(archive, archive.row(name), autoencoder, folder / name, effort):
                return name, ""
        except AezipError as error:
            return name, str(error)
        return name, f"{one_line(name)}: another image of this name is in the archive"

    return lambda names: [compared(name) for name in names]


def is_same(
    archive: Archive, row: Row, autoencoder: Autoencoder, path: Path, effort: int
) -> bool:
    """Whether the row decodes to the file's image as coding the file anew would, and has its colour
    profile. Raises ImageError or ArchiveError where one of the two cannot be read."""
    loaded = pictures.load(path)
    original, decoded = pictures.to_array(loaded.image), pictures.to_array(archive.decode(row))
    profile = profile_id(loaded.profile, archive.cipher) if loaded.profile else ""
    if original.shape != decoded.shape or profile != row.profile:
        return False
    if row.quality == EXACT:
        return np.array_equal(original, decoded)
    with suppress(ModelError):  # it would have been coded exactly
        autoencoder.check(original)
        tried: set[bytes] = set()
        for used in dict.fromkeys((effort, *_EFFORTS)):
            latents = autoencoder.encode([original], row.quality, used)[0]
            if latents == row.latents:
                return True
            if latents in tried:  # efforts may be alike
                continue
            tried.add(latents)
            anew = autoencoder.decode([latents], original.shape, row.quality)[0]
            if _alike(original, decoded, anew):
                return True
    return False


def _alike(original: Pixels, one: Pixels, other: Pixels) -> bool:
    """Whether two decoded images differ by no more than noise, `other` being of the original."""
    height, width, channels = original.shape
    rows = max(_STRIP // (width * channels) // _BLOCK, 1) * _BLOCK
    # What is left of a block at the end belongs to the one before.
    starts = [*range(0, max(height - _BLOCK + 1, 1), rows), height]
    found = []
    for strip in map(slice, starts, starts[1:]):
        a, b, c = (visible(x[strip]).astype(np.float32) for x in (original, one, other))
        blocks = _means(b - c), _means((a - b) ** 2), _means((a - c) ** 2)
        found.append((np.abs(blocks[0]).max(axis=2), *(x.mean(axis=2) for x in blocks[1:])))
    moved, error, noise = (np.concatenate(x) for x in zip(*found, strict=True))
    noise += noise.mean()
    return bool((error <= _WORSE * noise).all() and (moved <= _MOVED * np.sqrt(noise)).all())


def _means(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Of the blocks of (height, width, channels)."""
    for axis in (0, 1):
        size = values.shape[axis]
        starts = np.arange(0, max(size - _BLOCK + 1, 1), _BLOCK)
        sizes = np.diff([*starts, size]).reshape([-1 if i == axis else 1 for i in range(3)])
        values = np.add.reduceat(values, starts, axis=axis) / np.float32(sizes)
    return values
