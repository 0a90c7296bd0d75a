"""Also that all of `aezip.nn` computes with the backend of the arrays it is given: one that is not
NumPy runs every layer, loss and optimizer."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
from foreign import Foreign
from gradients import as_tuple

from aezip import nn
from aezip.nn import NUMPY, DeviceError, ops_for, ops_of
from aezip.nn.optimizers import OPTIMIZERS

# NumPy.


def test_numpys_arrays_and_scalars_belong_to_numpy():
    class Subclass(np.ndarray):
        pass

    for x in (np.zeros(3), np.float32(3), np.zeros(3).view(Subclass)):
        assert ops_of(x) is NUMPY


@pytest.mark.parametrize("x", [[1.0, 2.0], 3.0, "text", None])
def test_other_types_are_refused_by_name(x):
    with pytest.raises(TypeError, match=type(x).__name__):
        ops_of(x)


def test_asarray_and_to_host():
    x = NUMPY.asarray([1, 2], np.float32)
    assert x.dtype == np.float32
    assert NUMPY.to_host(x) is x


@pytest.mark.parametrize(
    ("size", "stride"), [((1, 1), (1, 1)), ((3, 2), (1, 1)), ((2, 3), (3, 2)), ((5, 7), (2, 2))]
)
def test_windows(size, stride):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    windows = NUMPY.windows(x, size, stride)
    rows = (5 - size[0]) // stride[0] + 1
    columns = (7 - size[1]) // stride[1] + 1
    assert windows.shape == (2, rows, columns, *size, 3)
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride[0], column * stride[1]
            expected = x[:, top : top + size[0], left : left + size[1]]
            np.testing.assert_array_equal(windows[:, row, column], expected)
    assert np.shares_memory(windows, x)


# A foreign backend.


def test_a_foreign_array_belongs_to_its_module(foreign):
    x = foreign.asarray([1.0, 2.0])
    ops = ops_of(x)
    assert ops.xp is foreign
    assert isinstance(ops.asarray([3.0]), Foreign)
    host = ops.to_host(x)
    assert type(host) is np.ndarray
    np.testing.assert_array_equal(host, [1, 2])
    assert ops.to_host(host) is host


@pytest.mark.parametrize(
    "use",
    [
        np.exp,
        np.sum,
        np.asarray,
        lambda x: np.pad(x, 1),
        lambda x: np.where(x > 0, 1.0, 0.0),
        lambda x: np.zeros(2) + x,
        lambda x: x + np.zeros(2),
        lambda x: np.stack([x, x]),
    ],
)
def test_numpy_refuses_foreign_arrays(foreign, use):
    # What the tests below stand on.
    with pytest.raises(TypeError):
        use(foreign.asarray([1.0, 2.0]))


LAYERS = {
    "dense": (nn.dense, (2, 4, 3), (3, 5), (5,)),
    "conv2d": (
        partial(nn.conv2d, stride=(2, 1), padding=((1, 0), (1, 2))),
        *((2, 5, 6, 2), (3, 3, 2, 4), (4,)),
    ),
    "conv2d_transpose": (
        partial(nn.conv2d_transpose, stride=(2, 1), padding=((1, 0), (1, 1))),
        *((2, 5, 6, 2), (3, 3, 4, 2), (4,)),
    ),
    "max_pool2d": (
        partial(nn.max_pool2d, size=(2, 3), stride=(2, 2), padding=((1, 0), (1, 2))),
        (2, 5, 6, 2),
    ),
    "avg_pool2d": (
        partial(nn.avg_pool2d, size=(2, 3), stride=(2, 2), padding=((1, 0), (1, 2))),
        (2, 5, 6, 2),
    ),
    "dropout": (lambda x: nn.dropout(x, 0.3, np.random.default_rng(0)), (4, 5)),
    "reshape": (lambda x: nn.reshape(x, (4, 6)), (4, 2, 3)),
    "pad_edges": (partial(nn.pad_edges, margin=2), (2, 3, 4, 2)),
    "space_to_depth": (partial(nn.space_to_depth, block=2), (2, 4, 6, 3)),
    "depth_to_space": (partial(nn.depth_to_space, block=2), (2, 4, 6, 8)),
    "linear": (nn.linear, (4, 5)),
    "relu": (nn.relu, (4, 5)),
    "leaky_relu": (nn.leaky_relu, (4, 5)),
    "clipped_relu": (partial(nn.clipped_relu, limit=0.7), (4, 5)),
    "sigmoid": (nn.sigmoid, (4, 5)),
    "tanh": (nn.tanh, (4, 5)),
    "softmax": (nn.softmax, (4, 5)),
}


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def assert_same(actual, expected):
    assert isinstance(actual, Foreign)
    np.testing.assert_array_equal(actual.data, expected)


def assert_all_float32():
    """Nothing was promoted on the way either: that would cost time and memory."""
    assert Foreign.seen <= {np.dtype(np.float32), np.dtype(bool)}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_activations_compute_with_the_foreign_module(foreign, name):
    layer, *shapes = LAYERS[name]
    arguments = arrays(*shapes)
    expected, expected_backprop = layer(*arguments)
    y, backprop = layer(*map(foreign.asarray, arguments))
    assert_same(y, expected)
    (dy,) = arrays(expected.shape)
    gradients = as_tuple(backprop(foreign.asarray(dy)))
    for gradient, same in zip(gradients, as_tuple(expected_backprop(dy)), strict=True):
        assert_same(gradient, same)
    assert_all_float32()


@pytest.mark.parametrize(
    "loss", [nn.mean_squared_error, nn.binary_cross_entropy, nn.cross_entropy]
)
def test_losses_compute_with_the_foreign_module(foreign, loss):
    prediction, target = arrays((4, 3), (4, 3))
    target = abs(target)
    expected, expected_gradient = loss(prediction, target)
    value, gradient = loss(foreign.asarray(prediction), foreign.asarray(target))
    assert type(value) is float
    assert value == expected
    assert_same(gradient, expected_gradient)
    assert_all_float32()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_compute_with_the_foreign_module(foreign, name):
    parameter, gradient = arrays((4, 3), (4, 3))
    moved = foreign.asarray(parameter.copy())
    ours, theirs = OPTIMIZERS[name](), OPTIMIZERS[name]()
    for _ in range(3):
        ours.update({"w": parameter}, {"w": gradient}, np.float64(0.1))
        theirs.update({"w": moved}, {"w": foreign.asarray(gradient)}, np.float64(0.1))
    assert_same(moved, parameter)
    assert_all_float32()


def test_a_gpu_takes_its_arrays_whole(foreign):
    x = np.zeros(100_000)
    assert len(NUMPY.blocks(x)) > 1
    assert ops_of(foreign.asarray(x)).blocks(foreign.asarray(x)) == [...]


def test_classes_are_counted_with_the_foreign_module(foreign):
    logits = arrays((5, 3))[0]
    numbers = np.array([0, 2, 1, 1, 0])
    value, gradient = nn.sparse_cross_entropy(logits, numbers)
    moved = foreign.asarray(logits), foreign.asarray(numbers)
    same, foreign_gradient = nn.sparse_cross_entropy(*moved)
    assert same == value
    assert_same(foreign_gradient, gradient)
    assert nn.accuracy(*moved) == nn.accuracy(logits, numbers)


# Devices.


def test_cpu_is_numpy():
    assert ops_for("cpu") is NUMPY


def test_other_devices_are_refused_by_name():
    with pytest.raises(ValueError, match=r"'tpu'.*cpu, cuda"):
        ops_for("tpu")


def test_cuda_without_cupy_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # what an import of a missing module meets
    with pytest.raises(DeviceError, match=r"aezip\[cuda\]"):
        ops_for("cuda")


def cupy_or_skip():
    try:
        return ops_for("cuda")
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_activations_compute_on_a_gpu(name):
    ops = cupy_or_skip()
    layer, *shapes = LAYERS[name]
    arguments = arrays(*shapes)
    expected, expected_backprop = layer(*arguments)
    y, backprop = layer(*map(ops.asarray, arguments))
    assert isinstance(y, ops.xp.ndarray)
    np.testing.assert_allclose(ops.to_host(y), expected, rtol=1e-4, atol=1e-5)
    (dy,) = arrays(expected.shape)
    gradients = as_tuple(backprop(ops.asarray(dy)))
    for gradient, same in zip(gradients, as_tuple(expected_backprop(dy)), strict=True):
        np.testing.assert_allclose(ops.to_host(gradient), same, rtol=1e-4, atol=1e-5)
