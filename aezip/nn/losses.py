"""Losses: `loss(prediction, target)` returns `(value, gradient of the prediction)`; the value is
the mean over all samples, as a float."""

from __future__ import annotations

from aezip.nn.ops import Array, ops_of


def mean_squared_error(prediction: Array, target: Array) -> tuple[float, Array]:
    """Mean of the squared differences over all elements. Both of one shape."""
    _same_shape(prediction, target)
    difference = prediction - target
    value = float((difference * difference).mean())
    return value, difference * prediction.dtype.type(2 / difference.size)


def binary_cross_entropy(logits: Array, target: Array) -> tuple[float, Array]:
    """Of sigmoid(logits) against targets in 0..1, in nats, the mean over all elements. Takes
    logits because the sigmoid's output rounds to 0 and 1."""
    _same_shape(logits, target)
    xp = ops_of(logits).xp
    small = xp.exp(-xp.abs(logits))
    value = xp.maximum(logits, 0) - logits * target + xp.log1p(small)
    probability = xp.where(logits >= 0, 1, small) / (1 + small)
    return float(value.mean()), (probability - target) / logits.dtype.type(logits.size)


def cross_entropy(logits: Array, target: Array) -> tuple[float, Array]:
    """Of softmax(logits) against one-hot (or soft) targets, in nats, the mean over samples.

    Both (..., classes). Takes logits: the difference from log-sum-exp has no overflow.
    """
    _same_shape(logits, target)
    xp = ops_of(logits).xp
    shifted = logits - logits.max(axis=-1, keepdims=True)
    exponential = xp.exp(shifted)
    total = exponential.sum(axis=-1, keepdims=True)
    samples = logits.size // logits.shape[-1]
    value = float((target * (xp.log(total) - shifted)).sum()) / samples
    weight = target.sum(axis=-1, keepdims=True)
    gradient = (exponential / total * weight - target) / logits.dtype.type(samples)
    return value, gradient


def _same_shape(prediction: Array, target: Array) -> None:
    if prediction.shape != target.shape:
        raise ValueError(f"a prediction of shape {prediction.shape} against {target.shape}")
