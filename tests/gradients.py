"""Checks of gradients, for the tests of everything that has a `backprop`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def numeric_gradient(f: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """Central differences of the scalar function `f` at the float64 array `x`."""
    assert x.dtype == np.float64
    step = 1e-5
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        below, above = x.copy(), x.copy()
        below[index] -= step
        above[index] += step
        gradient[index] = (f(above) - f(below)) / (above[index] - below[index])
    return gradient


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest element expected."""
    assert actual.shape == expected.shape
    return float(abs(actual - expected).max() / abs(expected).max())


def as_tuple(gradients: Any) -> tuple:
    """What a backprop returned: a tuple also where it is the gradient of x alone."""
    return gradients if isinstance(gradients, tuple) else (gradients,)


def check_gradients(layer: Callable[..., tuple], *arguments: np.ndarray) -> None:
    """Compare all gradients of `layer(*arguments)` with central differences.

    Also that neither pass changes what it is given, and that backprop may be called again.
    """
    before = [a.copy() for a in arguments]
    y, backprop = layer(*arguments)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dy_before, y_before = dy.copy(), y.copy()
    gradients = as_tuple(backprop(dy))
    for first, second in zip(gradients, as_tuple(backprop(dy)), strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(dy, dy_before)
    np.testing.assert_array_equal(y, y_before)
    for argument, unchanged in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(argument, unchanged)

    assert len(gradients) == len(arguments)
    for i, gradient in enumerate(gradients):

        def loss(a: np.ndarray, i: int = i) -> float:
            return float((layer(*arguments[:i], a, *arguments[i + 1 :])[0] * dy).sum())

        error = relative_error(gradient, numeric_gradient(loss, arguments[i]))
        assert error < 1e-6, f"gradient of argument {i}: relative error {error:.1e}"
