"""Backends that are neither NumPy nor CuPy, to see without a GPU that arrays stay where they are.

`Foreign` arrays refuse NumPy altogether, `Dispatching` ones follow CuPy: NumPy's functions are
computed where the arrays live (NEP 13, NEP 18), if no array of NumPy is among them.
"""

from __future__ import annotations

import operator
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np


class Foreign:
    """An array that lives elsewhere: it computes with its like and with scalars, NumPy's functions
    and arrays refuse it. `seen` collects the dtypes of all results."""

    __array_ufunc__ = None
    seen: ClassVar[set[np.dtype]] = set()

    def __init__(self, data):
        self.data = np.asarray(data)
        Foreign.seen.add(self.data.dtype)

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array")

    def __array_function__(self, *args):
        return NotImplemented

    def get(self):
        return self.data

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    dtype = property(lambda self: self.data.dtype)
    T = property(lambda self: type(self)(self.data.T))

    def __float__(self):
        return float(self.data)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, key):
        return type(self)(self.data[unwrap(key)])

    def __setitem__(self, key, value):
        self.data[unwrap(key)] = unwrap(value)


class Dispatching(Foreign):
    """An array that NumPy's functions hand over to, as they do to one of CuPy."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return computed(type(self), getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return computed(type(self), function, args, kwargs)


def unwrap(x):
    if isinstance(x, np.ndarray):
        raise TypeError("an array of NumPy among foreign ones")
    if isinstance(x, tuple | list):
        return type(x)(unwrap(item) for item in x)
    return x.data if isinstance(x, Foreign) else x


def computed(kind, function, args, kwargs):
    result = function(*map(unwrap, args), **{k: unwrap(v) for k, v in kwargs.items()})
    return kind(result) if isinstance(result, np.ndarray | np.generic) else result


def _method(function):
    return lambda self, *args, **kwargs: computed(type(self), function, (self, *args), kwargs)


def _in_place(function):
    def call(self, other):
        function(self.data, unwrap(other))
        return self

    return call


for _name in ("add", "sub", "mul", "truediv", "matmul", "and_", "or_"):
    _plain, _function = _name.strip("_"), getattr(operator, _name)
    setattr(Foreign, f"__{_plain}__", _method(_function))
    setattr(Foreign, f"__r{_plain}__", _method(lambda a, b, f=_function: f(b, a)))
    if _name != "matmul":
        setattr(Foreign, f"__i{_plain}__", _in_place(getattr(operator, f"i{_plain}")))
for _name in ("gt", "ge", "lt", "le", "eq", "neg", "invert"):
    setattr(Foreign, f"__{_name}__", _method(getattr(operator, _name)))
for _name in ("reshape", "transpose", "copy", "sum", "mean", "max", "astype"):
    setattr(Foreign, _name, _method(getattr(np.ndarray, _name)))


class ForeignModule(ModuleType):
    """NumPy's functions by NumPy's names, for foreign arrays of a kind."""

    def __init__(self, kind):
        super().__init__("foreign_arrays")
        self.kind = kind
        windows = np.lib.stride_tricks.sliding_window_view
        self.lib = SimpleNamespace(
            stride_tricks=SimpleNamespace(sliding_window_view=self._wrapped(windows))
        )

    def __getattr__(self, name):
        return self._wrapped(getattr(np, name))

    def _wrapped(self, function):
        return lambda *args, **kwargs: computed(self.kind, function, args, kwargs)

    def asarray(self, x, dtype=None):
        return self.kind(np.asarray(x.data if isinstance(x, Foreign) else x, dtype=dtype))
