"""Layers as a model is built of them: their settings, their shapes, how their parameters begin.

They hold no arrays. The model that owns the parameters hands them to `apply`, which calls the
functions of `layers` and `activations`. Shapes here are those of one sample, without the batch.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from aezip.nn import layers
from aezip.nn.activations import ACTIVATIONS
from aezip.nn.initializers import initial_weights
from aezip.nn.ops import Array

Shape = tuple[int, ...]
Parameters = dict[str, Array]
Backprop = Callable[[Array], tuple[Array | None, Parameters]]


@dataclass(frozen=True, kw_only=True)
class Layer(ABC):
    """input_shape: of one sample; a model's first layer may tell it, or leave it to the data.

    Settings that make no sense are refused with ValueError.
    """

    input_shape: Shape | None = None

    def __post_init__(self) -> None:
        if self.input_shape is not None:
            self._set(input_shape=as_shape(self.input_shape))

    def _set(self, **settings: Any) -> None:
        """Put settings in the form that is stored: Python's own numbers, and tuples."""
        for name, value in settings.items():
            object.__setattr__(self, name, value)  # frozen, but not before it is made

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """What becomes of samples of a shape. Raises ValueError where it cannot take them."""

    def parameter_shapes(self, shape: Shape) -> dict[str, Shape]:
        """The parameters for samples of a shape, by name."""
        return {}

    def initial(self, shape: Shape, rng: np.random.Generator) -> Parameters:
        """The parameters to start from: float32."""
        return {}

    @abstractmethod
    def apply(
        self,
        parameters: Parameters,
        x: Array,
        *,
        training: np.random.Generator | None = None,
        of_data: bool = False,
    ) -> tuple[Array, Backprop]:
        """The outputs for a batch (n, ...); backprop gives (dx, gradients of the parameters).

        training: where what is done at random in training draws from; None when it is over.
        of_data: x is data: its gradient is not wanted.
        """


class _Plain(Layer):
    """A layer without parameters."""

    def apply(
        self,
        parameters: Parameters,
        x: Array,
        *,
        training: np.random.Generator | None = None,
        of_data: bool = False,
    ) -> tuple[Array, Backprop]:
        y, backprop = self._function(x, training)
        return y, lambda dy: (backprop(dy), {})

    @abstractmethod
    def _function(
        self, x: Array, training: np.random.Generator | None
    ) -> tuple[Array, layers.Backprop]: ...


class _Weighted(Layer):
    """A layer of weights w, a bias b and an activation; None, as in Keras, is the linear one."""

    activation: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation is None:
            self._set(activation="linear")
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"there is no activation {self.activation!r}; there are {known}")

    def initial(self, shape: Shape, rng: np.random.Generator) -> Parameters:
        shapes = self.parameter_shapes(shape)
        w = initial_weights(shapes["w"], self._fans(shapes["w"]), self.activation, rng)
        return {"w": w, "b": np.zeros(shapes["b"], np.float32)}

    def apply(
        self,
        parameters: Parameters,
        x: Array,
        *,
        training: np.random.Generator | None = None,
        of_data: bool = False,
    ) -> tuple[Array, Backprop]:
        y, back = self._linear(parameters["w"], parameters["b"], x, of_data)
        y, activate = ACTIVATIONS[self.activation](y)

        def backprop(dy: Array) -> tuple[Array | None, Parameters]:
            dx, dw, db = back(activate(dy))
            return dx, {"w": dw, "b": db}

        return y, backprop

    @abstractmethod
    def _fans(self, weights: Shape) -> tuple[int, int]:
        """Inputs that each output is made of, and outputs that each input goes into (of a
        convolution: would go into at a stride of 1, which is how Keras and PyTorch count)."""

    @abstractmethod
    def _linear(
        self, w: Array, b: Array, x: Array, of_data: bool
    ) -> tuple[Array, layers.Backprop]: ...


@dataclass(frozen=True)
class Dense(_Weighted):
    """Fully connected, over the last axis: (..., inputs) to (..., units)."""

    units: int
    activation: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(units=_whole("units", self.units))

    def output_shape(self, shape: Shape) -> Shape:
        if not shape:
            raise ValueError("Dense takes samples of at least one axis, not of shape ()")
        return (*shape[:-1], self.units)

    def parameter_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"w": (shape[-1], self.units), "b": (self.units,)}

    def _fans(self, weights: Shape) -> tuple[int, int]:
        return weights[0], weights[1]

    def _linear(
        self, w: Array, b: Array, x: Array, of_data: bool
    ) -> tuple[Array, layers.Backprop]:
        return layers.dense(x, w, b, of_data=of_data)


