"""Losses: `loss(prediction, target)` returns `(value, gradient of the prediction)`; the value is
the mean over all samples, as a float."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aezip.nn.activations import sigmoid
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
    shifted = logits - logits.max(axis=-1, keepdims=True)
    exponential = xp.exp(shifted)
    total = exponential.sum(axis=-1, keepdims=True)
    samples = logits.size // logits.shape[-1]
    value = float((target * (xp.log(total) - shifted)).sum()) / samples
    weight = target.sum(axis=-1, keepdims=True)
    gradient = (exponential / total * weight - target) / logits.dtype.type(samples)
    return value, gradient


def sparse_cross_entropy(logits: Array, target: Array) -> tuple[float, Array]:
    """`cross_entropy` against the classes' numbers, whole numbers of shape (n,).

    logits: (n, classes). Raises ValueError for shapes that do not fit and for numbers that are of
    no class.
    """
    xp = ops_of(logits).xp
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise ValueError(f"a prediction of shape {logits.shape} against {target.shape}")
    numbers = xp.arange(logits.shape[1])
    one_hot = (target[:, None] == numbers).astype(logits.dtype)
    if float(one_hot.sum()) != len(target):
        raise ValueError(f"classes are whole numbers from 0 to {logits.shape[1] - 1}")
    return cross_entropy(logits, one_hot)


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
