from __future__ import annotations

import numpy as np
import pytest

from aezip.nn import relu, tanh
from aezip.nn.activations import ACTIVATIONS
from aezip.nn.initializers import initial_weights


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_variance(activation):
    w = initial_weights((300, 500), (300, 500), activation, np.random.default_rng(0))
    assert w.dtype == np.float32 and w.shape == (300, 500)
    variance = 2 / 300 if activation.endswith("relu") else 2 / 800
    assert w.var() == pytest.approx(variance, rel=0.01)
    assert abs(w.mean()) < 0.001
    assert abs(w).max() <= np.sqrt(3 * variance) * 1.0001


@pytest.mark.parametrize(("name", "function"), [("relu", relu), ("tanh", tanh)])
def test_signals_neither_fade_nor_grow_through_twenty_layers(name, function):
    rng = np.random.default_rng(0)
    x = rng.normal(scale=0.1, size=(256, 200))
    before = (x * x).mean()
    for _ in range(20):
        x, _ = function(x @ initial_weights((200, 200), (200, 200), name, rng))
    assert 0.3 < (x * x).mean() / before < 3


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (
        initial_weights((4, 3), (4, 3), "relu", np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