@dataclass(frozen=True)
class Conv2D(_Weighted):
    """Convolution: (h, w, channels) to (rows, columns, filters).

    kernel_size, strides: one number, or (vertical, horizontal). padding: "valid", only whole
    windows, or "same", zeros around so that there are size / stride rows and columns, rounded up.
    """

    filters: int
    kernel_size: int | tuple[int, int]
    strides: int | tuple[int, int] = 1
    padding: str = "valid"
    activation: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(filters=_whole("filters", self.filters))
        self._set(kernel_size=_window("the size of a window", self.kernel_size))
        self._set(strides=_window("strides", self.strides))
        _check_padding(self.padding)

    def output_shape(self, shape: Shape) -> Shape:
        return (*_windows_of(self, shape, self.kernel_size, self.strides), self.filters)

    def parameter_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"w": (*_pair(self.kernel_size), shape[2], self.filters), "b": (self.filters,)}

    def _fans(self, weights: Shape) -> tuple[int, int]:
        kh, kw, inputs, outputs = weights
        return kh * kw * inputs, kh * kw * outputs

    def _linear(
        self, w: Array, b: Array, x: Array, of_data: bool
    ) -> tuple[Array, layers.Backprop]:
        stride = _pair(self.strides)
        padding = _padding(self.padding, x.shape[1:3], w.shape[:2], stride)
        return layers.conv2d(x, w, b, stride=stride, padding=padding, of_data=of_data)


