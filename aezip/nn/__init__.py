"""A small neural network library in NumPy: it knows arrays, nothing of images.

To be read in this order:
- `ops`: the array backend, NumPy or CuPy;
- `layers`, `activations`: functions that return `(output, backprop)`;
- `losses`: functions that return `(value, gradient)`, and `metrics` that return a value;
- `optimizers`: they keep state and change parameters in place;
- `initializers`: parameters to start from;
- `modules`: layers with settings, shapes and parameters; `sequential`: a model of them, and
  `saving`, which stores it.

The functions are what aezip's autoencoders are written with, and what the modules call.
"""

from aezip.nn.activations import clipped_relu, leaky_relu, linear, relu, sigmoid, softmax, tanh
from aezip.nn.layers import (
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
from aezip.nn.losses import (
    binary_cross_entropy,
    cross_entropy,
    mean_squared_error,
    sparse_cross_entropy,
)
from aezip.nn.metrics import accuracy, binary_accuracy, mean_absolute_error
from aezip.nn.modules import (
    AvgPool2D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    Reshape,
)
from aezip.nn.ops import DEVICES, NUMPY, Array, DeviceError, Ops, ops_for, ops_of
from aezip.nn.optimizers import SGD, Adam, Optimizer, RMSprop
from aezip.nn.sequential import Sequential

__all__ = [
    "DEVICES",
    "NUMPY",
    "SGD",
    "Adam",
    "Array",
    "AvgPool2D",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DeviceError",
    "Dropout",
    "Flatten",
    "Layer",
    "MaxPool2D",
    "Ops",
    "Optimizer",
    "RMSprop",
    "Reshape",
    "Sequential",
    "accuracy",
    "avg_pool2d",
    "binary_accuracy",
    "binary_cross_entropy",
    "clipped_relu",
    "conv2d",
    "conv2d_transpose",
    "cross_entropy",
    "dense",
    "depth_to_space",
    "dropout",
    "leaky_relu",
    "linear",
    "max_pool2d",
    "mean_absolute_error",
    "mean_squared_error",
    "ops_for",
    "ops_of",
    "pad_edges",
    "relu",
    "reshape",
    "same_padding",
    "sigmoid",
    "softmax",
    "space_to_depth",
    "sparse_cross_entropy",
    "tanh",
]
