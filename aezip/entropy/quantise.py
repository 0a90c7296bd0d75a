"""Rate-distortion optimised quantisation: rounding each latent to the value that is worth its
bits, not merely to the nearest.

The latents are visited in decoding order and in large vectors. For each one that is not zero the
distribution is predicted from its neighbours, as decided where they lie in an earlier vector and as
they were where they lie in the same. Of the nearest integer, the next one towards zero and zero the
one with the least bits + lambda * squared error is taken (the idea of trellis quantisation in video
coders, without the trellis). In a second pass all neighbours are decided, but for what changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aezip.entropy import context, laplace
from aezip.entropy.context import IntegerNetwork, Layout

DEAD_ZONE = 0.55
"""Magnitudes below this, in steps, are rounded to zero whatever their distribution."""


def nearest(scaled: NDArray[np.floating]) -> NDArray[np.int32]:
    """Latents in steps (any shape) to integers, with the dead zone alone."""
    magnitude = np.abs(scaled)
    whole = np.floor(magnitude + 0.5)
    whole[magnitude < DEAD_ZONE] = 0
    return np.copysign(whole, scaled).astype(np.int32)


def optimise(
    network: IntegerNetwork,
    where: Layout,
    buffer: NDArray[np.int32],
    scaled: NDArray[np.float32],
    log_step: int,
    value_of_distortion: NDArray[np.float32],
    planes: range,
    passes: int,
) -> None:
    """Set the latents of some planes in an image's buffer to the integers to code.

    buffer: (where.size,) the latents; those that `planes` are predicted from are known, those of
    `planes` themselves are set. scaled: (where.size,) latents in steps of their quantiser.
    value_of_distortion: (all planes,) bits that a squared error of one step is worth, lambda times
    the squared step. passes: none is rounding with a dead zone.
    """
    for number in planes:
        plane = where.planes[number]
        where.view(buffer, plane)[:] = nearest(where.view(scaled, plane))
    for _ in range(passes):
        for part, rows in context.predict(network, where, buffer, log_step, planes):
            position = where.position[part]
            worth = value_of_distortion[where.plane_of[part]]
            buffer[position] = _best(scaled[position], rows, worth)


def _best(
    target: NDArray[np.float32], rows: laplace.Rows, worth: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Of the nearest integers, those next to them towards zero and zero the cheapest, given the
    latents' distributions and what a squared error of each is worth."""

    def cost(candidate: NDArray[np.int32]) -> NDArray[np.float32]:
        return laplace.coded_bits(candidate, rows) + worth * (target - candidate) ** 2

    best = nearest(target)
    least = cost(best)
    for candidate in (best - np.sign(best), np.zeros_like(best)):
        found = cost(candidate)
        better = found < least
        best, least = np.where(better, candidate, best), np.minimum(found, least)
    return best
