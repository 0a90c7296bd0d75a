"""A small neural network library in NumPy: it knows arrays, nothing of images or files.

- `ops`: the array backend. - `layers`, `activations`: functions that return `(output,
backprop)`. - `losses`: functions that return `(value, gradient)`. - `optimizers`: they keep
state and change parameters in place.
"""

from aezip.nn.activations import clipped_relu, leaky_relu, linear, relu, sigmoid, softmax, tanh
from aezip.nn.layers import (
    conv2d,
    conv2d_transpose,
    dense,
    depth_to_space,
    pad_edges,
    same_padding,
    space_to_depth,
)
from aezip.nn.losses import binary_cross_entropy, cross_entropy, mean_squared_error
from aezip.nn.ops import NUMPY, Array, Ops, ops_of
from aezip.nn.optimizers import Adam

__all__ = [
    "NUMPY",
    "Adam",
    "Array",
    "Ops",
    "binary_cross_entropy",
    "clipped_relu",
    "conv2d",
    "conv2d_transpose",
    "cross_entropy",
    "dense",
    "depth_to_space",
    "leaky_relu",
    "linear",
    "mean_squared_error",
    "ops_of",
    "pad_edges",
    "relu",
    "same_padding",
    "sigmoid",
    "softmax",
    "space_to_depth",
    "tanh",
]
