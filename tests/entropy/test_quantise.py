from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from samples import LEVELS, half_steps, integer_network, photograph_latents, trained_network

from aezip.entropy import context, laplace, quantise
from aezip.entropy.coder import Decoder, Encoder


def worths(where: context.Layout, worth: float) -> np.ndarray:
    # Not alike in all planes, so that a plane taken for another is seen.
    return np.linspace(0.5, 1.5, len(where.planes), dtype=np.float32) * np.float32(worth)


def bits_and_distortion(
    where, scaled, buffer, log_step, worth, network=None
) -> tuple[float, float]:
    """Bits, and what the error is worth in bits."""
    coded, second = context.symbols(where, buffer)
    network = network or trained_network()[0]
    bits = sum(
        float(laplace.coded_bits(coded[where.position[part]], rows).sum(dtype=np.float64))
        for part, rows in context.predict(network, where, buffer, second, log_step)
    )
    error = (scaled - buffer / 2)[where.position].astype(np.float64) ** 2
    return bits, float((worths(where, worth)[where.plane_of] * error).sum())


def low_pass(where, scaled) -> np.ndarray:
    """A buffer with nothing but the low-pass bands."""
    buffer = np.zeros(where.size, np.int32)
    for number in where.bands(LEVELS)[0]:
        plane = where.planes[number]
        where.view(buffer, plane)[:] = 2 * np.rint(where.view(scaled, plane))
    return buffer


def optimise(network, where, scaled, log_step, values, passes=2) -> np.ndarray:
    """All of an image, level by level as an encoder does it."""
    buffer = low_pass(where, scaled)
    for level in range(LEVELS, 0, -1):
        details = where.bands(level)[-1]
        quantise.optimise(network, where, buffer, scaled, log_step, values, details, passes)
    return buffer


def optimised(where, scaled, log_step, worth, passes=2):
    network, _ = trained_network()
    return optimise(network, where, scaled, log_step, worths(where, worth), passes)


def rounded(where, scaled, dead_zone: float = 0.5) -> np.ndarray:
    """What one quantiser alone makes of the details, in half steps: no stream of bits for both."""
    buffer = 2 * np.rint(scaled) * (np.abs(scaled) >= dead_zone)
    low = low_pass(where, scaled)
    for plane in where.planes:
        if plane.orientation == 0:
            where.view(buffer, plane)[:] = where.view(low, plane)
    return buffer.astype(np.int32)


def test_sets_the_planes_it_is_asked_for_alone():
    where, scaled = photograph_latents("lake", 190)
    network, _ = trained_network()
    values = worths(where, 7)
    low, details = where.bands(LEVELS)
    assert list(low) == [0, 1, 2] and list(details) == list(range(3, 12))
    assert [list(x) for x in where.bands(1)] == [list(range(30, 39))]
    buffer = low_pass(where, scaled)
    for number, plane in enumerate(where.planes):
        if number not in low:
            where.view(buffer, plane)[:] = 14
    quantise.optimise(network, where, buffer, scaled, 190, values, details, passes=1)
    assert all((where.view(buffer, where.planes[k]) == 14).all() for k in where.bands(1)[0])
    assert not any((where.view(buffer, where.planes[k]) == 14).all() for k in details)
    expected = low_pass(where, scaled)
    for number in low:
        plane = where.planes[number]
        np.testing.assert_array_equal(where.view(buffer, plane), where.view(expected, plane))


@pytest.mark.parametrize(("photograph", "log_step"), [("lake", 220), ("drum", 150)])
def test_what_is_chosen_is_what_is_decoded(photograph, log_step):
    network, _ = trained_network()
    where, scaled = photograph_latents(photograph, log_step)
    before = scaled.copy()
    buffer = optimised(where, scaled, log_step, 7)
    np.testing.assert_array_equal(scaled, before)
    coded, _ = context.symbols(where, buffer)
    np.testing.assert_array_equal(half_steps(where, coded), buffer)
    encoder = Encoder()
    context.encode(network, where, buffer, log_step, encoder)
    decoded = context.decode(network, where, log_step, Decoder(encoder.finish()))
    np.testing.assert_array_equal(decoded, buffer)
    assert (buffer % 2 == 1).sum() > 100  # the second quantiser is used


