"""Residual blocks that see far for few parameters, the body of a network on images.

A block shifts each eighth of the channels by one pixel, towards another of the eight neighbours,
mixes the channels of each pixel by a matrix, activates, and adds the result to what it was given.
Shifting takes no parameters and no arithmetic, so all that travels of a chain of blocks are the
matrices (Wu et al., "Shift: A Zero FLOP, Zero Parameter Alternative to Spatial Convolutions",
2018). What would come from outside the image is zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aezip import nn

Array = NDArray[np.floating]
Backprop = Callable[[Array], tuple[Array, Array, Array]]

_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
_SLOPE = 0.1  # of the activation where it is negative


def shapes(blocks: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of a chain of blocks."""
    return {"mix": (blocks, width, width), "bias": (blocks, width)}


def apply(mix: Array, bias: Array, x: Array, keep: bool = True) -> tuple[Array, Backprop]:
    """What a chain of blocks makes of x (width, h, w). backprop gives (dx, dmix, dbias). A result
    depends on pixels as far away as there are blocks. keep: what backprop needs; without, there
    is none, and memory that is used again and again makes it twice as fast."""
    steps = []
    for m, b in zip(mix, bias, strict=True):
        y, back_mix = pointwise(shifted(x, 1), m, b)
        y, activate = leaky(y)
        y += x
        x = y
        if keep:
            steps.append((back_mix, activate))

    def backprop(dx: Array) -> tuple[Array, Array, Array]:
        if not keep:
            raise NotImplementedError("what backprop needs was not kept")
        dmix, dbias = np.empty_like(mix), np.empty_like(bias)
        for number in reversed(range(len(steps))):
            back_mix, activate = steps[number]
            dy, dmix[number], dbias[number] = back_mix(activate(dx))
            dx = dx + shifted(dy, -1)
        return dx, dmix, dbias

    return x, backprop


def pointwise(x: Array, w: Array, b: Array) -> tuple[Array, Backprop]:
    """A 1 x 1 convolution, w (inputs, outputs) with a bias, of x (inputs, h, w): (outputs, h, w).
    backprop gives (dx, dw, db)."""
    inputs = x.reshape(len(x), -1)
    y = w.T @ inputs
    y += b[:, None]

    def backprop(dy: Array) -> tuple[Array, Array, Array]:
        flat = dy.reshape(len(dy), -1)
        return (w @ flat).reshape(x.shape), inputs @ flat.T, flat.sum(axis=1)

    return y.reshape(-1, *x.shape[1:]), backprop


def leaky(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """`nn.leaky_relu` in place, which is faster: x is lost."""
    slope = x.dtype.type(_SLOPE)
    positive = x > 0
    y = np.maximum(x, x * slope, out=x)

    def backprop(dy: Array) -> Array:
        return dy * np.maximum(positive.astype(dy.dtype), slope)

    return y, backprop


def shifted(x: Array, sign: int) -> Array:
    """x (channels, h, w) with each eighth of its channels shifted; with the other sign back, which
    is the transposed function."""
    channels, height, width = x.shape
    y = nn.ops_of(x).xp.zeros_like(x)
    for group, (down, right) in enumerate(_DIRECTIONS):
        some = slice(channels * group // 8, channels * (group + 1) // 8)
        to_rows, rows = _overlap(sign * down, height)
        to_columns, columns = _overlap(sign * right, width)
        y[some, to_rows, to_columns] = x[some, rows, columns]
    return y


def _overlap(by: int, size: int) -> tuple[slice, slice]:
    """Where what is shifted comes to lie, and where it comes from."""
    return slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size + min(-by, 0))
