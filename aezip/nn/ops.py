"""The array backend: which module computes, and the few operations whose form depends on it.

Layers ask `ops_of(x)` for the backend of the arrays they were given and are otherwise written
once. Arrays of NumPy are computed by NumPy, arrays of CuPy by CuPy on its GPU. What starts a
computation asks `ops_for(device)` and moves its arrays there.
"""

from __future__ import annotations

import sys
from types import EllipsisType, ModuleType
from typing import Any

import numpy as np

Array = Any
"""An array of NumPy or of CuPy: one type to the layers, which name shapes and dtypes instead."""

DEVICES = ("cpu", "cuda")

_CACHED = 3 << 13  # elements: parameter, gradient, state and scratch fit in an L2 cache of 1 MB


class DeviceError(RuntimeError):
    """The device that was asked for is not there; the message says what is lacking."""


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

    def blocks(self, x: Array) -> list[slice | EllipsisType]:
        """Indices that cut `x` along its first axis, for arithmetic element by element.

        A processor is several times faster on blocks that stay in its cache; a GPU is slower,
        since it pays for each call.
        """
        if self.xp is not np or x.size <= _CACHED:
            return [...]
        rows = max(1, _CACHED * len(x) // x.size)
        return [slice(start, start + rows) for start in range(0, len(x), rows)]


NUMPY = Ops(np)

_NUMPYS = (np.ndarray, np.generic)


def ops_of(x: Array) -> Ops:
    """The backend that holds `x`."""
    if isinstance(x, _NUMPYS):
        return NUMPY
    module = sys.modules.get(type(x).__module__.partition(".")[0])
    if module is None or not hasattr(module, "asarray"):
        raise TypeError(f"{type(x).__name__} is not an array of a known backend")
    return Ops(module)


def ops_for(device: str) -> Ops:
    """The backend that computes on "cpu", or on "cuda", an NVIDIA GPU.

    Raises DeviceError where it cannot, ValueError for another name.
    """
    if device == "cpu":
        return NUMPY
    if device != "cuda":
        raise ValueError(f"there is no device {device!r}; there are {', '.join(DEVICES)}")
    try:
        import cupy
    except ImportError as error:
        raise DeviceError("cuda needs CuPy: pip install 'aezip[cuda]'") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"CuPy finds no NVIDIA GPU: {error}") from error
    if not count:
        raise DeviceError("CuPy finds no NVIDIA GPU")
    return Ops(cupy)
