from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from gradients import check_gradients
from samples import photograph

from aezip import nn
from aezip.autoencoders import postfilter

PLANES, WIDTH = 3, 6


def parameters(seed: int = 0, trained: bool = True, width: int = WIDTH, dtype=np.float64) -> dict:
    """As at the start, or with everything a little off zero."""
    rng = np.random.default_rng(seed)
    p = {k: v.astype(dtype) for k, v in postfilter.start(PLANES, width, rng).items()}
    if trained:
        for name in p:
            p[name] += rng.normal(scale=0.1, size=p[name].shape).astype(dtype)
    return p


def image(height: int, width: int, dtype=np.float64) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(PLANES, height, width)).astype(dtype) * 20


def latents(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(-4, 5, size=(postfilter.DETAILS, PLANES, height // 2, width // 2))


def apply(p: dict, x: np.ndarray, log_step: float):
    return postfilter.apply(p, x, latents(*x.shape[1:]), log_step)


@pytest.mark.parametrize("log_step", [1.0, 4.3, 8.0])
def test_starts_as_the_identity(log_step):
    p = postfilter.start(PLANES, 32, np.random.default_rng(0))
    assert {k: v.shape for k, v in p.items()} == postfilter.shapes(PLANES, 32)
    assert {v.dtype for v in p.values()} == {np.dtype(np.float32)}
    x = image(6, 8, np.float32)
    y, _ = apply(p, x, log_step)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x)
    # It is not stuck there: the last kernel has a gradient.
    assert abs(apply(p, x, log_step)[1](x)[1]["w2"]).max() > 0.1


@pytest.mark.parametrize(("height", "width"), [(2, 6), (6, 2), (4, 6)])
@pytest.mark.parametrize("log_step", [-0.5, 1.7])
def test_gradients(height, width, log_step):
    p = parameters(width=4)
    names = list(p)

    def layer(x, *values):
        y, backprop = apply(dict(zip(names, values, strict=True)), x, log_step)

        def in_order(dy):
            dx, d = backprop(dy)
            return dx, *(d[k] for k in names)

        return y, in_order

    check_gradients(layer, image(height, width) / 8, *(p[k] for k in names))


def test_grey_levels_are_counted_in_steps():
    """An image of twice the contrast at twice the step is filtered alike."""
    p = parameters()
    p["step1"][:] = 0
    x = image(8, 10)
    y, _ = apply(p, x, 2.0)
    twice, _ = apply(p, 2 * x, 3.0)
    np.testing.assert_allclose(twice, 2 * y, rtol=1e-12)
    assert abs(y - x).max() > 1
    p["step1"][:] = 0.3
    assert abs(apply(p, 2 * x, 3.0)[0] - 2 * apply(p, x, 2.0)[0]).max() > 0.1


@pytest.mark.parametrize("value", [-300.0, 77.0])
def test_how_bright_an_image_is_makes_no_difference(value):
    """Whatever has been learnt; also at the borders."""
    p, x = parameters(), image(8, 12)
    light = value * np.array([1, -0.5, 0.1]).reshape(3, 1, 1)
    expected, _ = apply(p, x, 1.0)
    np.testing.assert_allclose(apply(p, x + light, 1.0)[0] - light, expected, atol=1e-9)
    assert abs(expected - x).max() > 1


def test_large_latents_count_as_two_and_the_others_as_they_are():
    p, x = parameters(), image(8, 12)
    few = np.zeros((postfilter.DETAILS, PLANES, 4, 6), int)
    found = []
    for value in (-9, -2, -1, 0, 1, 2, 9):
        few[1, 2, 1, 3] = value
        found.append(postfilter.apply(p, x, few, 1.0)[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[-1], found[-2])
    for a, b in pairwise(found[1:6]):
        assert abs(a - b).max() > 1e-3


def test_it_sees_as_far_as_it_says():
    p, reach = parameters(width=16), postfilter.REACH
    x, far = image(6, 2 * reach + 6), np.zeros((postfilter.DETAILS, PLANES, 3, reach + 3), int)
    expected, _ = postfilter.apply(p, x, far, 1.0)
    x[:, 2:4, reach + 2 : reach + 4] += 50
    changed = abs(postfilter.apply(p, x, far, 1.0)[0] - expected).max(axis=(0, 1)) > 0
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(2, 2 * reach + 4))


def test_it_can_be_trained_to_remove_what_rounding_adds():
    """Of blocks whose differences are rounded away, an edge tells what they were."""
    rng = np.random.default_rng(0)
    p, optimizer = postfilter.start(PLANES, 8, rng), nn.Adam()
    original = np.cumsum(rng.normal(size=(PLANES, 1, 48)) > 1, axis=2) * np.ones((1, 32, 1)) * 9.0
    original = original.astype(np.float32)
    x = original.reshape(PLANES, 16, 2, 24, 2).mean(axis=(2, 4)).repeat(2, 1).repeat(2, 2)
    nothing = np.zeros((postfilter.DETAILS, PLANES, 16, 24), np.float32)
    for _ in range(150):
        y, backprop = postfilter.apply(p, x, nothing, 3.0)
        gradients = backprop(2 * (y - original) / y.size)[1]
        optimizer.update(p, gradients, dict.fromkeys(gradients, 3e-3))
    before, after = (float(np.square(z - original).sum()) for z in (x, y))
    assert after < 0.8 * before


@pytest.mark.parametrize("height", [2, 62, 64, 66, 68, 70, 128, 130, 200, 480])
def test_strips_make_the_whole_image(height):
    """Where the seams are too; some strips are of two rows."""
    x = photograph("drum")[:height, :34].transpose(2, 0, 1).astype(np.float32) - 128
    assert x.shape[1] == height
    p = parameters(width=16, dtype=np.float32)
    whole, _ = apply(p, x, 4.0)
    strips = postfilter.apply_in_strips(p, x, latents(*x.shape[1:]), 4.0)
    assert strips.dtype == np.float32
    assert abs(whole - x).max() > 10
    assert abs(strips - whole).max() < 1e-4


@pytest.mark.parametrize("height", [2, 64, 150])
def test_the_gradient_of_the_error_in_strips(height):
    p, x, original = parameters(), image(height, 6), 0.9 * image(height, 6)
    y, backprop = apply(p, x, 3.0)
    expected = backprop(2 * (y - original))[0]
    found = postfilter.error_gradient(p, x, latents(height, 6), 3.0, original)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
