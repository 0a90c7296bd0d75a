"""The network that takes quantisation's artefacts out of a synthesised image.

Two convolutions on blocks of 2 x 2 pixels, added to the image: x + step * f(x / step). Counting
grey levels in quantiser steps makes one small network fit all qualities. Its last kernel starts
at zero, so that training starts at the plain transform.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aezip import nn

Array = NDArray[np.floating]
Parameters = dict[str, NDArray[np.float32]]

BLOCK = 2
_REACH = 2 * BLOCK  # pixels on each side that a pixel depends on
_STRIP = 64  # rows filtered at once: their patches stay in the cache, and memory stays small


def shapes(planes: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters, for images of so many colour planes."""
    depth = planes * BLOCK * BLOCK
    return {
        "w1": (3, 3, depth, width),
        "b1": (width,),
        "step1": (width,),
        "w2": (3, 3, width, depth),
        "b2": (depth,),
    }


def start(planes: int, width: int, rng: np.random.Generator) -> Parameters:
    """Parameters with which `apply` changes nothing."""
    parameters = {k: np.zeros(s, np.float32) for k, s in shapes(planes, width).items()}
    w = rng.normal(size=parameters["w1"].shape)
    # Blind to a constant: images are bright or dark by hundreds of steps, artefacts by one.
    w -= w.mean(axis=(0, 1), keepdims=True)
    parameters["w1"][:] = w / np.sqrt(9 * planes * BLOCK * BLOCK)
    return parameters


def apply(
    parameters: Parameters, x: Array, log_step: float
) -> tuple[Array, Callable[[Array], tuple[Array, Parameters]]]:
    """The filtered image; x (planes, h, w) with even sides, log_step the base-2 logarithm of the
    quantiser step. backprop gives (dx, gradients of the parameters)."""
    p, one = parameters, x.dtype.type
    step, level = one(2.0**log_step), one(log_step)
    scaled = np.ascontiguousarray(x.transpose(1, 2, 0))[None] / step
    blocks, to_image = nn.space_to_depth(scaled, BLOCK)
    padded, unpad1 = nn.pad_edges(blocks, 1)
    hidden, back1 = nn.conv2d(padded, p["w1"], p["b1"] + p["step1"] * level)
    hidden, activate = nn.leaky_relu(hidden)
    padded, unpad2 = nn.pad_edges(hidden, 1)
    change, back2 = nn.conv2d(padded, p["w2"], p["b2"])
    change, to_blocks = nn.depth_to_space(change, BLOCK)
    y = x + change[0].transpose(2, 0, 1) * step

    def backprop(dy: Array) -> tuple[Array, Parameters]:
        d: Parameters = {}
        dchange = np.ascontiguousarray(dy.transpose(1, 2, 0))[None] * step
        dhidden, d["w2"], d["b2"] = back2(to_blocks(dchange))
        dblocks, d["w1"], d["b1"] = back1(activate(unpad2(dhidden)))
        d["step1"] = d["b1"] * np.float32(log_step)
        return dy + to_image(unpad1(dblocks))[0].transpose(2, 0, 1) / step, d

    return y, backprop


def apply_in_strips(parameters: Parameters, x: Array, log_step: float) -> Array:
    """The same image as `apply`, for whole photographs."""
    height = x.shape[1]
    if height <= _STRIP:
        return apply(parameters, x, log_step)[0]
    y = np.empty_like(x)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        first, last = max(top - _REACH, 0), min(bottom + _REACH, height)
        strip = apply(parameters, x[:, first:last], log_step)[0]
        y[:, top:bottom] = strip[:, top - first : bottom - first]
    return y
