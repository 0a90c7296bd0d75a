from __future__ import annotations

from functools import partial
from math import ceil

import numpy as np
import pytest
from gradients import as_tuple, check_gradients
from hypothesis import given
from hypothesis import strategies as st

from aezip.nn import (
    avg_pool2d,
    conv2d,
    conv2d_transpose,
    dense,
    depth_to_space,
    dropout,
    max_pool2d,
    pad_edges,
    reshape,
    same_padding,
    space_to_depth,
)

# Of convolutions: images, kernel height and width, stride, padding. Odd sizes, kernels that are
# not square, strides that leave rows and columns over or skip some, padding on one side only.
CONVOLUTIONS = {
    "plain": ((2, 5, 6), (3, 3), (1, 1), ((0, 0), (0, 0))),
    "1x1": ((2, 3, 4), (1, 1), (1, 1), ((0, 0), (0, 0))),
    "padded": ((1, 4, 5), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "not square": ((2, 5, 7), (2, 5), (1, 1), ((1, 0), (2, 2))),
    "stride": ((2, 7, 6), (3, 2), (2, 2), ((0, 0), (0, 0))),
    "leftovers": ((1, 8, 9), (3, 3), (3, 4), ((0, 0), (0, 0))),
    "two strides": ((1, 7, 5), (5, 3), (2, 1), ((2, 1), (0, 3))),
    "stride beyond kernel": ((1, 7, 8), (2, 1), (3, 2), ((0, 1), (1, 0))),
    "kernel as large as the image": ((2, 3, 5), (3, 5), (1, 1), ((0, 0), (0, 0))),
    "one pixel": ((2, 1, 1), (3, 3), (2, 2), ((1, 1), (1, 1))),
}
TRANSPOSED = {
    "plain": ((2, 3, 4), (3, 3), (1, 1), ((0, 0), (0, 0))),
    "1x1": ((2, 3, 2), (1, 1), (1, 1), ((0, 0), (0, 0))),
    "twice the size": ((1, 3, 4), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "not square": ((2, 2, 3), (2, 5), (1, 1), ((1, 0), (2, 2))),
    "two strides": ((1, 3, 4), (5, 3), (2, 1), ((2, 1), (0, 3))),
    "stride beyond kernel": ((2, 3, 2), (2, 1), (3, 2), ((0, 1), (1, 0))),
    "one pixel": ((2, 1, 1), (3, 3), (2, 2), ((1, 1), (1, 1))),
}
# Of pooling: images with channels, window, stride, padding.
POOLINGS = {
    "plain": ((2, 4, 6, 3), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "leftovers": ((1, 5, 7, 2), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "overlapping": ((2, 7, 5, 2), (3, 3), (2, 2), ((0, 0), (0, 0))),
    "padded": ((1, 5, 6, 2), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "padded on one side": ((1, 5, 6, 2), (2, 3), (2, 1), ((1, 0), (0, 2))),
    "not square": ((2, 5, 7, 1), (1, 3), (1, 2), ((0, 0), (1, 1))),
    "gaps": ((1, 7, 8, 2), (2, 1), (3, 2), ((0, 0), (0, 0))),
    "the whole image": ((2, 3, 4, 2), (3, 4), (1, 1), ((0, 0), (0, 0))),
}
INPUTS, OUTPUTS = 2, 3

# Layers with the shapes of their arguments.
LAYERS = {
    "dense": (dense, (4, 3), (3, 5), (5,)),
    "dense without a bias": (dense, (4, 3), (3, 5)),
    "dense, one vector": (dense, (3,), (3, 5), (5,)),
    "dense, three axes": (dense, (2, 3, 4), (4, 2), (2,)),
    "dense, four axes": (dense, (2, 1, 3, 4), (4, 2), (2,)),
    "pad_edges by 0": (partial(pad_edges, margin=0), (2, 3, 4, 2)),
    "pad_edges by 1": (partial(pad_edges, margin=1), (2, 3, 4, 2)),
    "pad_edges by more than the image": (partial(pad_edges, margin=3), (1, 1, 2, 2)),
    "space_to_depth": (partial(space_to_depth, block=2), (2, 4, 6, 3)),
    "space_to_depth by 3": (partial(space_to_depth, block=3), (1, 3, 6, 2)),
    "depth_to_space": (partial(depth_to_space, block=2), (2, 2, 3, 12)),
    "depth_to_space by 3": (partial(depth_to_space, block=3), (1, 1, 2, 18)),
    "reshape": (lambda x: reshape(x, (len(x), 4, 3)), (2, 2, 3, 2)),
    "dropout": (lambda x: dropout(x, 0.4, np.random.default_rng(7)), (3, 5)),
}
for name, (size, kernel, stride, padding) in CONVOLUTIONS.items():
    layer = partial(conv2d, stride=stride, padding=padding)
    LAYERS[f"conv2d {name}"] = (layer, (*size, INPUTS), (*kernel, INPUTS, OUTPUTS), (OUTPUTS,))
for name, (size, kernel, stride, padding) in TRANSPOSED.items():
    layer = partial(conv2d_transpose, stride=stride, padding=padding)
    LAYERS[f"transpose {name}"] = (layer, (*size, INPUTS), (*kernel, OUTPUTS, INPUTS), (OUTPUTS,))
for name, (shape, size, stride, padding) in POOLINGS.items():
    for pool in (max_pool2d, avg_pool2d):
        layer = partial(pool, size=size, stride=stride, padding=padding)
        LAYERS[f"{pool.__name__} {name}"] = (layer, shape)
LAYERS["conv2d without a bias"] = (conv2d, (1, 3, 4, 2), (2, 2, 2, 3))
LAYERS["transpose without a bias"] = (conv2d_transpose, (1, 3, 4, 2), (2, 2, 3, 2))


def arrays(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected.detach().numpy(), rtol=1e-10, atol=1e-12)


def compare_with_torch(torch, layer, reference, *shapes):
    """Output and all gradients of `layer` against those of `reference`."""
    arguments = arrays(*shapes)
    tensors = [torch.tensor(a, requires_grad=True) for a in arguments]
    y, backprop = layer(*arguments)
    expected = reference(*tensors)
    assert_close(y, expected)
    (dy,) = arrays(y.shape, seed=1)
    expected.backward(torch.tensor(dy))
    for gradient, tensor in zip(as_tuple(backprop(dy)), tensors, strict=True):
        assert_close(gradient, tensor.grad)


# All layers.


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_central_differences(name):
    layer, *shapes = LAYERS[name]
    if name.endswith("without a bias"):
        layer = without_bias(layer)
    check_gradients(layer, *arrays(*shapes))


def without_bias(layer):
    def weights_alone(x, w):
        y, backprop = layer(x, w)

        def gradients(dy):
            dx, dw, db = backprop(dy)
            assert db is None
            return dx, dw

        return y, gradients

    return weights_alone


@pytest.mark.parametrize("name", LAYERS)
def test_float32_stays_float32(name):
    layer, *shapes = LAYERS[name]
    y, backprop = layer(*arrays(*shapes, dtype=np.float32))
    assert y.dtype == np.float32
    for gradient in as_tuple(backprop(np.ones_like(y))):
        assert gradient is None or gradient.dtype == np.float32


@pytest.mark.parametrize("name", [n for n in LAYERS if "one vector" not in n])
def test_an_empty_batch_passes(name):
    layer, x, *shapes = LAYERS[name]
    arguments = arrays((0, *x[1:]), *shapes)
    y, backprop = layer(*arguments)
    whole, _ = layer(*arrays(x, *shapes))
    assert y.shape == (0, *whole.shape[1:])
    for gradient, argument in zip(as_tuple(backprop(y)), arguments, strict=False):
        np.testing.assert_array_equal(gradient, np.zeros_like(argument))


@pytest.mark.parametrize(
    ("layer", "shapes", "named"),
    [
        (dense, [(4, 3), (2, 5)], [(4, 3), (2, 5)]),
        (dense, [(4, 3), (3,)], [(4, 3), (3,)]),
        (dense, [(), (3, 5)], [(), (3, 5)]),
        (dense, [(4, 3), (3, 5), (4,)], [(3, 5), (4,)]),
        (dense, [(4, 3), (3, 5), (1,)], [(3, 5), (1,)]),
        (conv2d, [(1, 5, 5, 2), (3, 3, 3, 2)], [(1, 5, 5, 2), (3, 3, 3, 2)]),
        (conv2d, [(5, 5, 2), (3, 3, 2, 2)], [(5, 5, 2), (3, 3, 2, 2)]),
        (conv2d, [(1, 5, 5, 3), (3, 3, 3)], [(1, 5, 5, 3), (3, 3, 3)]),
        (conv2d, [(1, 5, 2, 1), (3, 3, 1, 2)], [(1, 5, 2, 1), (3, 3, 1, 2)]),
        (conv2d, [(1, 2, 5, 1), (3, 3, 1, 2)], [(1, 2, 5, 1), (3, 3, 1, 2)]),
        (conv2d, [(1, 5, 5, 2), (3, 3, 2, 4), (1,)], [(3, 3, 2, 4), (1,)]),
        (conv2d, [(1, 5, 5, 2), (3, 3, 2, 4), (2,)], [(3, 3, 2, 4), (2,)]),
        (conv2d_transpose, [(1, 5, 5, 2), (3, 3, 2, 3)], [(1, 5, 5, 2), (3, 3, 2, 3)]),
        (conv2d_transpose, [(5, 5, 2), (3, 3, 2, 2)], [(5, 5, 2), (3, 3, 2, 2)]),
        (conv2d_transpose, [(1, 5, 5, 2), (3, 3, 4, 2), (1,)], [(3, 3, 4, 2), (1,)]),
        (conv2d_transpose, [(1, 5, 5, 2), (3, 3, 4, 2), (2,)], [(3, 3, 4, 2), (2,)]),
        (
            partial(conv2d_transpose, padding=((0, 0), (3, 2))),
            [(1, 4, 3, 2), (3, 3, 1, 2)],
            [((0, 0), (3, 2)), (1, 6, 5, 1)],
        ),
        (
            partial(conv2d_transpose, padding=((3, 4), (0, 0))),
            [(1, 4, 3, 2), (3, 3, 1, 2)],
            [((3, 4), (0, 0)), (1, 6, 5, 1)],
        ),
        (partial(max_pool2d, size=(2, 2), stride=(2, 2)), [(5, 5, 2)], [(5, 5, 2), (2, 2)]),
        (partial(max_pool2d, size=(2, 3), stride=(1, 1)), [(1, 2, 2, 1)], [(1, 2, 2, 1), (2, 3)]),
        (partial(avg_pool2d, size=(4, 2), stride=(1, 1)), [(1, 3, 2, 1)], [(1, 3, 2, 1), (4, 2)]),
        (
            partial(avg_pool2d, size=(2, 2), stride=(1, 1), padding=((0, 0), (2, 0))),
            [(1, 3, 3, 1)],
            [((0, 0), (2, 0)), (2, 2)],
        ),
        (partial(space_to_depth, block=2), [(1, 4, 5, 1)], [(1, 4, 5, 1), (2, 2)]),
        (partial(space_to_depth, block=3), [(1, 4, 6, 1)], [(1, 4, 6, 1), (3, 3)]),
        (partial(space_to_depth, block=2), [(4, 4, 1)], [(4, 4, 1), (2, 2)]),
        (partial(depth_to_space, block=2), [(1, 4, 5, 6)], [(1, 4, 5, 6), (2, 2)]),
        (partial(depth_to_space, block=2), [(4, 5, 4)], [(4, 5, 4), (2, 2)]),
    ],
)
def test_shapes_that_do_not_fit_are_named(layer, shapes, named):
    with pytest.raises(ValueError) as error:
        layer(*arrays(*shapes))
    for shape in named:
        assert str(shape) in str(error.value)


# Dense.


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 3), (2, 1, 4, 3)])
def test_dense_is_pytorchs_linear(torch, shape):
    def reference(x, w, b):
        return torch.nn.functional.linear(x, w.T, b)

    compare_with_torch(torch, dense, reference, shape, (3, 5), (5,))


# Convolutions.


def torch_convolution(torch, stride, padding):
    (top, bottom), (left, right) = padding

    def reference(x, w, b):
        padded = torch.nn.functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
        y = torch.nn.functional.conv2d(padded, w.permute(3, 2, 0, 1), b, stride)
        return y.permute(0, 2, 3, 1)

    return reference


def torch_transposed_convolution(torch, stride, padding):
    (top, bottom), (left, right) = padding

    def reference(x, w, b):
        y = torch.nn.functional.conv_transpose2d(
            x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), b, stride
        )
        y = y.permute(0, 2, 3, 1)
        return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]

    return reference


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d_is_pytorchs(torch, name):
    _, _, stride, padding = CONVOLUTIONS[name]
    layer, *shapes = LAYERS[f"conv2d {name}"]
    compare_with_torch(torch, layer, torch_convolution(torch, stride, padding), *shapes)


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv2d_transpose_is_pytorchs(torch, name):
    _, _, stride, padding = TRANSPOSED[name]
    layer, *shapes = LAYERS[f"transpose {name}"]
    reference = torch_transposed_convolution(torch, stride, padding)
    compare_with_torch(torch, layer, reference, *shapes)


