from __future__ import annotations

import numpy as np
import pytest
from samples import LEVELS, integer_network, photograph_latents, trained_network

from aezip.entropy import context, laplace, quantise
from aezip.entropy.coder import Encoder


def test_nearest_rounds_to_nearest_but_for_a_dead_zone():
    scaled = np.array([0, 0.54, 0.56, 1, 1.49, 1.51, 7.6, 300.2], np.float32)
    expected = [0, 0, 1, 1, 1, 2, 8, 300]
    for sign in (1, -1):
        found = quantise.nearest(sign * scaled)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, sign * np.array(expected))


def test_nearest_keeps_shape_and_arguments():
    scaled = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)
    before = scaled.copy()
    assert quantise.nearest(scaled).shape == (2, 3, 4)
    np.testing.assert_array_equal(scaled, before)


def worths(where: context.Layout, worth: float) -> np.ndarray:
    # Not alike in all planes, so that a plane taken for another is seen.
    return np.linspace(0.5, 1.5, len(where.planes), dtype=np.float32) * np.float32(worth)


def bits_and_distortion(where, scaled, buffer, log_step, worth) -> tuple[float, float]:
    """Bits, and what the error is worth in bits."""
    bits = sum(
        float(laplace.coded_bits(buffer[where.position[part]], rows).sum(dtype=np.float64))
        for part, rows in context.predict(trained_network()[0], where, buffer, log_step)
    )
    error = (scaled - buffer)[where.position].astype(np.float64) ** 2
    return bits, float((worths(where, worth)[where.plane_of] * error).sum())


def optimise(network, where, scaled, log_step, values, passes=2) -> np.ndarray:
    """All of an image, group by group as an encoder does it."""
    buffer = np.zeros(where.size, np.int32)
    for level in range(LEVELS, 0, -1):
        for planes in where.bands(level):
            quantise.optimise(network, where, buffer, scaled, log_step, values, planes, passes)
    return buffer


def optimised(where, scaled, log_step, worth):
    network, _ = trained_network()
    return optimise(network, where, scaled, log_step, worths(where, worth))


def test_sets_the_planes_it_is_asked_for_alone():
    where, scaled = photograph_latents("lake", 190)
    network, _ = trained_network()
    values = worths(where, 7)
    whole = optimise(network, where, scaled, 190, values)
    low, details = where.bands(LEVELS)
    assert list(low) == [0, 1, 2] and list(details) == list(range(3, 12))
    assert [list(x) for x in where.bands(1)] == [list(range(30, 39))]
    buffer = np.zeros(where.size, np.int32)
    for plane in where.planes:
        where.view(buffer, plane)[:] = 7
    quantise.optimise(network, where, buffer, scaled, 190, values, low, passes=2)
    for number, plane in enumerate(where.planes):
        expected = where.view(whole, plane) if number in low else 7
        assert (where.view(buffer, plane) == expected).all()


@pytest.mark.parametrize("worth", [0.5, 7, 40])
@pytest.mark.parametrize(("photograph", "log_step"), [("lake", 220), ("drum", 190)])
def test_costs_less_than_rounding(photograph, log_step, worth):
    where, scaled = photograph_latents(photograph, log_step)
    plain = quantise.nearest(scaled)
    better = optimised(where, scaled, log_step, worth)
    before = bits_and_distortion(where, scaled, plain, log_step, worth)
    after = bits_and_distortion(where, scaled, better, log_step, worth)
    assert sum(after) < sum(before)
    assert after[0] < before[0] and after[1] >= before[1]


def test_takes_the_usual_share_off_the_bits():
    """At the architectures' own lambda it is worth some percent of the file."""
    where, scaled = photograph_latents("lake", 190)
    before = sum(bits_and_distortion(where, scaled, quantise.nearest(scaled), 190, 7))
    better = optimised(where, scaled, 190, 7)
    assert sum(bits_and_distortion(where, scaled, better, 190, 7)) < 0.99 * before


def test_every_pass_pays():
    where, scaled = photograph_latents("drum", 190)
    network, _ = trained_network()
    found = [optimise(network, where, scaled, 190, worths(where, 7), passes) for passes in range(3)]
    np.testing.assert_array_equal(found[0], quantise.nearest(scaled))
    costs = [sum(bits_and_distortion(where, scaled, x, 190, 7)) for x in found]
    assert costs[0] > costs[1] > costs[2]


def test_each_latent_is_rounded_then_moved_one_towards_zero_or_to_zero():
    where, scaled = photograph_latents("lake", 150)
    before = scaled.copy()
    plain = quantise.nearest(scaled)
    better = optimised(where, scaled, 150, 7)
    np.testing.assert_array_equal(scaled, before)
    assert better.dtype == np.int32 and better.shape == (where.size,)
    assert not better[plain == 0].any()
    step = plain - better
    assert ((step == 0) | (step == np.sign(plain)) | (better == 0)).all()
    # All of it happens.
    assert (better == plain)[plain != 0].any() and (step == np.sign(plain))[abs(plain) > 1].any()
    assert (better == 0)[abs(plain) == 1].any()


def test_error_that_is_worth_all_leaves_the_nearest_and_error_worth_nothing_the_cheapest():
    where, scaled = photograph_latents("drum", 190)
    plain = quantise.nearest(scaled)
    np.testing.assert_array_equal(optimised(where, scaled, 190, 1e9), plain)
    free = optimised(where, scaled, 190, 0)
    assert (free != 0).sum() < 0.2 * (plain != 0).sum()
    usual = optimised(where, scaled, 190, 7)
    assert (free != 0).sum() < (usual != 0).sum() < (plain != 0).sum()


@pytest.mark.parametrize("worth", [0.5, 2])
def test_each_choice_is_the_best_of_three(worth):
    """Where no latent depends on another, by trying them all."""
    parameters = {k: np.zeros_like(v) for k, v in trained_network()[1].items()}
    for name in ("level", "colour", "b3", "w2", "w3"):
        parameters[name] = trained_network()[1][name]
    network, _ = integer_network(parameters)
    where, scaled = photograph_latents("lake", 150)
    plain = quantise.nearest(scaled)
    found = optimise(network, where, scaled, 150, worths(where, worth))
    assert (found == plain)[plain != 0].any() and (found != plain).any()
    candidates = np.stack([plain, plain - np.sign(plain), 0 * plain])
    for part, rows in context.predict(network, where, plain, 150):
        at = where.position[part]
        error = (scaled[at] - candidates[:, at]).astype(np.float64) ** 2
        bits = np.stack([laplace.coded_bits(x, rows) for x in candidates[:, at]])
        cost = bits + worths(where, worth)[where.plane_of[part]] * error
        chosen = laplace.coded_bits(found[at], rows)
        chosen = chosen + worths(where, worth)[where.plane_of[part]] * (scaled[at] - found[at]) ** 2
        np.testing.assert_allclose(chosen, cost.min(axis=0), rtol=1e-4, atol=1e-4)


def test_bytes_fall_as_bits_do():
    network, _ = trained_network()
    where, scaled = photograph_latents("lake", 220)
    sizes = []
    for buffer in (quantise.nearest(scaled), optimised(where, scaled, 220, 7)):
        encoder = Encoder()
        context.encode(network, where, buffer, 220, encoder)
        sizes.append(len(encoder.finish()))
    assert sizes[1] < 0.97 * sizes[0]
