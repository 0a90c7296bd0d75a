from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
from gradients import check_gradients

from aezip.nn import clipped_relu, leaky_relu, linear, relu, sigmoid, softmax, tanh

ACTIVATIONS = {
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "leaky_relu 0.3": partial(leaky_relu, slope=0.3),
    "clipped_relu": partial(clipped_relu, limit=0.7),
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
}


def samples(shape=(3, 2, 8)):
    """Values on both sides of all kinks (0 and 0.7), and none within 0.01 of them."""
    x = np.random.default_rng(0).normal(scale=1.5, size=shape)
    for kink in (0, 0.7):
        x = np.where(abs(x - kink) < 0.01, kink + 0.1, x)
    return x


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_are_central_differences(name):
    check_gradients(ACTIVATIONS[name], samples())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_is_pytorchs(name):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    references = {
        "linear": lambda x: x * 1,
        "relu": functional.relu,
        "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
        "leaky_relu 0.3": lambda x: functional.leaky_relu(x, 0.3),
        "clipped_relu": lambda x: functional.hardtanh(x, 0, 0.7),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softmax": lambda x: functional.softmax(x, dim=-1),
    }
    x = samples()
    x[0, 0, :4] = [0, 0.7, -30, 30]  # the kinks too, and tails
    tensor = torch.tensor(x, requires_grad=True)
    y, backprop = ACTIVATIONS[name](x)
    expected = references[name](tensor)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12)
    dy = np.random.default_rng(1).normal(size=x.shape)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(backprop(dy), tensor.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scalar", [float, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_stays_float32(name, scalar):
    activation = ACTIVATIONS[name]
    if isinstance(activation, partial):
        keywords = {key: scalar(value) for key, value in activation.keywords.items()}
        activation = partial(activation.func, **keywords)
    y, backprop = activation(samples().astype(np.float32))
    assert y.dtype == np.float32
    assert backprop(np.ones_like(y)).dtype == np.float32


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.7])
def test_clipped_relu_in_float32_passes_no_gradient_at_its_limit(limit):
    # 0.3 and 0.7 round up and down in float32, so that y < limit would not do.
    y, backprop = clipped_relu(np.array([5, 0.05, -1], np.float32), limit)
    np.testing.assert_array_equal(y, np.array([limit, 0.05, 0], np.float32))
    np.testing.assert_array_equal(backprop(np.ones_like(y)), [0, 1, 0])


def far(dtype=np.float32):
    return np.array([[-1e4, 0, 1e4], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_warning_far_from_zero(name, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, backprop = ACTIVATIONS[name](far(dtype))
        dx = backprop(np.ones_like(y))
    assert np.isfinite(y).all() and np.isfinite(dx).all()


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "tanh"])
def test_no_warning_at_the_ends_of_float32(name):
    ends = np.float32(np.finfo(np.float32).max) * np.array([[1, -1, 0], [-1, -1, -1]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, backprop = ACTIVATIONS[name](ends)
        dx = backprop(np.ones_like(y))
    assert np.isfinite(y).all() and np.isfinite(dx).all()


def test_limits_of_sigmoid():
    y, backprop = sigmoid(far())
    np.testing.assert_array_equal(y, [[0, 0.5, 1], [1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(backprop(np.ones_like(y)), [[0, 0.25, 0], [0] * 3, [0] * 3])


def test_sigmoid_keeps_its_small_values():
    y, _ = sigmoid(np.array([-80, -20, -5], np.float32))
    np.testing.assert_allclose(y, [1.804851e-35, 2.061154e-9, 6.692851e-3], rtol=1e-6)


def test_limits_of_softmax():
    y, backprop = softmax(far())
    expected = np.array([[0, 0, 1], [0.5, 0.5, 0], [1 / 3] * 3], np.float32)
    np.testing.assert_array_equal(y, expected)
    dx = backprop(np.array([[1, 2, 3]] * 3, np.float32))
    expected_dx = [[0, 0, 0], [-0.25, 0.25, 0], [-1 / 3, 0, 1 / 3]]
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-6, atol=1e-6)
