"""The array backend: which module computes, and the few operations whose form depends on it.

Layers ask `ops_of(x)` for the backend of the arrays they were given and are otherwise written
once. Arrays of NumPy are computed by NumPy, arrays of CuPy by CuPy on its GPU.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""An array of NumPy or of CuPy: one type to the layers, which name shapes and dtypes instead."""


class Ops:
    """A backend: `xp` is the module with NumPy's names; the methods are what differs."""

    def __init__(self, xp: ModuleType) -> None:
        self.xp = xp

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """`x` as an array of this backend, moved there if need be."""
        return self.xp.asarray(x, dtype=dtype)

    def to_host(self, x: Array) -> np.ndarray:
        """`x` as a NumPy array."""
        return x if isinstance(x, np.ndarray) else x.get()

    def windows(self, x: Array, size: tuple[int, int], stride: tuple[int, int]) -> Array:
        """All windows of a padded batch of images as a view, nothing copied.

        x: (n, h, w, c). Returns (n, rows, columns, size[0], size[1], c).
        """
        view = self.xp.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
        return view[:, :: stride[0], :: stride[1]].transpose(0, 1, 2, 4, 5, 3)


NUMPY = Ops(np)


def ops_of(x: Array) -> Ops:
    """The backend that holds `x`."""
    if isinstance(x, np.ndarray | np.generic):
        return NUMPY
    module = sys.modules.get(type(x).__module__.partition(".")[0])
    if module is None or not hasattr(module, "asarray"):
        raise TypeError(f"{type(x).__name__} is not an array of a known backend")
    return Ops(module)
