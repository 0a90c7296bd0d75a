"""Metrics: `metric(prediction, target)` returns a float, the mean over all samples. They tell how
good a model is and, unlike losses, need no gradient."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from aezip.nn.losses import same_shape
from aezip.nn.ops import Array, ops_of

Metric = Callable[[Array, Array], float]


def accuracy(prediction: Array, target: Array) -> float:
    """The share of samples whose class is right.

    prediction: (n, classes), one number for each class, the largest of which is what is
    predicted; or (n, 1), where from 0.5 on the class is 1 and else 0.
    target: of the same shape, or the classes' numbers (n,).
    Raises ValueError where the shapes do not fit.
    """
    xp = ops_of(prediction).xp
    if prediction.ndim != 2:
        raise ValueError(f"predictions of shape {prediction.shape} are not of classes")
    if target.ndim == 1 and len(target) == len(prediction):
        classes = target
    else:
        same_shape(prediction, target)
        classes = _classes(xp, target)
    return float(xp.mean(_classes(xp, prediction) == classes))


def binary_accuracy(prediction: Array, target: Array) -> float:
    """The share of elements that are on the right side of 0.5, as many questions of yes or no are
    answered at once. Both of one shape.

    Raises ValueError where the shapes differ.
    """
    same_shape(prediction, target)
    return float(((prediction >= 0.5) == (target >= 0.5)).mean())


def mean_absolute_error(prediction: Array, target: Array) -> float:
    """The mean of the absolute differences over all elements. Both of one shape."""
    same_shape(prediction, target)
    return float(ops_of(prediction).xp.abs(prediction - target).mean())


def _classes(xp: ModuleType, x: Array) -> Array:
    return x[:, 0] >= 0.5 if x.shape[1] == 1 else xp.argmax(x, axis=1)


METRICS: dict[str, Metric] = {"accuracy": accuracy, "mae": mean_absolute_error}
"""By the names that a model is compiled with."""