@dataclass(frozen=True)
class Conv2DTranspose(_Weighted):
    """Transposed convolution: (rows, columns, channels) to (h, w, filters), the shape that
    `Conv2D` with the same settings makes (rows, columns) of; with "same", h is rows * stride."""

    filters: int
    kernel_size: int | tuple[int, int]
    strides: int | tuple[int, int] = 1
    padding: str = "valid"
    activation: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(filters=_whole("filters", self.filters))
        self._set(kernel_size=_window("the size of a window", self.kernel_size))
        self._set(strides=_window("strides", self.strides))
        _check_padding(self.padding)
        kernel, stride = _pair(self.kernel_size), _pair(self.strides)
        if self.padding == "same" and any(k < s for k, s in zip(kernel, stride, strict=True)):
            raise ValueError(f"a kernel of {kernel} leaves gaps between strides of {stride}")

    def output_shape(self, shape: Shape) -> Shape:
        _check_images(self, shape)
        kernel, stride = _pair(self.kernel_size), _pair(self.strides)
        more = (0, 0)
        if self.padding == "valid":
            more = kernel[0] - stride[0], kernel[1] - stride[1]
        rows, columns = (n * s + m for n, s, m in zip(shape[:2], stride, more, strict=True))
        return rows, columns, self.filters

    def parameter_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"w": (*_pair(self.kernel_size), self.filters, shape[2]), "b": (self.filters,)}

    def _fans(self, weights: Shape) -> tuple[int, int]:
        kh, kw, outputs, inputs = weights
        sy, sx = _pair(self.strides)
        # Of a kernel's places only every (sy * sx)-th meets an input.
        return max(kh * kw * inputs // (sy * sx), 1), kh * kw * outputs

    def _linear(
        self, w: Array, b: Array, x: Array, of_data: bool
    ) -> tuple[Array, layers.Backprop]:
        stride = _pair(self.strides)
        size = x.shape[1] * stride[0], x.shape[2] * stride[1]
        padding = _padding(self.padding, size, w.shape[:2], stride)
        return layers.conv2d_transpose(x, w, b, stride=stride, padding=padding, of_data=of_data)


@dataclass(frozen=True)
class _Pool(_Plain):
    """(h, w, channels) to (rows, columns, channels).

    pool_size, strides: one number, or (vertical, horizontal); strides are the window's size unless
    told otherwise. padding: as for `Conv2D`.
    """

    pool_size: int | tuple[int, int] = 2
    strides: int | tuple[int, int] | None = None
    padding: str = "valid"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(pool_size=_window("the size of a window", self.pool_size))
        if self.strides is not None:
            self._set(strides=_window("strides", self.strides))
        _check_padding(self.padding)

    @property
    def _strides(self) -> int | tuple[int, int]:
        return self.pool_size if self.strides is None else self.strides

    def output_shape(self, shape: Shape) -> Shape:
        return (*_windows_of(self, shape, self.pool_size, self._strides), shape[2])

    def _function(
        self, x: Array, training: np.random.Generator | None
    ) -> tuple[Array, layers.Backprop]:
        size, stride = _pair(self.pool_size), _pair(self._strides)
        padding = _padding(self.padding, x.shape[1:3], size, stride)
        return self._pool(x, size, stride, padding)

    @abstractmethod
    def _pool(
        self, x: Array, size: layers.Pair, stride: layers.Pair, padding: layers.Padding
    ) -> tuple[Array, layers.Backprop]: ...


class MaxPool2D(_Pool):
    """The largest value of each channel in each window."""

    def _pool(
        self, x: Array, size: layers.Pair, stride: layers.Pair, padding: layers.Padding
    ) -> tuple[Array, layers.Backprop]:
        return layers.max_pool2d(x, size, stride=stride, padding=padding)


class AvgPool2D(_Pool):
    """The mean of each channel in each window, of which padding is no part."""

    def _pool(
        self, x: Array, size: layers.Pair, stride: layers.Pair, padding: layers.Padding
    ) -> tuple[Array, layers.Backprop]:
        return layers.avg_pool2d(x, size, stride=stride, padding=padding)


@dataclass(frozen=True)
class Flatten(_Plain):
    """Each sample as a vector."""

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def _function(
        self, x: Array, training: np.random.Generator | None
    ) -> tuple[Array, layers.Backprop]:
        return layers.reshape(x, (len(x), math.prod(x.shape[1:])))


@dataclass(frozen=True)
class Reshape(_Plain):
    """Each sample in another shape with as many elements."""

    target_shape: Shape

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(target_shape=as_shape(self.target_shape))

    def output_shape(self, shape: Shape) -> Shape:
        if math.prod(shape) != math.prod(self.target_shape):
            raise ValueError(f"samples of shape {shape} do not reshape to {self.target_shape}")
        return self.target_shape

    def _function(
        self, x: Array, training: np.random.Generator | None
    ) -> tuple[Array, layers.Backprop]:
        return layers.reshape(x, (len(x), *self.target_shape))


@dataclass(frozen=True)
class Dropout(_Plain):
    """In training, sets a share of `rate` of the elements to zero and scales the others up."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rate, Real) or not 0 <= self.rate < 1:
            raise ValueError(f"the rate of Dropout is from 0 up to, not including, 1: {self.rate}")
        self._set(rate=float(self.rate))

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def _function(
        self, x: Array, training: np.random.Generator | None
    ) -> tuple[Array, layers.Backprop]:
        if training is None:
            return x, lambda dy: dy
        return layers.dropout(x, self.rate, training)


LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        Dense, Conv2D, Conv2DTranspose, MaxPool2D, AvgPool2D, Flatten, Reshape, Dropout,
    )
}  # fmt: skip
"""By the names that stored models give them."""


def as_shape(sizes: Any) -> Shape:
    """A tuple or list of sizes as a tuple of Python's ints.

    Raises ValueError for what is no shape: sizes are whole numbers from 1.
    """
    if not isinstance(sizes, tuple | list):
        raise ValueError(f"a shape is a tuple of whole numbers, not {sizes!r}")
    return tuple(_whole(f"the shape {tuple(sizes)}", n) for n in sizes)


def shapes_through(layers: Sequence[Layer], shape: Shape) -> list[Shape]:
    """Of a sample before the first of the layers and after each.

    Raises ValueError where a layer cannot take what comes, or has an `input_shape` that is another.
    """
    shapes = [as_shape(shape)]
    for layer in layers:
        before = shapes[-1]
        if layer.input_shape not in (None, before):
            kind = type(layer).__name__
            raise ValueError(
                f"{kind} with an input_shape of {layer.input_shape} is given samples of {before}"
            )
        shapes.append(layer.output_shape(before))
    return shapes


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _whole(name: str, number: Any) -> int:
    try:
        whole = operator.index(number)  # NumPy's whole numbers, too
    except TypeError:
        whole = 0
    if isinstance(number, bool) or whole < 1:
        raise ValueError(f"{name} takes whole numbers from 1, not {number!r}")
    return whole


def _window(name: str, value: Any) -> int | tuple[int, int]:
    if not isinstance(value, tuple | list):
        return _whole(name, value)
    if len(value) != 2:
        raise ValueError(f"{name} takes a number or a pair of numbers, not {value!r}")
    return _whole(name, value[0]), _whole(name, value[1])


def _check_padding(padding: Any) -> None:
    if padding not in ("valid", "same"):
        raise ValueError(f"padding is 'valid' or 'same', not {padding!r}")


def _check_images(layer: Any, shape: Shape) -> None:
    if len(shape) != 3:
        kind = type(layer).__name__
        raise ValueError(f"{kind} takes samples (height, width, channels), not of shape {shape}")


def _padding(
    padding: str, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]
) -> layers.Padding:
    return layers.same_padding(size, kernel, stride) if padding == "same" else ((0, 0), (0, 0))


def _windows_of(
    layer: Any, shape: Shape, size: int | tuple[int, int], strides: int | tuple[int, int]
) -> tuple[int, int]:
    """Rows and columns of windows in images of a shape."""
    _check_images(layer, shape)
    kernel, stride = _pair(size), _pair(strides)
    padding = _padding(layer.padding, (shape[0], shape[1]), kernel, stride)
    inside = [n + sum(pads) - k for n, pads, k in zip(shape[:2], padding, kernel, strict=True)]
    if min(inside) < 0:
        raise ValueError(f"samples of shape {shape} are smaller than windows of {kernel}")
    return inside[0] // stride[0] + 1, inside[1] // stride[1] + 1
