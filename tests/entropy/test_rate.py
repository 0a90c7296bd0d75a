from __future__ import annotations

import numpy as np
import pytest
from gradients import numeric_gradient, relative_error
from samples import half_steps, photograph_latents, random_parameters, trained_network

from aezip.entropy import context, laplace
from aezip.entropy.coder import Encoder
from aezip.entropy.rate import rate

LOG_STEP = 90


def example(seed: int = 0, hidden: int = 5, dtype=np.float64):
    """(parameters, layout, latents in half steps), all `dtype`."""
    rng = np.random.default_rng(seed)
    p = {k: v.astype(dtype) for k, v in random_parameters(rng, hidden, 2).items()}
    # Outside of their ranges the distributions' parameters have gradients that no difference has.
    p["w3"] *= dtype(0.02)
    p["b3"][:] = 0.1, 0.5, 1.5, 0.6, -0.1, 0.7, 1.2, 0.5
    where = context.layout(8, 12, 2, 3)
    coded = np.zeros(where.size, np.int32)
    n = len(where.position)
    values = rng.integers(-30, 31, n) // rng.integers(1, 12, n)
    coded[where.position] = np.where(rng.random(n) < 0.4, values, 0)
    coded[where.position[:10]] = 0  # some have no context at all
    buffer = half_steps(where, coded).astype(dtype)
    second = context.symbols(where, buffer.astype(np.int32))[1][where.position]
    assert 0.05 < second.mean() < 0.6
    active = context.is_active(where, buffer)
    assert 10 <= (~active).sum() < n / 2
    return p, where, buffer


def sampling(n: int | None, seed: int = 7):
    return None if n is None else (n, np.random.default_rng(seed))


@pytest.mark.parametrize("sample", [None, 60])
@pytest.mark.parametrize("name", list(context.shape_of(5, 2)))
def test_gradients_of_the_parameters(name, sample):
    p, where, buffer = example()
    _, backprop = rate(p, where, buffer, LOG_STEP, sampling(sample))
    gradient = backprop()[1][name]
    assert gradient.dtype == np.float64

    def loss(x):
        return rate({**p, name: x}, where, buffer, LOG_STEP, sampling(sample))[0]

    numeric = numeric_gradient(loss, p[name])
    assert abs(numeric).max() > 0.1
    assert relative_error(gradient, numeric) < 1e-6


def test_latents_have_no_gradient_where_it_is_not_known_what_was_rounded():
    p, where, buffer = example()
    assert not rate(p, where, buffer, LOG_STEP)[1]()[0].any()


def test_slope_of_unrounded_latents_is_the_difference_over_the_rounding_interval():
    """With outputs that do not depend on the context each latent's bits can be told apart. What
    the second quantiser codes of a value is half a step further from zero."""
    p, where, buffer = example()
    p["w3"][:] = 0
    rng = np.random.default_rng(3)
    unrounded = buffer / 2 + rng.uniform(-0.4, 0.4, buffer.shape)
    gradient = rate(p, where, buffer, LOG_STEP, unrounded=unrounded)[1]()[0]
    outside = np.ones(where.size, bool)
    outside[where.position] = False
    assert not gradient[outside].any()
    second = context.symbols(where, buffer.astype(np.int32))[1][where.position]
    u = unrounded[where.position]
    u = u + np.sign(u) * second / 2
    distribution = p["b3"].reshape(2, 4)[second].T
    above, below = (laplace.mixture_bits(u + x, *distribution)[0] for x in (0.5, -0.5))
    np.testing.assert_allclose(gradient[where.position], above - below, rtol=1e-10)
    assert abs(gradient[where.position][buffer[where.position] == 0]).max() > 0.01


