"""The quantiser step of each image: a little coarser than its quality says where it has much error
anyway, and finer where it has little.

People and metrics judge errors by their ratio to what there is: in dB. With one step for all,
a dB costs a busy image many times the bits that it costs a quiet one. With a Lagrangian in
proportion to an image's own error, a dB costs about the same in each, and the mean PSNR of a
collection takes fewer bytes (Shoham, Gersho, "Efficient bit allocation for an arbitrary set of
quantizers", 1988, for the principle). The decoder reads the step from the payload.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from aezip.entropy import laplace
from aezip.entropy.coder import Decoder, Encoder
from aezip.errors import ArchiveError

_UNITS = 4  # log steps (`base.log_step`) that an image's step is chosen by: an eighth of an octave
_FINEST, _COARSEST = -8, 6  # units: an octave, and less than one: there is a promise to keep
_MOST = 256
_DEAD_ZONE = 1 / 4  # steps: what is below is mostly zero afterwards
STEPS = tuple(range(32, 257, 32))
"""The log steps (2, 4, ... 256 grey levels) at which a decoder knows what error is typical."""


@cache
def _distribution() -> laplace.Rows:
    """Of the units: a Laplace distribution about 0 with a scale of 2."""
    zero, one = np.zeros(1), np.ones(1)
    return laplace.frequency_rows(laplace.to_grid(zero, one, zero, one))


def expected_error(detail: NDArray[np.floating], step: float) -> float:
    """About the squared error that a band of details will have, in squared grey levels."""
    return float(np.minimum(detail * detail, (_DEAD_ZONE * step) ** 2).sum())


def coarser(error: float, typical: NDArray[np.floating], log: int) -> int:
    """By how many units the step of an image should be coarser (or, negative, finer) than a
    quality's.

    error: of the image, expected at the quality's step, in squared grey levels a sample. typical:
    of the collection's images, log2 of that at `STEPS`. The step grows with the square root of the
    error, as it does for any Lagrangian in proportion to it.
    """
    octaves = (log2_of(error) - np.interp(log, STEPS, typical)) / 2
    return int(np.clip(np.rint(octaves * 32 / _UNITS), _FINEST, _COARSEST))


def log2_of(error: float) -> float:
    return float(np.log2(max(error, 1e-9)))


def own(log: int, units: int) -> int:
    """The log step of an image."""
    return min(max(log + _UNITS * units, 0), _MOST)


def encode(units: int, encoder: Encoder) -> None:
    encoder.encode(np.array([units]), _distribution())


def decode(decoder: Decoder) -> int:
    """Raises ArchiveError where the payload cannot have been written by `encode`."""
    units = int(decoder.decode(_distribution())[0])
    if not _FINEST <= units <= _COARSEST:
        raise ArchiveError("the latents are damaged: no encoder chooses such a step")
    return units
