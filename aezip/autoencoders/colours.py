"""Pixels as the colour planes that are coded, and back.

Colours are multiplied by a matrix of the collection's own, so that most of what varies is in the
first plane. Grey images are that plane alone, and transparency is one more image of one plane.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aezip.autoencoders.base import Pixels
from aezip.entropy.context import COLOURS
from aezip.nn import ops_of

Array = NDArray[np.floating]

_GREY = np.float32(np.sqrt(3))  # of a grey image in the plane that is the sum of R, G, B / sqrt 3
_COLOURED = 2000  # images, about, whose colours the axes are taken from
_MIDDLE = 128
_OPAQUE = 255
_SMOOTH = 90.0  # grey levels: the more, the nearer half-transparent colours stay to what they were
_SMOOTHED = 4  # times at each scale


def principal_axes(images: Sequence[Pixels]) -> Array:
    """(3, 3): what RGB is multiplied by; columns are the principal axes of the collection's
    colours (the Karhunen-Loeve transform), or of typical photographs where all is grey."""
    total = np.zeros((3, 3))
    for pixels in images[:: -(-len(images) // _COLOURED)]:  # to read 100,000 takes a minute
        if pixels.shape[2] >= 3:
            rgb = pixels[..., :3].reshape(-1, 3)
            rgb = rgb[:: max(1, len(rgb) // 20_000)].astype(np.float64)
            # About each image's own mean: what varies within it is what takes the bits.
            rgb -= rgb.mean(axis=0)
            total += rgb.T @ rgb / len(rgb)
    luma = np.ones((3, 3)) + np.array([[0.1, 0, 0], [0, 0.01, 0], [0, 0, 0.1]])
    # A trace of the typical axes settles the order where a collection has few colours.
    axes = np.linalg.eigh(total / max(np.trace(total), 1e-9) + 1e-3 * luma)[1][:, ::-1]
    return axes * np.where(axes.sum(axis=0) < 0, -1, 1)


def to_planes(pixels: Pixels, axes: Array, unit: int, step: float) -> list[NDArray[np.float32]]:
    """The images to code: planes (1 or 3, h, w), the sides padded to multiples of `unit`. axes:
    (3, 3), as of `principal_axes`. step: the quantiser's, in grey levels."""
    height, width, channels = pixels.shape
    values = pixels if channels % 2 else smooth_where_transparent(pixels, step)
    padded = np.pad(values, ((0, -height % unit), (0, -width % unit), (0, 0)), mode="edge")
    ops = ops_of(axes)
    padded = ops.asarray(padded)
    if channels >= 3:
        centred = padded[..., :3].astype(np.float32) - _MIDDLE
        planes = [(centred @ axes).transpose(2, 0, 1)]
    else:
        planes = [(padded[..., :1].astype(np.float32) - _MIDDLE).transpose(2, 0, 1) * _GREY]
    if channels in (2, 4):
        alpha = padded[..., -1:].astype(np.float32) - _OPAQUE
        planes.append(alpha.transpose(2, 0, 1) * _GREY)
    return [ops.xp.ascontiguousarray(x) for x in planes]


def to_pixels(images: list[Array], axes: Array) -> Pixels:
    """The image (h, w, channels) whose planes were decoded to these."""
    parts = []
    for number, planes in enumerate(images):
        if len(planes) == COLOURS:
            inverse = np.linalg.inv(axes.astype(np.float64))
            rgb = planes.transpose(1, 2, 0) @ inverse.astype(np.float32)
            parts.append(rgb + np.float32(_MIDDLE))
        else:
            offset = np.float32(_OPAQUE if number else _MIDDLE)
            parts.append(planes.transpose(1, 2, 0) / _GREY + offset)
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    return np.clip(np.rint(whole), 0, 255).astype(np.uint8)


def with_all(planes: Array, axis: int = 0) -> Array:
    """Planes with planes of zeros for the colours that a grey image lacks."""
    lacking = COLOURS - planes.shape[axis]
    if not lacking:
        return planes
    return np.pad(planes, [(0, lacking * (i == axis)) for i in range(planes.ndim)])


def smooth_where_transparent(pixels: Pixels, step: float) -> NDArray[np.number]:
    """An image with other colours where it is transparent: there they are free, or nearly, and
    smooth ones take fewer bits than any edge would. float32, if any of it is.

    Errors of colours count multiplied by their opacity. So each is weighed by its square against
    the smoothness around it, the less the coarser the quantiser's step, in grey levels, is.
    """
    if pixels[..., -1].min() == 255:
        return pixels
    own = pixels.astype(np.float32)
    opacity = own[..., -1] / 255
    if not opacity.any():
        own[..., :-1] = _MIDDLE
        return own
    visible = opacity * opacity
    weights = np.minimum((_SMOOTH / step) ** 2 * visible / np.maximum(1 - visible, 1e-9), 1e9)
    for channel in range(pixels.shape[2] - 1):
        own[..., channel] = _spread(own[..., channel], weights)
    return own


def _spread(x: Array, weights: Array) -> Array:
    """About the plane of the least sum of weights * (it - x)^2 and of its squared gradient,
    from the coarsest scale to the finest (after Gortler et al., "The Lumigraph", 1996, sec. 3.4).
    """
    height, width = x.shape
    if height == width == 1:
        return x
    edge = ((0, height % 2), (0, width % 2))
    coarse_weights = _sum_of_four(np.pad(weights, edge))
    coarse = _sum_of_four(np.pad(x * weights, edge)) / np.maximum(coarse_weights, 1e-9)
    smooth = _spread(coarse, coarse_weights).repeat(2, 0).repeat(2, 1)[:height, :width]
    for _ in range(_SMOOTHED):
        padded = np.pad(smooth, 1, mode="edge")
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        smooth = (weights * x + around / 4) / (weights + 1)
    return smooth


def _sum_of_four(x: Array) -> Array:
    return x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]