@pytest.mark.parametrize("n", [15, 40, 150])
def test_samples_are_unbiased(n):
    p, where, buffer = example(hidden=4)
    unrounded = buffer / 2 + 0.2
    bits, backprop = rate(p, where, buffer, LOG_STEP, unrounded=unrounded)
    by_latent, d = backprop()
    expected = np.concatenate([[bits], by_latent[where.position], d["w3"].ravel(), d["level"][1]])
    rng = np.random.default_rng(1)
    draws = []
    for _ in range(700):
        bits, backprop = rate(p, where, buffer, LOG_STEP, (n, rng), unrounded)
        by_latent, d = backprop()
        draws.append(
            np.concatenate([[bits], by_latent[where.position], d["w3"].ravel(), d["level"][1]])
        )
    draws = np.array(draws)
    error = draws.std(axis=0) / len(draws) ** 0.5
    # 4.5 sigma: of hundreds of means one in a thousand such tests would fail by chance.
    assert (abs(draws.mean(axis=0) - expected) <= 4.5 * error + 1e-9 * abs(expected)).all()
    assert draws[:, 0].std() > 0


def test_a_sample_of_more_latents_than_there_are_is_all_of_them():
    p, where, buffer = example()
    bits, backprop = rate(p, where, buffer, LOG_STEP)
    sampled, sampled_backprop = rate(p, where, buffer, LOG_STEP, sampling(10_000))
    assert sampled == bits
    for name, gradient in backprop()[1].items():
        np.testing.assert_array_equal(sampled_backprop()[1][name], gradient)


@pytest.mark.parametrize("n", [None, 40])
@pytest.mark.parametrize("with_unrounded", [False, True])
def test_backprop_may_be_called_again_and_changes_nothing(n, with_unrounded):
    p, where, buffer = example()
    unrounded = buffer / 2 + 0.1 if with_unrounded else None
    before = {k: v.copy() for k, v in p.items()}, buffer.copy()
    _, backprop = rate(p, where, buffer, LOG_STEP, sampling(n), unrounded)
    first, second = backprop(), backprop()
    np.testing.assert_array_equal(first[0], second[0])
    for name in p:
        np.testing.assert_array_equal(first[1][name], second[1][name])
        np.testing.assert_array_equal(p[name], before[0][name])
    np.testing.assert_array_equal(buffer, before[1])


def test_all_stays_float32():
    p, where, buffer = example(dtype=np.float32)
    _, backprop = rate(p, where, buffer, LOG_STEP, sampling(40), buffer)
    by_latent, d = backprop()
    assert {by_latent.dtype, *(x.dtype for x in d.values())} == {np.dtype(np.float32)}
    assert {k: x.shape for k, x in d.items()} == context.shape_of(5, 2)
    exact = {k: v.astype(np.float64) for k, v in p.items()}
    _, backprop = rate(
        exact, where, buffer.astype(np.float64), LOG_STEP, sampling(40), buffer.astype(np.float64)
    )
    for name, gradient in backprop()[1].items():
        assert relative_error(d[name].astype(np.float64), gradient) < 1e-3, name


# --- against the coder ---


@pytest.mark.parametrize(
    ("photograph", "log_step"), [("stream", 150), ("lake", 190), ("drum", 220)]
)
def test_is_what_the_coder_takes(photograph, log_step):
    network, parameters = trained_network()
    where, scaled = photograph_latents(photograph, log_step)
    buffer = half_steps(where, np.rint(scaled).astype(np.int32))
    encoder = Encoder()
    context.encode(network, where, buffer, log_step, encoder)
    payload = encoder.finish()
    coded, second = context.symbols(where, buffer)
    predicted = sum(
        float(laplace.coded_bits(coded[where.position[part]], rows).sum(dtype=np.float64))
        for part, rows in context.predict(network, where, buffer, second, log_step)
    )
    # The range coder rounds its interval down at each symbol: 1.3e-4 bits each, however cheap.
    rounding = 1.3e-4 * len(where.position) / 8
    assert len(payload) == pytest.approx(predicted / 8 + rounding, rel=1e-3, abs=4)
    bits = rate(parameters, where, buffer.astype(np.float32), log_step)[0]
    assert bits / 8 == pytest.approx(len(payload), rel=0.02)