def test_conv2d_by_hand():
    x = np.arange(12.0).reshape(1, 3, 4, 1)
    w = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    y, _ = conv2d(x, w, np.array([0.5]), stride=(1, 2))
    np.testing.assert_array_equal(y[0, :, :, 0], [[5410.5, 7632.5], [9854.5, 12076.5]])


def test_layers_take_views_and_transposed_arrays():
    x, w, b = arrays((2, 9, 7, 2), (3, 2, 3, 2), (3,))
    x, w = x[:, ::-1, ::2], w.transpose(1, 0, 3, 2)
    expected, expected_backprop = conv2d(x.copy(), np.ascontiguousarray(w), b)
    y, backprop = conv2d(x, w, b)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    (dy,) = arrays((*y.shape[:3][::-1], y.shape[3]))
    dy = dy.transpose(2, 1, 0, 3)
    for gradient, same in zip(backprop(dy), expected_backprop(dy.copy()), strict=True):
        np.testing.assert_allclose(gradient, same, rtol=1e-12)


def pairs(strategy):
    return st.tuples(strategy, strategy)


@given(
    size=pairs(st.integers(1, 40)),
    kernel=pairs(st.integers(1, 9)),
    stride=pairs(st.integers(1, 6)),
)
def test_same_padding_gives_size_over_stride_rounded_up(size, kernel, stride):
    padding = same_padding(size, kernel, stride)
    for before, after in padding:
        assert 0 <= before <= after <= before + 1
    x, w = np.zeros((1, *size, 1)), np.zeros((*kernel, 1, 1))
    y, _ = conv2d(x, w, stride=stride, padding=padding)
    assert y.shape == (1, ceil(size[0] / stride[0]), ceil(size[1] / stride[1]), 1)


