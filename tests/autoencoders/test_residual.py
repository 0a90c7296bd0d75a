from __future__ import annotations

import numpy as np
import pytest
from gradients import check_gradients

from aezip import nn
from aezip.autoencoders import residual


def chain(blocks: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = residual.shapes(blocks, width)
    return rng.normal(size=shapes["mix"]) / width**0.5, rng.normal(size=shapes["bias"]) * 0.1


@pytest.mark.parametrize("blocks, width, size", [(1, 8, (4, 5)), (3, 9, (3, 2)), (2, 16, (1, 2))])
def test_gradients(blocks, width, size):
    mix, bias = chain(blocks, width)
    x = np.random.default_rng(1).normal(size=(width, *size))

    def layer(x, mix, bias):
        return residual.apply(mix, bias, x)

    check_gradients(layer, x, mix, bias)


def test_it_is_what_a_convolution_with_one_weight_in_each_kernel_is():
    """The same from `nn.conv2d`: each channel's kernel has a one at its group's neighbour."""
    mix, bias = chain(1, 16)
    x = np.random.default_rng(2).normal(size=(16, 6, 7))
    kernel = np.zeros((3, 3, 16, 16))
    around = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)]
    for channel in range(16):
        down, right = around[channel // 2]
        kernel[1 - down, 1 - right, channel] = mix[0, channel]
    y, _ = nn.conv2d(x.transpose(1, 2, 0)[None], kernel, bias[0], padding=((1, 1), (1, 1)))
    expected = x + nn.leaky_relu(y)[0][0].transpose(2, 0, 1)
    np.testing.assert_allclose(residual.apply(mix, bias, x)[0], expected, rtol=1e-12)


def test_without_what_backprop_needs_the_result_is_the_same():
    mix, bias = chain(4, 32)
    x = np.random.default_rng(3).normal(size=(32, 5, 9))
    before = x.copy()
    y, _ = residual.apply(mix, bias, x)
    found, backprop = residual.apply(mix, bias, x, keep=False)
    np.testing.assert_array_equal(found, y)
    with pytest.raises(NotImplementedError):
        backprop(y)
    np.testing.assert_array_equal(x, before)
    assert abs(y - x).max() > 0.5


def test_shifting_back_is_the_transposed_function():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 11, 4, 3))
    forth, back = residual.shifted(x, 1), residual.shifted(y, -1)
    np.testing.assert_allclose(np.vdot(forth, y), np.vdot(x, back), rtol=1e-12)
    assert abs(forth - x).max() > 0.1