@pytest.mark.parametrize("worth", [1.5, 7, 40])
@pytest.mark.parametrize(("photograph", "log_step"), [("lake", 190), ("drum", 190)])
def test_costs_less_than_one_quantiser_alone(photograph, log_step, worth):
    """Whatever its dead zone, although the distributions were learned of two."""
    where, scaled = photograph_latents(photograph, log_step)
    network, _ = trained_network()
    found = sum(bits_and_distortion(where, scaled, optimised(where, scaled, log_step, worth),
                                    log_step, worth))  # fmt: skip

    def of_one(dead_zone: float) -> float:
        buffer = rounded(where, scaled, dead_zone)
        nothing = np.zeros(where.size, np.uint8)
        bits = sum(
            float(laplace.coded_bits(buffer[where.position[part]] // 2, rows).sum())
            for part, rows in context.predict(network, where, buffer, nothing, log_step)
        )
        error = (scaled - buffer / 2)[where.position].astype(np.float64) ** 2
        return bits + float((worths(where, worth)[where.plane_of] * error).sum())

    assert found < 0.995 * min(map(of_one, (0.5, 0.6, 0.7, 0.8)))


def test_a_second_pass_pays_but_a_good_guess_leaves_it_little():
    where, scaled = photograph_latents("drum", 190)
    costs = [
        sum(bits_and_distortion(where, scaled, optimised(where, scaled, 190, 7, n), 190, 7))
        for n in (1, 2)
    ]
    assert costs[1] < costs[0] < 1.002 * costs[1]


def test_error_that_is_worth_all_is_small_and_error_worth_nothing_costs_no_bits():
    where, scaled = photograph_latents("drum", 190)
    details = np.array([p.orientation > 0 for p in where.planes])[where.plane_of]

    def error(buffer) -> float:
        off = (scaled - buffer / 2)[where.position[details]]
        return float(np.square(off).mean())

    precise = optimised(where, scaled, 190, 1e4)
    # Half of the values of both lie within reach of a row's path, so it does better than rounding.
    assert error(precise) < 0.8 * error(rounded(where, scaled))
    free = optimised(where, scaled, 190, 0)
    usual = optimised(where, scaled, 190, 7)
    at = where.position[details]
    assert (free[at] != 0).sum() < 0.2 * (usual[at] != 0).sum()
    assert (usual[at] != 0).sum() < (precise[at] != 0).sum()


def test_larger_errors_for_fewer_bits():
    where, scaled = photograph_latents("lake", 190)
    found = [
        bits_and_distortion(where, scaled, optimised(where, scaled, 190, worth), 190, 1)
        for worth in (2, 7, 20)
    ]
    assert found[0][0] < found[1][0] < found[2][0]
    assert found[0][1] > found[1][1] > found[2][1]


@pytest.mark.parametrize("seed", range(6))
def test_each_row_has_the_best_of_all_paths(seed):
    """Where no latent depends on another, by trying them all."""
    rng = np.random.default_rng(seed)
    parameters = {k: np.zeros_like(v) for k, v in trained_network()[1].items()}
    parameters["b3"] = np.float32([0.1, 0, 1, 0.5, -0.2, -0.5, 1.5, 0.7])
    network, _ = integer_network(parameters)
    where = context.layout(4 << LEVELS, 4 << LEVELS, LEVELS, 1)
    scaled = np.zeros(where.size, np.float32)
    scaled[where.position] = rng.laplace(scale=0.9, size=len(where.position))
    # Small ones, where all is zero around, are zero without a trial, and of large ones not all
    # values are tried.
    signs = np.where(scaled < 0, -1, 1)
    scaled[:] = signs * np.clip(np.abs(scaled), 0.71, 1.4)
    values = worths(where, 3)
    buffer = np.zeros(where.size, np.int32)
    details = where.bands(LEVELS)[-1]
    quantise.optimise(network, where, buffer, scaled, 100, values, details, passes=1)
    grids = network.quiet(network.bias(where.planes, 100))
    for number in details:
        plane = where.planes[number]
        found, targets = where.view(buffer, plane), where.view(scaled, plane)
        symbols = where.view(context.symbols(where, buffer)[0], plane)
        for y in range(plane.height):

            def cost(row, path, number=number):
                state, total = 0, 0.0
                for target, k in zip(row.tolist(), path, strict=True):
                    which = state >> 1
                    grid = laplace.GridParameters(*(x[None] for x in grids[number, which]))
                    value = k - np.sign(k) * which / 2
                    total += float(laplace.bits_of(np.array([k]), grid)[0])
                    total += float(values[number]) * (target - value) ** 2
                    state = int(context.NEXT[state, k & 1])
                return total

            row = targets[y]
            choices = [range(0, 4) if t > 0 else range(-3, 1) for t in row]
            least = min(cost(row, path) for path in product(*choices))
            assert cost(row, symbols[y].tolist()) == pytest.approx(least, abs=1e-3)
        assert np.abs(found).max() <= 6


def test_bytes_fall_as_bits_do():
    network, _ = trained_network()
    where, scaled = photograph_latents("lake", 220)
    sizes = []
    for worth in (40, 7):
        encoder = Encoder()
        context.encode(network, where, optimised(where, scaled, 220, worth), 220, encoder)
        sizes.append(len(encoder.finish()))
    assert sizes[1] < 0.9 * sizes[0]
