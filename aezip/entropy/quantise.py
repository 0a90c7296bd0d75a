"""Trellis-coded quantisation: the integers to code for an image's details.

Two quantisers take turns: one has the whole steps for values, the other zero and the halves between
them, and which one a latent is quantised with follows from the parities of those before it in its
row. Values thus lie twice as dense as either quantiser alone has them, and each row's path of
least bits + lambda * squared error is found by dynamic programming (Marcellin, Fischer, "Trellis
coded quantization of memoryless and Gauss-Markov sources", 1990; Schwarz et al., "Hybrid video
encoding with trellis-coded quantization", 2019). The distributions are those that neighbours
predict as they were decided a pass before or, in planes decided earlier, in this one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aezip.entropy import context, laplace
from aezip.entropy.context import NEXT, IntegerNetwork, Layout, Plane
from aezip.entropy.laplace import GridParameters

_ALONE, _AMONG_LARGE = 0.8, 0.4  # steps: smaller magnitudes are guessed to become zero
_LESS = 0.1  # steps, by which what is decided is less than what is there, about
_SMALL = 0.15  # steps: what is smaller becomes zero
_QUIET = 0.7  # what is smaller, too, where all neighbours are zero
_STATES = len(NEXT)
_FAR = np.float32(1e9)
_INTO = tuple(np.argwhere(np.equal(NEXT, state)).tolist() for state in range(_STATES))
"""The two (state, parity) that lead to each state."""


def optimise(
    network: IntegerNetwork,
    where: Layout,
    buffer: NDArray[np.int32],
    scaled: NDArray[np.float32],
    log_step: int,
    worths: NDArray[np.float32],
    planes: range,
    passes: int,
) -> None:
    """Set the latents of the details of a level in an image's buffer, in half steps.

    buffer: (where.size,) the latents; those that `planes` are predicted from are known, those of
    `planes` themselves are set. scaled: (where.size,) latents in steps of their quantiser.
    worths: (all planes,) bits that a squared error of one step is worth, lambda times
    the squared step. planes: of each orientation those of all colours. passes: one at least.
    """
    for number in planes:
        plane = where.planes[number]
        where.view(buffer, plane)[:] = _guess(where.view(scaled, plane))
    bias = network.bias(where.planes, log_step)
    quiet = network.quiet(bias)
    colours = len(planes) // 3
    features = context.all_features(buffer)
    for _ in range(passes):
        for first in planes[::colours]:
            part = range(first, first + colours)
            _decide(network, where, buffer, features, scaled, worths, part, bias, quiet)


def _guess(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """About what will be decided, in half steps, for the first pass to predict from: (h, w), as the
    targets, which are in steps. Among small ones a latent becomes zero sooner."""
    magnitudes = np.abs(targets)
    padded = np.pad(np.minimum(magnitudes, 2), 1)
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    threshold = _ALONE - (_ALONE - _AMONG_LARGE) * np.minimum(around / 4, 1)
    half_steps = np.maximum(np.rint(2 * (magnitudes - _LESS)), 1)
    return np.copysign(np.where(magnitudes < threshold, 0, half_steps), targets)


def _decide(
    network: IntegerNetwork,
    where: Layout,
    buffer: NDArray[np.int32],
    features: NDArray[np.float32],
    scaled: NDArray[np.float32],
    worths: NDArray[np.float32],
    planes: range,
    bias: NDArray[np.float32],
    quiet: NDArray[np.int64],
) -> None:
    """One pass over planes of one size; `features` are kept those of the buffer."""
    group = [where.planes[number] for number in planes]
    latents = where.of_planes(planes)
    plane_of, position = where.plane_of[latents], where.position[latents]
    target, worth = np.abs(scaled[position]), worths[plane_of]
    begin, end = group[0].start, group[-1].start + group[-1].height * group[-1].stride
    place = position - begin
    # By quantiser and parity of what is coded: the costs, and the magnitudes that have them.
    costs = np.empty((2, 2, end - begin), np.float32)
    magnitudes = np.zeros((2, 2, end - begin), np.int32)
    costs[:, 1, place] = _FAR
    zeros = np.zeros(len(quiet), np.int64)
    error = worth * target * target
    for which in (0, 1):
        bits = laplace.bits_of(zeros, GridParameters(*quiet[:, which].T))
        costs[which, 0, place] = bits[plane_of] + error
    active = context.is_active(where, buffer, planes)
    some = np.flatnonzero((active & (target > _SMALL)) | (target > _QUIET))
    for start in range(0, len(some), context.CHUNK):
        part = some[start : start + context.CHUNK]
        inputs = context.gather(features, where.inputs(latents[part]))
        grids = network(inputs, bias[plane_of[part]])
        idle = np.flatnonzero(~active[part])
        grids[idle] = quiet[plane_of[part[idle]]]
        sign = np.where(scaled[position[part]] < 0, -1, 1)
        for which in (0, 1):
            found = _candidates(which, target[part], sign, worth[part], grids[:, which])
            costs[which][:, place[part]], magnitudes[which][:, place[part]] = found
    states, parities = _paths(_columns(costs, group, begin))
    magnitudes = np.ascontiguousarray(_columns(magnitudes, group, begin))
    width, lanes = states.shape
    second = states >> 1
    column, lane = np.ogrid[:width, :lanes]
    half_steps = 2 * magnitudes[column, second, parities, lane]
    half_steps -= second * (half_steps > 0)
    for number, plane in enumerate(group):
        rows = half_steps.T[number * plane.height : (number + 1) * plane.height]
        where.view(buffer, plane)[:] = np.copysign(rows, where.view(scaled, plane))
    features[begin:end] = context.all_features(buffer[begin:end])


def _candidates(
    which: int,
    target: NDArray[np.float32],
    sign: NDArray[np.int64],
    worth: NDArray[np.float32],
    grids: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(costs, magnitudes) of n latents with one quantiser: (2, n), the cheapest even magnitude to
    code and the odd one. target: magnitudes in steps; grids (n, OUTPUTS)."""
    low = np.floor(target + np.float32(0.5 * which)).astype(np.int64)
    magnitudes = np.stack([np.zeros_like(low), low, low + 1])
    values = magnitudes - np.float32(0.5 * which) * (magnitudes > 0)
    costs = laplace.bits_of(sign * magnitudes, GridParameters(*grids.T))
    costs += worth * (target - values) ** 2
    odd = low & 1
    column = np.arange(len(low))
    even_cost, even = costs[1 + odd, column], magnitudes[1 + odd, column]
    is_zero = costs[0] < even_cost
    return (
        np.stack([np.where(is_zero, costs[0], even_cost), costs[2 - odd, column]]),
        np.stack([np.where(is_zero, 0, even), magnitudes[2 - odd, column]]),
    )


