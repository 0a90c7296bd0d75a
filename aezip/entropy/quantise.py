"""Trellis-coded quantisation: the integers to code for an image's details.

Two quantisers take turns, one with values at whole steps, one at zero and halves, and the parities
of the latents before in a row decide which. So values lie twice as dense as either has them, and
the encoder finds each row's path of least bits + lambda * squared error by dynamic programming
(Marcellin, Fischer, "Trellis coded quantization of memoryless and Gauss-Markov sources", 1990;
Schwarz et al., "Hybrid video encoding with trellis-coded quantization", 2019). Distributions are
predicted from neighbours as they were decided before, a pass earlier.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aezip.entropy import context, laplace
from aezip.entropy.context import FEATURES, NEXT, IntegerNetwork, Layout

DEAD_ZONE = 0.6
SURE = 0.2
_FAR = np.float32(1e9)
_INTO = tuple(
    tuple((before, parity) for before in range(4) for parity in (0, 1) if NEXT[before, parity] == s)
    for s in range(4)
)


def nearest(scaled: NDArray[np.floating]) -> NDArray[np.int32]:
    magnitude = np.abs(scaled)
    whole = np.floor(magnitude + 0.5)
    whole[magnitude < DEAD_ZONE] = 0
    return np.copysign(2 * whole, scaled).astype(np.int32)


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
    for number in planes:
        plane = where.planes[number]
        where.view(buffer, plane)[:] = nearest(where.view(scaled, plane))
    latents = where.of_planes(planes)
    position = where.position[latents]
    target = np.abs(scaled[position])
    worth = value_of_distortion[where.plane_of[latents]]
    bias = network.bias(where.planes, log_step)
    quiet = network(np.zeros((len(bias), FEATURES), np.float32), bias)
    count = len(where.planes)
    quiet_bits = [
        laplace.coded_bits(
            np.zeros(count, np.int64),
            laplace.frequency_rows(laplace.GridParameters(*(p[q * count : (q + 1) * count] for p in quiet))),
        )
        for q in (0, 1)
    ]
    for _ in range(max(passes, 1)):
        cost = np.empty((2, 2, where.size), np.float32)  # quantiser, parity
        best = np.zeros((2, 2, where.size), np.int16)
        cost[:, 1, position] = _FAR
        error = worth * target * target
        for q in (0, 1):
            cost[q, 0, position] = quiet_bits[q][where.plane_of[latents]] + error
        active = context.is_active(where, buffer, planes)
        features = context.all_features(buffer)
        some = np.flatnonzero(active | (target > 0.7))
        for start in range(0, len(some), context._CHUNK):
            part = some[start : start + context._CHUNK]
            grids = network.both(
                context.gather(features, where.inputs(latents[part])),
                bias,
                where.plane_of[latents[part]],
            )
            at, u, w = position[part], target[part], worth[part]
            sign = np.where(scaled[at] < 0, -1, 1)
            for q, grid in enumerate(grids):
                rows = laplace.frequency_rows(grid)
                zero = laplace.coded_bits(np.zeros(len(at), np.int64), rows) + w * u * u
                low = np.floor(u + q * 0.5).astype(np.int64)
                costs = []
                for k in (low, low + 1):
                    value = k - 0.5 * q * (k > 0)
                    costs.append(laplace.coded_bits(sign * k, rows) + w * (u - value) ** 2)
                odd = (low & 1).astype(bool)
                c_even = np.where(odd, costs[1], costs[0])
                k_even = np.where(odd, low + 1, low)
                better = zero <= c_even
                cost[q, 0, at] = np.where(better, zero, c_even)
                best[q, 0, at] = np.where(better, 0, k_even)
                cost[q, 1, at] = np.where(odd, costs[0], costs[1])
                best[q, 1, at] = np.where(odd, low, low + 1)
        _decide(where, buffer, scaled, planes, cost, best)


def _decide(where, buffer, scaled, planes, cost, best) -> None:
    """Every row's cheapest path; all rows of the planes at once."""
    group = [where.planes[number] for number in planes]
    width = group[0].width
    # (width, quantiser, parity, rows)
    stacked = np.concatenate(
        [cost[:, :, p.start : p.start + p.height * p.stride].reshape(2, 2, p.height, p.stride)[..., : p.width]
         for p in group], axis=2,
    )
    stacked = np.ascontiguousarray(stacked.transpose(3, 0, 1, 2))
    lanes = stacked.shape[3]
    total = np.full((4, lanes), _FAR, np.float32)
    total[0] = 0
    came = np.empty((width, 4, lanes), bool)
    for x in range(width):
        now = np.empty_like(total)
        for state, ((a, pa), (b, pb)) in enumerate(_INTO):
            first = total[a] + stacked[x, a >> 1, pa]
            second = total[b] + stacked[x, b >> 1, pb]
            np.less(second, first, out=came[x, state])
            np.minimum(first, second, out=now[state])
        total = now
    state = total.argmin(axis=0)
    q, parity = np.empty((2, width, lanes), np.uint8)
    into = np.array(_INTO, np.uint8)  # (state, which, (before, parity))
    rows = np.arange(lanes)
    for x in range(width - 1, -1, -1):
        which = came[x, state, rows].astype(np.uint8)
        pair = into[state, which]
        state = pair[:, 0]
        q[x], parity[x] = state >> 1, pair[:, 1]
    for n, p in enumerate(group):
        some = slice(n * p.height, (n + 1) * p.height)
        k = best[:, :, p.start : p.start + p.height * p.stride].reshape(2, 2, p.height, p.stride)[..., : p.width]
        qq, pp = q[:, some].T.astype(int), parity[:, some].T.astype(int)
        y, x = np.ogrid[: p.height, : p.width]
        chosen = k[qq, pp, y, x].astype(np.int32)
        w = 2 * chosen - qq * (chosen > 0)
        where.view(buffer, p)[:] = np.copysign(w, where.view(scaled, p)).astype(np.int32)
