"""The network that takes quantisation's artefacts out of a synthesised image.

Two convolutions on blocks of 2 x 2 pixels, added to the image: x + step * f(x / step, latents).
Counting grey levels in quantiser steps makes one small network fit all qualities. The latents of
the finest level, one set for each block, tell where something was rounded away. The last kernel
starts at zero, so that training starts at the plain transform.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aezip import nn
from aezip.autoencoders import kernels
from aezip.autoencoders.kernels import back_in_strips, blind_to_constants, in_strips

Array = NDArray[np.floating]
Parameters = dict[str, NDArray[np.float32]]

BLOCK = 2
REACH = 2 * BLOCK  # pixels on each side that a pixel depends on
DETAILS = 3  # latents of a block and plane: high-pass in x, in y, in both
_CLIP = 2.0  # larger latents are taken for this


def shapes(planes: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters, for images of so many colour planes."""
    depth = planes * BLOCK * BLOCK
    return {
        "w1": (3, 3, depth, width),
        "latents1": (3, 3, DETAILS * planes, width),
        "b1": (width,),
        "step1": (width,),
        "w2": (3, 3, width, depth),
        "b2": (depth,),
    }


def start(planes: int, width: int, rng: np.random.Generator) -> Parameters:
    """Parameters with which `apply` changes nothing."""
    return kernels.start(shapes(planes, width), ("w1", "latents1"), rng)


def apply(
    parameters: Parameters, x: Array, latents: Array, log_step: float
) -> tuple[Array, Callable[[Array], tuple[Array, Parameters]]]:
    """The filtered image; x (planes, h, w) with even sides, latents (DETAILS, planes, h / 2, w / 2)
    whole numbers, log_step the base-2 logarithm of the quantiser step. backprop gives (dx,
    gradients of the parameters)."""
    p, one, count = parameters, x.dtype.type, len(x)
    contiguous = nn.ops_of(x).xp.ascontiguousarray
    step, level = one(2.0**log_step), one(log_step)
    scaled = contiguous(x.transpose(1, 2, 0))[None] / step
    blocks, to_image = nn.space_to_depth(scaled, BLOCK)
    depth = blocks.shape[3]
    clipped = np.clip(latents.reshape(-1, *latents.shape[2:]), -_CLIP, _CLIP).transpose(1, 2, 0)
    inputs = np.concatenate([blocks, clipped[None].astype(x.dtype)], axis=3)
    padded, unpad1 = nn.pad_edges(inputs, 1)
    kernel = np.concatenate([blind_to_constants(p["w1"], count), p["latents1"]], axis=2)
    hidden, back1 = nn.conv2d(padded, kernel, p["b1"] + p["step1"] * level)
    hidden, activate = nn.leaky_relu(hidden)
    padded, unpad2 = nn.pad_edges(hidden, 1)
    change, back2 = nn.conv2d(padded, p["w2"], p["b2"])
    change, to_blocks = nn.depth_to_space(change, BLOCK)
    y = x + change[0].transpose(2, 0, 1) * step

    def backprop(dy: Array) -> tuple[Array, Parameters]:
        d: Parameters = {}
        dchange = contiguous(dy.transpose(1, 2, 0))[None] * step
        dhidden, d["w2"], d["b2"] = back2(to_blocks(dchange))
        dinputs, dkernel, d["b1"] = back1(activate(unpad2(dhidden)))
        d["w1"] = blind_to_constants(dkernel[:, :, :depth], count)
        d["latents1"] = dkernel[:, :, depth:]
        d["step1"] = d["b1"] * np.float32(log_step)
        dblocks = unpad1(dinputs)[..., :depth]
        return dy + to_image(dblocks)[0].transpose(2, 0, 1) / step, d

    return y, backprop


def apply_in_strips(parameters: Parameters, x: Array, latents: Array, log_step: float) -> Array:
    """The same image as `apply`, for whole photographs."""

    def network(rows: slice) -> Array:
        of_blocks = slice(rows.start // BLOCK, rows.stop // BLOCK)
        return apply(parameters, x[:, rows], latents[:, :, of_blocks], log_step)[0]

    return in_strips(network, x.shape[1], REACH)


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

    return back_in_strips(back, x, REACH)
