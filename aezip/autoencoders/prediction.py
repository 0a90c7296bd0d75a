"""The network that predicts the detail bands of a level from the image decoded so far.

A linear transform leaves nothing in the details that a linear filter of the low-pass image could
predict; but edges go on from scale to scale, and a network sees where they are. What it predicts
is taken off the details before they are quantised and put back after. Both sides predict from the
decoded low-pass image, so nothing drifts, and since the prediction is no part of the
entropy coding, it need not be the same on every machine to the last bit.

Three convolutions, for all levels and qualities the same but for biases and gains: grey levels are
counted in quantiser steps. The last kernel starts at zero, so that training starts at the plain
transform.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aezip import nn
from aezip.autoencoders import kernels
from aezip.autoencoders.kernels import in_strips

Array = NDArray[np.floating]
Parameters = dict[str, NDArray[np.float32]]

DETAILS = 3  # bands of a level: high-pass in x, in y, in both
_KERNELS = (5, 3, 3)
_REACH = sum(k // 2 for k in _KERNELS)  # pixels on each side that a detail is predicted from


def shapes(planes: int, levels: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters, for images of so many colour planes."""
    first, second, third = _KERNELS
    return {
        "w1": (first, first, planes, width),
        "b1": (levels, width),
        "step1": (width,),
        "w2": (second, second, width, width),
        "b2": (width,),
        "w3": (third, third, width, DETAILS * planes),
        "gain": (levels, DETAILS * planes),
    }


def start(planes: int, levels: int, width: int, rng: np.random.Generator) -> Parameters:
    """Parameters with which `apply` predicts nothing."""
    return kernels.start(shapes(planes, levels, width), ("w1", "w2"), rng)


def apply(
    parameters: Parameters, x: Array, level: int, log_step: float
) -> tuple[Array, Callable[[Array], Parameters]]:
    """What the details of a level are expected to be: (DETAILS, planes, h, w).

    x: (planes, h, w), the decoded low-pass image of that level, 1 the finest. log_step: the base-2
    logarithm of the quantiser step. backprop gives the gradients of the parameters; that of x,
    which a coarser level's latents have settled, is left out.
    """
    p, one = parameters, x.dtype.type
    contiguous = nn.ops_of(x).xp.ascontiguousarray
    step = one(2.0**log_step)
    scaled = contiguous(x.transpose(1, 2, 0))[None] / step
    kernel = _blind_to_constants(p["w1"])
    padded, _ = nn.pad_edges(scaled, _KERNELS[0] // 2)
    bias = p["b1"][level - 1] + p["step1"] * one(log_step)
    hidden, back1 = nn.conv2d(padded, kernel, bias, of_data=True)
    hidden, activate1 = nn.leaky_relu(hidden)
    padded, unpad2 = nn.pad_edges(hidden, _KERNELS[1] // 2)
    hidden, back2 = nn.conv2d(padded, p["w2"], p["b2"])
    hidden, activate2 = nn.leaky_relu(hidden)
    padded, unpad3 = nn.pad_edges(hidden, _KERNELS[2] // 2)
    plain, back3 = nn.conv2d(padded, p["w3"])
    gain = step * np.exp2(p["gain"][level - 1])
    y = (plain[0] * gain).transpose(2, 0, 1).reshape(DETAILS, len(x), *x.shape[1:])

    def backprop(dy: Array) -> Parameters:
        d = {k: np.zeros_like(v) for k, v in p.items()}
        dy = dy.reshape(-1, *x.shape[1:]).transpose(1, 2, 0)
        d["gain"][level - 1] = (dy * plain[0]).sum(axis=(0, 1)) * gain * one(np.log(2))
        dhidden, d["w3"], _ = back3(contiguous(dy * gain)[None])
        dhidden, d["w2"], d["b2"] = back2(activate2(unpad3(dhidden)))
        _, dkernel, d["b1"][level - 1] = back1(activate1(unpad2(dhidden)))
        d["w1"] = _blind_to_constants(dkernel)
        d["step1"] = d["b1"][level - 1] * one(log_step)
        return d

    return y, backprop


def _blind_to_constants(kernel: Array) -> Array:
    """The kernel less its mean over each plane: (kh, kw, planes, outputs).

    Images are bright or dark by hundreds of quantiser steps, what matters in them is a few. A
    kernel that merely begins without a mean soon has one, and rounding it gives it another. The
    function is linear and its own transpose: it takes gradients back, too.
    """
    return kernel - kernel.mean(axis=(0, 1), keepdims=True)


def apply_in_strips(parameters: Parameters, x: Array, level: int, log_step: float) -> Array:
    """The same prediction as that of `apply`, for whole photographs."""

    def network(rows: slice) -> Array:
        return apply(parameters, x[:, rows], level, log_step)[0]

    return in_strips(network, x.shape[1], _REACH)
