"""What the networks on image planes share: how their parameters begin, and evaluation in strips, so
that a photograph's hidden layers need not all be held at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_STRIP = 64  # rows at once: their patches stay in the cache


def start(
    shapes: Mapping[str, tuple[int, ...]], kernels: Collection[str], rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Parameters of these shapes: zero but for the named kernels, which are random.

    A kernel keeps the variance of what it is applied to; the residual blocks of a chain, all in one
    array, share it.
    """
    parameters = {k: np.zeros(s, np.float32) for k, s in shapes.items()}
    for name in kernels:
        w = parameters[name]
        w[:] = rng.normal(size=w.shape) / np.sqrt(np.prod(w.shape[:-1]))
    return parameters


def in_strips(
    network: Callable[[slice], Array], height: int, reach: int, strip: int = _STRIP
) -> Array:
    """The results (..., height, w) of a network that depend on rows up to `reach` away.

    `network(rows)` gives those of some rows from these rows alone. `reach` is even where the
    network takes rows in pairs; strip: rows at once.
    """
    parts = [network(around)[..., inside, :] for around, inside in _strips(height, reach, strip)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2)


def back_in_strips(
    back: Callable[[slice, slice], Array], x: Array, reach: int, strip: int = _STRIP
) -> Array:
    """The gradient by x (..., height, w) of a loss that is a sum over rows, each of which depends
    on rows of x up to `reach` away.

    `back(around, inside)` gives the gradient by the rows `around` of what the rows `inside` of
    those have of the loss.
    """
    total = np.zeros_like(x)
    for around, inside in _strips(x.shape[-2], reach, strip):
        total[..., around, :] += back(around, inside)
    return total


def _strips(height: int, reach: int, strip: int) -> Iterator[tuple[slice, slice]]:
    """Rows of an image in strips with what is around them, and where among these each lies."""
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        first, last = max(top - reach, 0), min(bottom + reach, height)
        yield slice(first, last), slice(top - first, bottom - first)
