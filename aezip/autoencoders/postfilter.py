"""The network that takes quantisation's artefacts out of a synthesised image.

On blocks of 2 x 2 pixels, added to the image: x + step * f(x / step, latents). Counting grey levels
in quantiser steps makes one small network fit all qualities. The latents of the finest level, one
set for each block, tell where something was rounded away. It is deep and thin: each of its residual
blocks looks one block of pixels further, for the parameters of a matrix alone. What it sees are
differences to the surroundings' mean, and large ones made smaller, since images are bright or dark
by hundreds of steps, and what matters in them is a few. The last kernel starts at zero, so that
training starts at the plain transform, and the residual blocks near it: the deeper a chain begins,
the slower it learns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aezip import nn
from aezip.autoencoders import kernels, residual
from aezip.autoencoders.kernels import back_in_strips, in_strips

Array = NDArray[np.floating]
Parameters = dict[str, NDArray[np.float32]]

BLOCK = 2
DETAILS = 3  # latents of a block and plane: high-pass in x, in y, in both
_DEPTH = 6  # residual blocks
_RADIUS = 2  # blocks of pixels on each side that a mean is taken over
REACH = (_RADIUS + _DEPTH) * BLOCK  # pixels on each side that a pixel depends on
_STRIP = 128  # rows at once
_CLIP = 2.0  # larger latents are taken for this
_LARGE = 4.0  # steps: what differences are made smaller than
_START = 0.3  # of what keeps the variance of what goes through the residual blocks


def shapes(planes: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters, for images of so many colour planes."""
    depth = planes * BLOCK * BLOCK
    return {
        "w1": (depth + DETAILS * planes, width),
        "b1": (width,),
        "step1": (width,),
        **residual.shapes(_DEPTH, width),
        "w2": (width, depth),
        "b2": (depth,),
    }


def start(planes: int, width: int, rng: np.random.Generator) -> Parameters:
    """Parameters with which `apply` changes nothing."""
    parameters = kernels.start(shapes(planes, width), ("w1", "mix"), rng)
    parameters["mix"] *= np.float32(_START)
    parameters["w1"] *= np.float32(0.5)
    return parameters


def apply(
    parameters: Parameters, x: Array, latents: Array, log_step: float, keep: bool = True
) -> tuple[Array, Callable[[Array], tuple[Array, Parameters]]]:
    """The filtered image; x (planes, h, w) with even sides, latents (DETAILS, planes, h / 2, w / 2)
    in steps, log_step the base-2 logarithm of the quantiser step. backprop gives (dx,
    gradients of the parameters). keep: as for `residual.apply`."""
    p, one = parameters, x.dtype.type
    step, level = one(2.0**log_step), one(log_step)
    differences, back_differences = _less_their_surroundings(_to_blocks(x / step))
    smaller, back_smaller = _smaller(differences)
    details = np.clip(latents, -_CLIP, _CLIP).astype(x.dtype)
    inputs = np.concatenate([_flat(smaller), _flat(details)])
    hidden, back1 = residual.pointwise(inputs, p["w1"], p["b1"] + p["step1"] * level)
    hidden, activate = residual.leaky(hidden)
    hidden, back_body = residual.apply(p["mix"], p["bias"], hidden, keep)
    change, back2 = residual.pointwise(hidden, p["w2"], p["b2"])
    y = x + _to_image(change.reshape(differences.shape)) * step

    def backprop(dy: Array) -> tuple[Array, Parameters]:
        d: Parameters = {}
        dhidden, d["w2"], d["b2"] = back2(_flat(_to_blocks(dy * step)))
        dhidden, d["mix"], d["bias"] = back_body(dhidden)
        dinputs, d["w1"], d["b1"] = back1(activate(dhidden))
        d["step1"] = d["b1"] * np.float32(log_step)
        dsmaller = dinputs[: len(change)].reshape(differences.shape)
        return dy + _to_image(back_differences(back_smaller(dsmaller))) / step, d

    return y, backprop


def _to_blocks(x: Array) -> Array:
    """(planes, h, w) to (planes, BLOCK * BLOCK, h / BLOCK, w / BLOCK)."""
    planes, height, width = x.shape
    x = x.reshape(planes, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(0, 2, 4, 1, 3)
    return x.reshape(planes, BLOCK * BLOCK, height // BLOCK, width // BLOCK)


def _to_image(blocks: Array) -> Array:
    planes, _, height, width = blocks.shape
    x = blocks.reshape(planes, BLOCK, BLOCK, height, width).transpose(0, 3, 1, 4, 2)
    return x.reshape(planes, height * BLOCK, width * BLOCK)


def _flat(x: Array) -> Array:
    """(a, b, h, w) to (a * b, h, w)."""
    return x.reshape(-1, *x.shape[2:])


def _less_their_surroundings(blocks: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Blocks (planes, BLOCK * BLOCK, h, w) less, of each plane, the mean of those around."""
    size, pixels = 2 * _RADIUS + 1, blocks.dtype.type(blocks.shape[1])
    padded, unpad = nn.pad_edges(blocks.mean(axis=1)[..., None], _RADIUS)
    down, back_down = nn.avg_pool2d(padded, (size, 1), stride=(1, 1))
    around, back_along = nn.avg_pool2d(down, (1, size), stride=(1, 1))

    def backprop(d: Array) -> Array:
        dmeans = unpad(back_down(back_along(d.sum(axis=1)[..., None])))
        return d - dmeans[..., 0][:, None] / pixels

    return blocks - around[..., 0][:, None], backprop


def _smaller(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Softsign: small values hardly changed, large ones at most _LARGE."""
    by = 1 / (1 + np.abs(x) * x.dtype.type(1 / _LARGE))
    return x * by, lambda d: d * (by * by)


def apply_in_strips(parameters: Parameters, x: Array, latents: Array, log_step: float) -> Array:
    """The same image as `apply`, for whole photographs."""

    def network(rows: slice) -> Array:
        of_blocks = slice(rows.start // BLOCK, rows.stop // BLOCK)
        return apply(parameters, x[:, rows], latents[:, :, of_blocks], log_step, keep=False)[0]

    return in_strips(network, x.shape[1], REACH, _STRIP)


def error_gradient(
    parameters: Parameters, x: Array, latents: Array, log_step: float, original: Array
) -> Array:
    """Of the squared error of the filtered image against `original`, the gradient by x."""

    def back(around: slice, inside: slice) -> Array:
        of_blocks = slice(around.start // BLOCK, around.stop // BLOCK)
        y, backprop = apply(parameters, x[:, around], latents[:, :, of_blocks], log_step)
        dy = np.zeros_like(y)
        dy[:, inside] = 2 * (y[:, inside] - original[:, around][:, inside])
        return backprop(dy)[0]

    return back_in_strips(back, x, REACH, _STRIP)
