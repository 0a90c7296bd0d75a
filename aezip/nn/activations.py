"""Activations: like layers without parameters, `activation(x)` returns `(output, backprop)`,
and `backprop(dy)` the gradient of x alone."""

from __future__ import annotations

from collections.abc import Callable

from aezip.nn.layers import Backprop
from aezip.nn.ops import Array, ops_of

Activation = Callable[[Array], tuple[Array, Backprop]]


def linear(x: Array) -> tuple[Array, Backprop]:
    """The identity."""
    return x, lambda dy: dy


def relu(x: Array) -> tuple[Array, Backprop]:
    """max(x, 0)."""
    y = ops_of(x).xp.maximum(x, 0)
    return y, lambda dy: dy * (y > 0)


def leaky_relu(x: Array, slope: float = 0.1) -> tuple[Array, Backprop]:
    """x where it is positive, slope * x elsewhere; the slope is 0 to 1."""
    # Not `where`, which takes ten times as long.
    factor = ops_of(x).xp.maximum((x > 0).astype(x.dtype), x.dtype.type(slope))
    return x * factor, lambda dy: dy * factor


def clipped_relu(x: Array, limit: float) -> tuple[Array, Backprop]:
    """x clipped to 0..limit."""
    limit = x.dtype.type(limit)  # a float64 scalar would promote float32
    y = ops_of(x).xp.clip(x, 0, limit)
    return y, lambda dy: dy * ((y > 0) & (y < limit))


def sigmoid(x: Array) -> tuple[Array, Backprop]:
    """1 / (1 + exp(-x)), without overflow for any x."""
    xp = ops_of(x).xp
    # exp(x) / (1 + exp(x)) where x is negative, 1 / (1 + exp(-x)) elsewhere.
    y = xp.minimum(x, 0)
    xp.exp(y, out=y)
    total = xp.negative(xp.abs(x))
    xp.exp(total, out=total)
    total += 1
    y /= total

    def backprop(dy: Array) -> Array:
        dx = 1 - y
        dx *= y
        dx *= dy
        return dx

    return y, backprop


def tanh(x: Array) -> tuple[Array, Backprop]:
    """The hyperbolic tangent."""
    y = ops_of(x).xp.tanh(x)
    return y, lambda dy: dy * (1 - y * y)


def softmax(x: Array) -> tuple[Array, Backprop]:
    """exp(x) over its sum along the last axis, without overflow for any x."""
    y = ops_of(x).xp.exp(below_largest(x))
    y /= y.sum(axis=-1, keepdims=True)
    return y, lambda dy: y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def below_largest(x: Array) -> Array:
    """x minus its largest along the last axis, of which exp cannot overflow; at least -1e30, for
    the difference of the largest and the smallest float32 would overflow itself."""
    largest = x.max(axis=-1, keepdims=True)
    return ops_of(x).xp.maximum(x, largest - 1e30) - largest


ACTIVATIONS: dict[str, Activation] = {
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
}
"""By the names that layers are given."""