def _columns(x: NDArray, group: list[Plane], begin: int) -> NDArray:
    """(2, 2, positions) to (width, 2, 2, rows of all planes)."""
    parts = []
    for plane in group:
        start = plane.start - begin
        whole = x[..., start : start + plane.height * plane.stride]
        parts.append(whole.reshape(2, 2, plane.height, plane.stride)[..., : plane.width])
    return np.ascontiguousarray(np.concatenate(parts, axis=2).transpose(3, 0, 1, 2))


def _paths(costs: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(states, parities) on the cheapest path of each row: (width, rows) uint8 each, the state
    before each latent and the parity of what is coded of it. costs: (width, 2, 2, rows), by
    quantiser and parity."""
    width, _, _, rows = costs.shape
    total = np.full((_STATES, rows), _FAR, np.float32)
    total[0] = 0
    came = np.empty((width, _STATES, rows), np.uint8)
    for column, cost in enumerate(costs):
        before, total = total, np.empty_like(total)
        for state, ((a, of_a), (b, of_b)) in enumerate(_INTO):
            one, other = before[a] + cost[a >> 1, of_a], before[b] + cost[b >> 1, of_b]
            np.less(other, one, out=came[column, state], casting="unsafe")
            np.minimum(one, other, out=total[state])
    state = total.argmin(axis=0)
    states, parities = np.empty((2, width, rows), np.uint8)
    into, each = np.array(_INTO, np.uint8), np.arange(rows)
    for column in range(width - 1, -1, -1):
        states[column], parities[column] = into[state, came[column, state, each]].T
        state = states[column]
    return states, parities
