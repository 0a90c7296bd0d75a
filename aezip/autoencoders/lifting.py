"""A learned wavelet transform: lifting steps whose filters are parameters.

Each step adds to the odd samples a filter of the even ones, or to the even samples a filter of
the odd ones (Daubechies and Sweldens, "Factoring wavelet transforms into lifting steps", 1998).
Whatever the filters, running the steps backwards undoes them exactly, so an encoder needs no
parameters of its own and nothing is lost but to quantisation. Training starts at the CDF 9/7
wavelet of JPEG 2000. All functions work on (..., height, width) and return `(output, backprop)`
as the layers of `aezip.nn` do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aezip.nn import ops_of

Array = NDArray[np.floating]

STEPS = 4
TAPS = 4
_OFFSETS = (-1, -2)  # first tap of a prediction (even to odd) and of an update (odd to even)
_CDF_9_7 = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_NORM = 1.149604398860241  # makes the 9/7 wavelet nearly orthonormal


class Bands(NamedTuple):
    """A transformed image: the low-pass band of the coarsest level, and of each level, finest
    first, the bands high-pass in x, in y, and in both."""

    low: Array
    high: list[tuple[Array, Array, Array]]


def start(levels: int) -> Array:
    """Filters of the CDF 9/7 wavelet: (levels, 2 axes, STEPS, TAPS) float32; axis 0 is y."""
    filters = np.zeros((levels, 2, STEPS, TAPS), np.float32)
    for step, value in enumerate(_CDF_9_7):
        filters[..., step, 1:3] = value
    return filters


def analyse(x: Array, filters: Array) -> tuple[Bands, Callable[[Bands], tuple[Array, Array]]]:
    """The bands of x (..., h, w), whose sides are multiples of 2**levels.

    backprop takes the gradients of the bands and gives (dx, dfilters).
    """
    high, undo = [], []
    for level_filters in filters:
        (low, up), back_y = _split(x, level_filters[0], -2)
        (x, right), back_low = _split(low, level_filters[1], -1)
        (below, both), back_up = _split(up, level_filters[1], -1)
        high.append((right, below, both))
        undo.append((back_y, back_low, back_up))

    def backprop(d: Bands) -> tuple[Array, Array]:
        dx, dfilters = d.low, np.zeros_like(filters)
        for level in reversed(range(len(filters))):
            right, below, both = d.high[level]
            back_y, back_low, back_up = undo[level]
            dlow, by_low = back_low(dx, right)
            dup, by_up = back_up(below, both)
            dx, dfilters[level, 0] = back_y(dlow, dup)
            dfilters[level, 1] = by_low + by_up
        return dx, dfilters

    return Bands(x, high), backprop


def join(
    low: Array, details: Sequence[Array] | Array, filters: Array
) -> tuple[Array, Callable[[Array], tuple[Array, list[Array], Array]]]:
    """One level of the inverse of `analyse`: the image (..., 2 h, 2 w) of a low-pass band and
    the details of its level. filters: (2 axes, STEPS, TAPS), those of the level.

    backprop gives (dlow, gradients of the details, dfilters).
    """
    right, below, both = details
    left, back_low = _join(low, right, filters[1], -1)
    up, back_up = _join(below, both, filters[1], -1)
    x, back_y = _join(left, up, filters[0], -2)

    def backprop(dx: Array) -> tuple[Array, list[Array], Array]:
        dleft, dup, by_y = back_y(dx)
        dlow, dright, by_low = back_low(dleft)
        dbelow, dboth, by_up = back_up(dup)
        return dlow, [dright, dbelow, dboth], np.stack([by_y, by_low + by_up])

    return x, backprop


def join_transposed(dx: Array, filters: Array) -> tuple[Array, list[Array]]:
    """The transpose of `join`, which is linear: gradients by a low-pass band and by the details
    (right, below, both) from one by the image (..., 2 h, 2 w)."""
    nothing = np.zeros((*dx.shape[:-2], dx.shape[-2] // 2, dx.shape[-1] // 2), dx.dtype)
    _, back = join(nothing, [nothing] * 3, filters)
    dlow, ddetails, _ = back(dx)
    return dlow, ddetails


Pair = tuple[Array, Array]


def _split(
    x: Array, taps: Array, axis: int
) -> tuple[Pair, Callable[[Array, Array], tuple[Array, Array]]]:
    """One level along one axis: (low, high)."""
    pair = [_every_other(x, 0, axis).copy(), _every_other(x, 1, axis).copy()]
    padded = []
    for step in range(STEPS):
        target, source = (step + 1) % 2, step % 2
        padded.append(_extend(pair[source], step % 2, axis))
        pair[target] += _filter(padded[-1], taps[step], axis)

    def backprop(dlow: Array, dhigh: Array) -> tuple[Array, Array]:
        d = [dlow * x.dtype.type(_NORM), dhigh / x.dtype.type(_NORM)]
        dtaps = np.zeros_like(taps)
        for step in reversed(range(STEPS)):
            target, source = (step + 1) % 2, step % 2
            dtaps[step] = _by_taps(padded[step], d[target], axis)
            d[source] += _spread(d[target], taps[step], step % 2, axis)
        return _interleave(d[0], d[1], axis), dtaps

    return (pair[0] * x.dtype.type(_NORM), pair[1] / x.dtype.type(_NORM)), backprop


def _join(
    low: Array, high: Array, taps: Array, axis: int
) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """The inverse of `_split`."""
    norm = low.dtype.type(_NORM)
    pair = [low / norm, high * norm]
    padded = {}
    for step in reversed(range(STEPS)):
        target, source = (step + 1) % 2, step % 2
        padded[step] = _extend(pair[source], step % 2, axis)
        pair[target] -= _filter(padded[step], taps[step], axis)

    def backprop(dx: Array) -> tuple[Array, Array, Array]:
        d = [_every_other(dx, 0, axis).copy(), _every_other(dx, 1, axis).copy()]
        dtaps = np.zeros_like(taps)
        for step in range(STEPS):
            target, source = (step + 1) % 2, step % 2
            dtaps[step] = -_by_taps(padded[step], d[target], axis)
            d[source] -= _spread(d[target], taps[step], step % 2, axis)
        return d[0] / norm, d[1] * norm, dtaps

    return _interleave(pair[0], pair[1], axis), backprop


def _every_other(x: Array, first: int, axis: int) -> Array:
    return x[..., first::2] if axis == -1 else x[..., first::2, :]


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    shape = list(even.shape)
    shape[axis] *= 2
    x = ops_of(even).xp.empty(shape, even.dtype)
    _every_other(x, 0, axis)[...] = even
    _every_other(x, 1, axis)[...] = odd
    return x


def _mirrored(size: int, parity: int) -> NDArray[np.intp]:
    """Where samples beyond the ends of a plane of even (0) or odd (1) samples are found: the
    signal is mirrored about its first and its last sample."""
    first = _OFFSETS[parity]
    n = 2 * np.arange(first, size + first + TAPS - 1) + parity
    last = 2 * size - 1
    n = np.abs(n)
    n = last - np.abs(last - n)
    return np.clip(n // 2, 0, size - 1)


def _extend(x: Array, parity: int, axis: int) -> Array:
    index = ops_of(x).asarray(_mirrored(x.shape[axis], parity))
    return np.take(x, index, axis=axis)


def _cut(padded: Array, tap: int, axis: int) -> Array:
    size = padded.shape[axis] - TAPS + 1
    return padded[..., tap : tap + size] if axis == -1 else padded[..., tap : tap + size, :]


def _filter(padded: Array, taps: Array, axis: int) -> Array:
    total = _cut(padded, 0, axis) * taps[0]
    for tap in range(1, TAPS):
        total += _cut(padded, tap, axis) * taps[tap]
    return total


def _by_taps(padded: Array, d: Array, axis: int) -> Array:
    return np.stack([np.vdot(_cut(padded, tap, axis), d) for tap in range(TAPS)])


def _spread(d: Array, taps: Array, parity: int, axis: int) -> Array:
    """The transpose of `_extend` followed by `_filter`."""
    size = d.shape[axis]
    shape = list(d.shape)
    shape[axis] += TAPS - 1
    padded = ops_of(d).xp.zeros(shape, d.dtype)
    for tap in range(TAPS):
        target = _cut(padded, tap, axis)
        target += d * taps[tap]
    index = _mirrored(size, parity)
    first = -_OFFSETS[parity]
    padded = np.moveaxis(padded, axis, 0)
    inner = padded[first : first + size]
    for outside in (*range(first), *range(first + size, size + TAPS - 1)):
        inner[index[outside]] += padded[outside]
    return np.moveaxis(inner, 0, axis)
