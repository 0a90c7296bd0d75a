"""The low-pass band as differences: each latent less what its neighbours let one expect.

Neighbours in the low-pass band have much the same value, which the context network, whose inputs
are logarithms, cannot take off exactly. The expectation is the median of the latents to the left,
above, and left + above - above left (Weinberger, Seroussi, Sapiro, "LOCO-I: a low complexity,
context-based, lossless image compression algorithm", 1996).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LARGEST = 1 << 24


def expected(values: NDArray) -> NDArray:
    """What is expected at each place of a plane (h, w) of whole numbers: of the same dtype."""
    above, left, corner = (np.zeros_like(values) for _ in range(3))
    above[1:] = values[:-1]
    left[:, 1:] = values[:, :-1]
    corner[1:, 1:] = values[:-1, :-1]
    above[0], corner[0] = left[0], left[0]
    left[:, 0] = corner[:, 0] = above[:, 0]
    low, high = np.minimum(left, above), np.maximum(left, above)
    return np.clip(left + above - corner, low, high)


def restore(differences: NDArray[np.int32]) -> NDArray[np.int32]:
    """The plane (h, w) whose values less their `expected` are these differences."""
    rows = differences.tolist()
    above: list[int] = []
    for y, row in enumerate(rows):
        left = corner = above[0] if y else 0
        for x, difference in enumerate(row):
            up = above[x] if y else left
            if not y:
                corner = left
            gradient = left + up - corner
            value = difference + min(max(gradient, min(left, up)), max(left, up))
            row[x] = left = value
            corner = up
        above = row
    # Of latents that no encoder wrote the sums may be of any size.
    return np.clip(np.array(rows, np.int64), -_LARGEST, _LARGEST).astype(np.int32)
