from __future__ import annotations

import numpy as np
import pytest

from aezip.nn import accuracy, binary_accuracy, mean_absolute_error

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])


@pytest.mark.parametrize("number", [int, float, np.uint8])
def test_accuracy_against_the_classes_numbers(number):
    assert accuracy(SCORES, np.array([1, 0, 0, 2], number)) == 0.5


def test_accuracy_against_one_hot_and_soft_targets():
    assert accuracy(SCORES, np.eye(3)[[1, 0, 2, 2]]) == 0.75
    assert accuracy(SCORES, SCORES) == 1.0


@pytest.mark.parametrize("target", [[1, 1, 0, 0], [[1], [1], [0], [0]]])
def test_accuracy_of_one_output_counts_from_a_half(target):
    prediction = np.array([[0.9], [0.5], [0.49], [0.8]], np.float32)
    assert accuracy(prediction, np.array(target)) == 0.75


@pytest.mark.parametrize("shape", [(3,), (4, 2), (1, 3), (4, 3, 1)])
def test_accuracy_names_shapes_that_do_not_fit(shape):
    with pytest.raises(ValueError) as error:
        accuracy(SCORES, np.zeros(shape))
    assert "(4, 3)" in str(error.value) and str(shape) in str(error.value)


def test_accuracy_is_of_classes():
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 3\)"):
        accuracy(np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 3)))


def test_binary_accuracy_counts_elements():
    prediction = np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.4]], np.float32)
    assert binary_accuracy(prediction, np.array([[1, 0, 0], [1, 1, 0]])) == pytest.approx(4 / 6)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2,\)"):
        binary_accuracy(prediction, np.zeros(2))


def test_mean_absolute_error():
    assert mean_absolute_error(np.array([[1.0, -2.0]]), np.array([[2.0, 2.0]])) == 2.5
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(2,\)"):
        mean_absolute_error(np.zeros((1, 2)), np.zeros(2))
