"""Images of one size as rows of samples in which errors count as they are seen, and back.

Colours are multiplied by their opacity, as `metrics.psnr` has it: what cannot be seen is zero,
costs nothing and is not learned. Images of different kinds become rows of one kind: grey as equal
colours, what has no transparency as opaque.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def covers(channels: int, other: int) -> bool:
    """Whether images of `other` channels (1 to 4: L, LA, RGB, RGBA) are among those that rows of
    `channels` can hold."""
    return _colours(other) <= _colours(channels) and other % 2 >= channels % 2


def common_kind(channels: Iterable[int]) -> int:
    """The fewest channels that hold images of all these numbers of channels."""
    every = set(channels)
    return max(map(_colours, every)) + any(x % 2 == 0 for x in every)


def to_samples(images: Sequence[Pixels], channels: int) -> NDArray[np.float32]:
    """(n, height * width * channels) from 0 to 1, of images of one size that `channels` covers."""
    same = {x.shape[2] for x in images} == {channels}
    stacked = np.stack(images if same else [_extended(x, channels) for x in images])
    samples = stacked.astype(np.float32)
    samples *= np.float32(1 / 255)
    if channels % 2 == 0:
        samples[..., :-1] *= samples[..., -1:]
    return samples.reshape(len(images), -1)


def to_pixels(
    samples: NDArray[np.floating], shape: tuple[int, int, int], channels: int
) -> list[Pixels]:
    """Images of a shape (height, width, channels of their own) from rows of samples of
    `channels`, which may lie outside of 0 to 1."""
    height, width, own = shape
    values = np.clip(samples, 0, 1).reshape(-1, height, width, channels)
    colours = values[..., : _colours(channels)]
    if _colours(own) < _colours(channels):
        colours = colours.mean(axis=-1, keepdims=True)
    if own % 2 == 0:
        alpha = np.rint(values[..., -1:] * np.float32(255))
        # What is wholly transparent is black: of all colours the cheapest in any other format.
        seen = np.minimum(colours * (np.float32(255) / np.maximum(alpha, 1)), 1)
        whole = np.rint(np.where(alpha > 0, seen, 0) * np.float32(255))
        return list(np.concatenate([whole, alpha], axis=-1).astype(np.uint8))
    return list(np.rint(colours * np.float32(255)).astype(np.uint8))


def _colours(channels: int) -> int:
    return 1 if channels <= 2 else 3


def _extended(pixels: Pixels, channels: int) -> Pixels:
    colours = pixels[..., : _colours(pixels.shape[2])]
    if colours.shape[2] < _colours(channels):
        colours = colours.repeat(3, axis=2)
    if channels % 2:
        return colours
    alpha = pixels[..., -1:] if pixels.shape[2] % 2 == 0 else np.full_like(pixels[..., :1], 255)
    return np.concatenate([colours, alpha], axis=2)