@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    kernel=pairs(st.integers(1, 4)),
    stride=pairs(st.integers(1, 4)),
    padding=pairs(pairs(st.integers(0, 2))),
)
def test_conv2d_transpose_is_the_adjoint_of_conv2d(rows, columns, kernel, stride, padding):
    h = max((rows - 1) * stride[0] + kernel[0] - sum(padding[0]), 0)
    w = max((columns - 1) * stride[1] + kernel[1] - sum(padding[1]), 0)
    if h == 0 or w == 0:
        return
    x, y, kernels = arrays((2, h, w, 3), (2, rows, columns, 2), (*kernel, 3, 2))
    forward, backprop = conv2d(x, kernels, stride=stride, padding=padding)
    adjoint, adjoint_backprop = conv2d_transpose(y, kernels, stride=stride, padding=padding)
    assert forward.shape == y.shape and adjoint.shape == x.shape
    assert (forward * y).sum() == pytest.approx((x * adjoint).sum(), rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(backprop(y)[0], adjoint, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(adjoint_backprop(x)[0], forward, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", [dense, conv2d, conv2d_transpose])
def test_a_layer_of_data_leaves_out_the_gradient_of_the_data(layer):
    shapes = {
        dense: [(5, 3), (3, 4), (4,)],
        conv2d: [(2, 5, 6, 3), (3, 2, 3, 4), (4,)],
        conv2d_transpose: [(2, 5, 6, 3), (3, 2, 4, 3), (4,)],
    }
    x, w, b = arrays(*shapes[layer])
    y, backprop = layer(x, w, b)
    same, of_data = layer(x, w, b, of_data=True)
    np.testing.assert_array_equal(same, y)
    dx, dw, db = of_data(y)
    assert dx is None
    np.testing.assert_array_equal(dw, backprop(y)[1])
    np.testing.assert_array_equal(db, backprop(y)[2])


# Pooling.


@pytest.mark.parametrize("name", POOLINGS)
def test_max_pool2d_is_pytorchs(torch, name):
    shape, size, stride, padding = POOLINGS[name]
    (top, bottom), (left, right) = padding

    def reference(x):
        x = torch.nn.functional.pad(
            x.permute(0, 3, 1, 2), (left, right, top, bottom), value=-torch.inf
        )
        return torch.nn.functional.max_pool2d(x, size, stride).permute(0, 2, 3, 1)

    layer, _ = LAYERS[f"max_pool2d {name}"]
    compare_with_torch(torch, layer, reference, shape)


@pytest.mark.parametrize("name", POOLINGS)
def test_avg_pool2d_is_pytorchs(torch, name):
    shape, size, stride, padding = POOLINGS[name]
    (top, bottom), (left, right) = padding

    def reference(x):
        x = x.permute(0, 3, 1, 2)
        pads = (left, right, top, bottom)
        total, share = (
            torch.nn.functional.avg_pool2d(torch.nn.functional.pad(image, pads), size, stride)
            for image in (x, torch.ones_like(x))
        )
        return (total / share).permute(0, 2, 3, 1)

    layer, _ = LAYERS[f"avg_pool2d {name}"]
    compare_with_torch(torch, layer, reference, shape)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_of_equal_values_the_first_has_the_gradient(torch, value):
    # Of relu's zeros there are many; -1 is above the padding, too.
    x = np.full((1, 5, 5, 2), value)
    padding = ((1, 1), (1, 1))
    y, backprop = max_pool2d(x, (3, 3), stride=(2, 2), padding=padding)
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.max_pool2d(tensor.permute(0, 3, 1, 2), 3, 2, 1)
    assert_close(y, expected.permute(0, 2, 3, 1))
    expected.sum().backward()
    np.testing.assert_array_equal(backprop(np.ones_like(y))[0], tensor.grad.numpy()[0])


@given(
    size=pairs(st.integers(1, 9)),
    window=pairs(st.integers(1, 4)),
    stride=pairs(st.integers(1, 4)),
)
def test_pooling_with_same_padding_gives_size_over_stride_rounded_up(size, window, stride):
    x = -np.ones((1, *size, 1))
    padding = same_padding(size, window, stride)
    for pool in (max_pool2d, avg_pool2d):
        y, _ = pool(x, window, stride=stride, padding=padding)
        assert y.shape == (1, ceil(size[0] / stride[0]), ceil(size[1] / stride[1]), 1)
        np.testing.assert_allclose(y, -1)  # the padding is neither counted nor the largest


# Dropout.


def test_dropout_keeps_the_expectation_and_drops_its_share():
    x = np.ones((200, 500), np.float32)
    y, backprop = dropout(x, 0.3, np.random.default_rng(0))
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)
    assert y.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(backprop(x), y)  # the same elements


def test_dropout_of_nothing_changes_nothing():
    (x,) = arrays((4, 5))
    y, _ = dropout(x, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(y, x)


# Rearrangements.


@pytest.mark.parametrize(("size", "margin"), [((4, 5), 1), ((3, 2), 2), ((1, 3), 4)])
def test_pad_edges_is_pytorchs_replication(torch, size, margin):
    def reference(x):
        channels_first = x.permute(0, 3, 1, 2)
        y = torch.nn.functional.pad(channels_first, (margin,) * 4, mode="replicate")
        return y.permute(0, 2, 3, 1)

    compare_with_torch(torch, partial(pad_edges, margin=margin), reference, (2, *size, 3))


@pytest.mark.parametrize("block", [1, 2, 3])
def test_space_to_depth_is_pytorchs_pixel_unshuffle(torch, block):
    # PyTorch orders the new channels (c, row, column), we (row, column, c): channels of
    # neighbouring pixels stay together.
    def reference(x):
        n, h, w, c = x.shape
        y = torch.nn.functional.pixel_unshuffle(x.permute(0, 3, 1, 2), block)
        y = y.reshape(n, c, block * block, h // block, w // block)
        return y.permute(0, 3, 4, 2, 1).reshape(n, h // block, w // block, block * block * c)

    layer = partial(space_to_depth, block=block)
    compare_with_torch(torch, layer, reference, (2, 2 * block, 3 * block, 2))


@pytest.mark.parametrize("block", [1, 2, 3])
def test_depth_to_space_is_pytorchs_pixel_shuffle(torch, block):
    def reference(x):
        n, h, w, c = x.shape
        y = x.reshape(n, h, w, block * block, c // block**2).permute(0, 4, 3, 1, 2)
        return torch.nn.functional.pixel_shuffle(y.reshape(n, c, h, w), block).permute(0, 2, 3, 1)

    layer = partial(depth_to_space, block=block)
    compare_with_torch(torch, layer, reference, (2, 2, 3, 2 * block * block))


def test_space_to_depth_by_hand():
    x = np.arange(16).reshape(1, 2, 4, 2)
    y, _ = space_to_depth(x, 2)
    np.testing.assert_array_equal(
        y, [[[[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]]]
    )
    np.testing.assert_array_equal(depth_to_space(y, 2)[0], x)
