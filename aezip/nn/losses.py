"""Losses: `loss(prediction, target)` returns `(value, gradient of the prediction)`; the value is a
float, the mean over all elements or, where each sample is of one class, over samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aezip.nn.activations import below_largest, sigmoid
from aezip.nn.ops import Array, ops_of

Loss = Callable[[Array, Array], tuple[float, Array]]


def mean_squared_error(prediction: Array, target: Array) -> tuple[float, Array]:
    """Mean of the squared differences over all elements. Both of one shape."""
    same_shape(prediction, target)
    difference = prediction - target
    value = float(ops_of(difference).xp.vdot(difference, difference)) / difference.size
    difference *= 2 / difference.size
    return value, difference


def binary_cross_entropy(logits: Array, target: Array) -> tuple[float, Array]:
    """Of sigmoid(logits) against targets in 0..1, in nats, the mean over all elements. Takes
    logits because the sigmoid's output rounds to 0 and 1."""
    same_shape(logits, target)
    xp = ops_of(logits).xp
    logits = xp.clip(logits, -1e30, 1e30)  # the sum of larger ones would overflow in float32
    value = xp.maximum(logits, 0) - logits * target + xp.log1p(xp.exp(-xp.abs(logits)))
    gradient = sigmoid(logits)[0] - target
    gradient /= logits.size
    return float(value.mean()), gradient


def cross_entropy(logits: Array, target: Array) -> tuple[float, Array]:
    """Of softmax(logits) against one-hot (or soft) targets, in nats, the mean over samples.

    Both (..., classes). Takes logits: the difference from log-sum-exp has no overflow.
    """
    same_shape(logits, target)
    xp = ops_of(logits).xp
    shifted = below_largest(logits)
    exponential = xp.exp(shifted)
    total = exponential.sum(axis=-1, keepdims=True)
    samples = logits.size // logits.shape[-1]
    value = float((target * (xp.log(total) - shifted)).sum()) / samples
    weight = target.sum(axis=-1, keepdims=True)
    gradient = (exponential / total * weight - target) / logits.dtype.type(samples)
    return value, gradient


def sparse_cross_entropy(logits: Array, target: Array) -> tuple[float, Array]:
    """`cross_entropy` against the classes' numbers, whole numbers of shape (...).

    logits: (..., classes). Raises ValueError for shapes that do not fit and for numbers that are
    of no class.
    """
    if not logits.ndim or target.shape != logits.shape[:-1]:
        raise ValueError(f"a prediction of shape {logits.shape} against {target.shape}")
    check_classes(target, logits.shape[-1])
    numbers = ops_of(logits).xp.arange(logits.shape[-1])
    return cross_entropy(logits, (target[..., None] == numbers).astype(logits.dtype))


def check_classes(numbers: Array, count: int) -> None:
    """Raises ValueError unless all are numbers of one of `count` classes."""
    known = 0.0
    if numbers.dtype.kind in "biuf":
        whole = numbers == ops_of(numbers).xp.floor(numbers)
        known = float((whole & (numbers >= 0) & (numbers < count)).sum())
    if known != numbers.size:
        raise ValueError(f"classes are whole numbers from 0 to {count - 1}")


def same_shape(prediction: Array, target: Array) -> None:
    """Raises ValueError where the two differ: broadcasting would hide it."""
    if prediction.shape != target.shape:
        raise ValueError(f"a prediction of shape {prediction.shape} against {target.shape}")


class Objective(NamedTuple):
    """A loss as a model is trained with it: for its last layer's outputs or, where `activation`
    is given, for what that activation is applied to."""

    loss: Loss
    activation: str | None = None


OBJECTIVES: dict[str, Objective] = {
    "mse": Objective(mean_squared_error),
    "binary_crossentropy": Objective(binary_cross_entropy, "sigmoid"),
    "categorical_crossentropy": Objective(cross_entropy, "softmax"),
    "sparse_categorical_crossentropy": Objective(sparse_cross_entropy, "softmax"),
}
"""By the names that a model is compiled with."""
