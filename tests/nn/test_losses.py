from __future__ import annotations

import warnings

import numpy as np
import pytest
from gradients import numeric_gradient, relative_error

from aezip.nn import (
    binary_cross_entropy,
    cross_entropy,
    mean_squared_error,
    sparse_cross_entropy,
)

LOSSES = [mean_squared_error, binary_cross_entropy, cross_entropy]
SHAPES = [(5,), (4, 3), (2, 3, 4)]


def samples(loss, shape):
    """A prediction and a target that suits the loss."""
    rng = np.random.default_rng(0)
    prediction = rng.normal(scale=2, size=shape)
    if loss is mean_squared_error:
        return prediction, rng.normal(size=shape)
    target = rng.uniform(size=shape)
    if loss is cross_entropy:
        target /= target.sum(axis=-1, keepdims=True)
    return prediction, target


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_central_differences(loss, shape):
    prediction, target = samples(loss, shape)
    before = prediction.copy(), target.copy()
    value, gradient = loss(prediction, target)
    assert type(value) is float
    expected = numeric_gradient(lambda p: loss(p, target)[0], prediction)
    assert relative_error(gradient, expected) < 1e-6
    np.testing.assert_array_equal(prediction, before[0])
    np.testing.assert_array_equal(target, before[1])


def test_gradient_of_cross_entropy_with_targets_that_do_not_sum_to_one():
    # Weights of samples: a target may be scaled.
    prediction, target = samples(cross_entropy, (4, 3))
    target *= np.array([[0], [0.5], [1], [3]])
    _, gradient = cross_entropy(prediction, target)
    expected = numeric_gradient(lambda p: cross_entropy(p, target)[0], prediction)
    assert relative_error(gradient, expected) < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_is_pytorchs(loss, shape):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    prediction, target = samples(loss, shape)
    tensor, aim = torch.tensor(prediction, requires_grad=True), torch.tensor(target)
    if loss is mean_squared_error:
        expected = functional.mse_loss(tensor, aim)
    elif loss is binary_cross_entropy:
        expected = functional.binary_cross_entropy_with_logits(tensor, aim)
    else:
        classes = shape[-1]
        expected = functional.cross_entropy(tensor.reshape(-1, classes), aim.reshape(-1, classes))
    expected.backward()
    value, gradient = loss(prediction, target)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_stays_float32(loss):
    prediction, target = samples(loss, (4, 3))
    value, gradient = loss(prediction.astype(np.float32), target.astype(np.float32))
    assert gradient.dtype == np.float32
    assert value == pytest.approx(loss(prediction, target)[0], rel=1e-5)


@pytest.mark.parametrize("shape", [(3, 1), (3,), (1, 3), (4, 3)])
@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_that_differ_are_named(loss, shape):
    with pytest.raises(ValueError) as error:
        loss(np.zeros((3, 3)), np.zeros(shape))
    assert "(3, 3)" in str(error.value) and str(shape) in str(error.value)


def test_mean_squared_error_by_hand():
    value, gradient = mean_squared_error(np.array([1.0, 2.0]), np.array([0.0, 5.0]))
    assert value == 5
    np.testing.assert_array_equal(gradient, [1, -3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_far_from_zero(dtype):
    logits = np.array([-1e4, 1e4, 0, 0], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right, gradient = binary_cross_entropy(logits, np.array([0, 1, 0, 1], dtype))
        wrong, wrong_gradient = binary_cross_entropy(logits, np.array([1, 0, 0, 1], dtype))
    assert right == pytest.approx(2 * np.log(2) / 4, rel=1e-6)
    np.testing.assert_array_equal(gradient, [0, 0, 0.125, -0.125])
    assert wrong == pytest.approx((2e4 + 2 * np.log(2)) / 4, rel=1e-6)
    np.testing.assert_array_equal(wrong_gradient, [-0.25, 0.25, 0.125, -0.125])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_far_from_zero(dtype):
    logits = np.array([[1e4, -1e4, 0], [1e4, 1e4, -1e4]], dtype)
    low = np.array([[-1e4, -1e4], [1e4, 1e4]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right, gradient = cross_entropy(logits, np.array([[1, 0, 0], [0, 1, 0]], dtype))
        wrong, wrong_gradient = cross_entropy(logits, np.array([[0, 1, 0], [0, 0, 1]], dtype))
        even, even_gradient = cross_entropy(low, np.eye(2, dtype=dtype))
    assert right == pytest.approx(np.log(2) / 2, rel=1e-6)
    np.testing.assert_array_equal(gradient, [[0, 0, 0], [0.25, -0.25, 0]])
    assert wrong == pytest.approx(2e4 + np.log(2) / 2, rel=1e-6)
    np.testing.assert_array_equal(wrong_gradient, [[0.5, -0.5, 0], [0.25, 0.25, -0.5]])
    assert even == pytest.approx(np.log(2), rel=1e-6)
    np.testing.assert_array_equal(even_gradient, [[-0.25, 0.25], [0.25, -0.25]])


@pytest.mark.parametrize("loss", [binary_cross_entropy, cross_entropy])
def test_no_warning_at_the_ends_of_float32(loss):
    ends = np.float32(np.finfo(np.float32).max) * np.array([[1, -1, 0], [-1, -1, -1]], np.float32)
    right = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, gradient = loss(ends, right)
        wrong, wrong_gradient = loss(ends, np.array([[0, 1, 0], [1, 1, 0]], np.float32))
    assert 0 <= value < wrong < np.inf
    assert np.isfinite(gradient).all() and np.isfinite(wrong_gradient).all()


def test_binary_cross_entropy_keeps_its_small_values():
    # log1p: log(1 + 2e-9) is 0 in float32.
    value, _ = binary_cross_entropy(np.array([20], np.float32), np.array([1], np.float32))
    assert value == pytest.approx(2.061154e-9, rel=1e-5)


def test_sparse_cross_entropy_is_that_of_one_hot_targets():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    classes = np.array([0, 2, 2, 1, 0])
    value, gradient = sparse_cross_entropy(logits, classes)
    expected, expected_gradient = cross_entropy(logits, np.eye(3)[classes])
    assert value == expected
    np.testing.assert_array_equal(gradient, expected_gradient)


def test_sparse_cross_entropy_of_several_axes():
    logits = np.random.default_rng(0).normal(size=(2, 4, 3))
    classes = np.array([[0, 2, 2, 1], [1, 0, 2, 0]], np.uint8)
    value, _ = sparse_cross_entropy(logits, classes)
    assert value == pytest.approx(cross_entropy(logits, np.eye(3)[classes])[0])


@pytest.mark.parametrize("classes", [[0, 3], [-1, 0], [0, 0.5], [0, np.nan], ["0", "1"]])
def test_numbers_that_are_no_class_are_refused(classes):
    with pytest.raises(ValueError, match="from 0 to 2"):
        sparse_cross_entropy(np.zeros((2, 3)), np.array(classes))


@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 3), ()])
def test_sparse_cross_entropy_names_shapes_that_do_not_fit(shape):
    with pytest.raises(ValueError) as error:
        sparse_cross_entropy(np.zeros((2, 3)), np.zeros(shape))
    assert "(2, 3)" in str(error.value) and str(shape) in str(error.value)
