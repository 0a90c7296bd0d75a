"""The quantiser step of each image: a little coarser than its quality says where it has much error
anyway, and finer where it has little.

A mean PSNR counts errors by their ratio, and so do MS-SSIM and others in dB. With one step for all
images, a dB costs a busy image many times the bits that it costs a quiet one. Where the error
that a bit is worth is in proportion to an image's own error, a dB costs about the same in each, and
the mean takes fewer bytes (Shoham, Gersho, "Efficient bit allocation for an arbitrary set of
quantizers", 1988, for the principle). The decoder reads the step from the payload.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from aezip.autoencoders.base import step_size
from aezip.entropy import laplace
from aezip.entropy.coder import Decoder, Encoder
from aezip.errors import ArchiveError

_UNITS = 4  # log steps (`base.log_step`) that an image's step is chosen by: an eighth of an octave
_FINEST, _COARSEST = -8, 6  # units
_LOGS = 32, 256  # log steps that there are
_CEILING = 1 / 4  # steps: a detail's error, if it is not zero afterwards; else its magnitude
NOTHING = 0.01  # squared grey levels a sample: there is nothing to be finer for
STEPS = tuple(range(32, 257, 32))
"""The log steps (2, 4, ... 256 grey levels) at which a decoder knows what error is typical."""


@cache
def _distribution() -> laplace.Rows:
    """Of the units: a Laplace distribution about 0 with a scale of 2."""
    zero, one = np.zeros(1), np.ones(1)
    return laplace.frequency_rows(laplace.to_grid(zero, one, zero, one))


def expected_error(detail: NDArray[np.floating], step: float) -> float:
    """About the squared error that a band of details will have, in squared grey levels: half of it,
    where all are large."""
    return float(np.minimum(detail * detail, (_CEILING * step) ** 2).sum())


def coarser(error: float, typical: NDArray[np.floating], log: int) -> int:
    """By how many units the step of an image should be coarser (or, negative, finer) than a
    quality's.

    error: of the image, expected at the quality's step, in squared grey levels a sample. typical:
    of the collection's images, log2 of that at `STEPS`. The step grows with the square root of the
    error, but not so far that the image could have more than the noise of two quantisers of the
    quality's step, which is what `coding.default_promise` allows.
    """
    if not NOTHING < error < np.inf:
        return 0
    octaves = (np.log2(error) - np.interp(log, STEPS, typical)) / 2
    allowed = np.log2(step_size(log) ** 2 / (12 * error)) / 2
    octaves = min(octaves, max(allowed, 0))
    return int(np.clip(np.rint(octaves * 32 / _UNITS), _FINEST, _COARSEST))


def own_step(log: int, units: int) -> int:
    """The log step of an image, from that of its quality."""
    return min(max(log + _UNITS * units, _LOGS[0]), _LOGS[1])


def encode(units: int, encoder: Encoder) -> None:
    encoder.encode(np.array([units]), _distribution())


def decode(decoder: Decoder) -> int:
    """Raises ArchiveError where the payload cannot have been written by `encode`."""
    units = int(decoder.decode(_distribution())[0])
    if not _FINEST <= units <= _COARSEST:
        raise ArchiveError("the latents are damaged: no encoder chooses such a step")
    return units
