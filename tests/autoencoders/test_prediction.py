from __future__ import annotations

import numpy as np
import pytest
from gradients import check_gradients
from samples import photograph

from aezip import nn
from aezip.autoencoders import lifting, prediction

PLANES, LEVELS, WIDTH = 3, 2, 5


def parameters(seed: int = 0, width: int = WIDTH, dtype=np.float64) -> dict:
    """With everything a little off zero."""
    rng = np.random.default_rng(seed)
    p = prediction.start(PLANES, LEVELS, width, rng)
    return {k: (v + rng.normal(scale=0.1, size=v.shape)).astype(dtype) for k, v in p.items()}


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(PLANES, height, width)) * 20


@pytest.mark.parametrize("level", [1, 2])
def test_starts_by_predicting_nothing(level):
    p = prediction.start(PLANES, LEVELS, 16, np.random.default_rng(0))
    assert {k: v.shape for k, v in p.items()} == prediction.shapes(PLANES, LEVELS, 16)
    assert {v.dtype for v in p.values()} == {np.dtype(np.float32)}
    x = image(6, 8).astype(np.float32)
    y, backprop = prediction.apply(p, x, level, 3.0)
    assert y.dtype == np.float32 and y.shape == (prediction.DETAILS, PLANES, 6, 8)
    assert not y.any()
    # It is not stuck there: the last kernel has a gradient.
    assert abs(backprop(np.ones_like(y))["w3"]).max() > 0.1


@pytest.mark.parametrize("size", [(1, 2), (2, 3), (4, 5)], ids=str)
@pytest.mark.parametrize("level", [1, 2])
def test_gradients(size, level):
    p, x = parameters(width=3), image(*size) / 8
    names = list(p)

    def layer(*values):
        named = dict(zip(names, values, strict=True))
        y, backprop = prediction.apply(named, x, level, 1.7)
        return y, lambda dy: tuple(backprop(dy)[k] for k in names)

    check_gradients(layer, *(p[k] for k in names))


def test_how_bright_an_image_is_makes_no_difference():
    p, x = parameters(), image(7, 6)
    light = np.array([700, -50, 3.0]).reshape(3, 1, 1)
    expected, _ = prediction.apply(p, x, 1, 2.0)
    np.testing.assert_allclose(prediction.apply(p, x + light, 1, 2.0)[0], expected, atol=1e-9)
    assert abs(expected).max() > 1


def test_grey_levels_are_counted_in_steps():
    p = parameters()
    p["step1"][:] = 0
    x = image(8, 10)
    y, _ = prediction.apply(p, x, 1, 2.0)
    np.testing.assert_allclose(prediction.apply(p, 2 * x, 1, 3.0)[0], 2 * y, rtol=1e-12)
    assert abs(prediction.apply(p, x, 2, 2.0)[0] - y).max() > 0.1


@pytest.mark.parametrize("height", [1, 63, 64, 65, 70, 128, 200])
def test_strips_make_the_whole_image(height):
    x = photograph("drum")[:height, :34].transpose(2, 0, 1).astype(np.float32) - 128
    p = parameters(width=16, dtype=np.float32)
    whole, _ = prediction.apply(p, x, 1, 4.0)
    strips = prediction.apply_in_strips(p, x, 1, 4.0)
    assert strips.dtype == np.float32 and strips.shape == whole.shape
    assert abs(whole).max() > 10
    assert abs(strips - whole).max() < 1e-4


def test_learns_what_edges_do_to_details():
    """Of a photograph, beyond what a linear filter could: it goes on from scale to scale."""
    x = photograph("drum")[:192, :256].transpose(2, 0, 1).astype(np.float32) - 128
    bands, _ = lifting.analyse(x, lifting.start(1))
    low, details = bands.low, np.stack(bands.high[0])
    p = prediction.start(PLANES, 1, 8, np.random.default_rng(0))
    adam = nn.Adam()
    for _ in range(150):
        y, backprop = prediction.apply(p, low, 1, 4.0)
        error = y - details
        adam.update(p, backprop(error / (256 + error**2)), 0.01)
    assert (error**2).sum() < 0.9 * (details**2).sum()
