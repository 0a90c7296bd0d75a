from __future__ import annotations

import numpy as np
import pytest
from gradients import numeric_gradient, relative_error

from aezip.nn import (
    AvgPool2D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    Reshape,
)
from aezip.nn.activations import ACTIVATIONS

# With the shapes of an input and of the output.
MODULES = [
    (Dense(5), (3,), (5,)),
    (Dense(5, "relu"), (2, 3), (2, 5)),
    (Conv2D(3, 3), (5, 6, 2), (3, 4, 3)),
    (Conv2D(3, (2, 3), (2, 1), activation="sigmoid"), (5, 6, 2), (2, 4, 3)),
    (Conv2D(3, 3, 2, "same", "tanh"), (5, 6, 2), (3, 3, 3)),
    (Conv2D(2, 2, 3, "same"), (7, 6, 1), (3, 2, 2)),
    (Conv2DTranspose(3, 3), (2, 3, 2), (4, 5, 3)),
    (Conv2DTranspose(3, (2, 3), (2, 1), activation="leaky_relu"), (2, 3, 2), (4, 5, 3)),
    (Conv2DTranspose(3, 3, 2, "same", "tanh"), (2, 3, 2), (4, 6, 3)),
    (Conv2DTranspose(1, 2, 2, "same"), (3, 1, 4), (6, 2, 1)),
    (MaxPool2D(), (5, 6, 2), (2, 3, 2)),
    (MaxPool2D(3, 2, "same"), (5, 6, 2), (3, 3, 2)),
    (AvgPool2D((2, 1)), (5, 6, 2), (2, 6, 2)),
    (AvgPool2D(2, 1, padding="same"), (3, 4, 1), (3, 4, 1)),
    (Flatten(), (2, 3, 4), (24,)),
    (Flatten(), (), (1,)),
    (Reshape((3, 8)), (2, 3, 4), (3, 8)),
    (Dropout(0.5), (2, 3), (2, 3)),
]
EACH = pytest.mark.parametrize(("module", "before", "after"), MODULES, ids=lambda x: str(x))


def build(module, shape, dtype=np.float64):
    parameters = module.initial(shape, np.random.default_rng(0))
    parameters = {k: v.astype(dtype) for k, v in parameters.items()}
    if "b" in parameters:  # zeros would hide much
        parameters["b"] += np.random.default_rng(1).normal(size=parameters["b"].shape)
    return parameters, np.random.default_rng(2).normal(size=(4, *shape)).astype(dtype)


@EACH
def test_shapes_are_those_that_were_announced(module, before, after):
    parameters, x = build(module, before)
    assert module.output_shape(before) == after
    assert module.parameter_shapes(before) == {k: v.shape for k, v in parameters.items()}
    y, _ = module.apply(parameters, x)
    assert y.shape == (4, *after)
    y, backprop = module.apply(parameters, x[:0])
    assert y.shape == (0, *after)
    assert backprop(y)[0].shape == (0, *before)


@EACH
def test_gradients_are_central_differences(module, before, after):
    parameters, x = build(module, before)
    dy = np.random.default_rng(3).normal(size=(4, *after))

    def run(x, parameters):
        # The same elements are dropped each time.
        return module.apply(parameters, x, training=np.random.default_rng(4))

    _, backprop = run(x, parameters)
    dx, gradients = backprop(dy)

    def loss(x, parameters):
        return float((run(x, parameters)[0] * dy).sum())

    assert relative_error(dx, numeric_gradient(lambda x: loss(x, parameters), x)) < 1e-6
    assert gradients.keys() == parameters.keys()
    for name, gradient in gradients.items():
        expected = numeric_gradient(
            lambda p, name=name: loss(x, {**parameters, name: p}), parameters[name]
        )
        assert relative_error(gradient, expected) < 1e-6


@pytest.mark.parametrize("module", [Dense(2), Conv2D(2, 2), Conv2DTranspose(2, 2)])
def test_data_need_no_gradient(module):
    parameters, x = build(module, (4, 5, 3))
    y, backprop = module.apply(parameters, x, of_data=True)
    assert backprop(y)[0] is None


@EACH
def test_float32_stays_float32(module, before, after):
    parameters, x = build(module, before, np.float32)
    y, backprop = module.apply(parameters, x, training=np.random.default_rng(0))
    dx, gradients = backprop(np.ones_like(y))
    assert {a.dtype for a in (y, dx, *gradients.values())} == {np.dtype(np.float32)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_have_their_names(activation):
    dense = Dense(3, activation)
    parameters, x = build(dense, (2,))
    y, _ = dense.apply(parameters, x)
    expected, _ = ACTIVATIONS[activation](x @ parameters["w"] + parameters["b"])
    np.testing.assert_array_equal(y, expected)


def test_dropout_is_for_training_only():
    x = np.ones((2, 50))
    y, backprop = Dropout(0.5).apply({}, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(backprop(y)[0], x)
    y, _ = Dropout(0.5).apply({}, x, training=np.random.default_rng(0))
    assert (y == 0).any()


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (Conv2D(8, 3), 3 * 3 * 16),
        (Conv2DTranspose(8, 3), 3 * 3 * 16),
        (Conv2DTranspose(8, 4, 2, "same"), 2 * 2 * 16),
        (Dense(8), 16),
    ],
)
def test_weights_begin_as_large_as_what_an_output_is_made_of_asks(module, inputs):
    # Outputs keep the variance of inputs, halved by rectifiers to come.
    module = type(module)(**{**vars(module), "activation": "relu"})
    rng = np.random.default_rng(0)
    shape = (16,) if isinstance(module, Dense) else (16, 16, 16)
    w = module.initial(shape, rng)["w"]
    assert w.var() == pytest.approx(2 / inputs, rel=0.2)


@pytest.mark.parametrize(
    ("module", "fans"),
    [
        (Conv2D(48, 3, 2, activation="tanh"), 9 * 16 + 9 * 48),
        (Conv2DTranspose(48, 3), 9 * 16 + 9 * 48),
        (Conv2DTranspose(48, 4, 2, "same", "sigmoid"), 4 * 16 + 16 * 48),
        (Dense(48), 16 + 48),
    ],
)
def test_weights_before_other_activations_ask_for_both_directions(module, fans):
    shape = (16,) if isinstance(module, Dense) else (16, 16, 16)
    w = module.initial(shape, np.random.default_rng(0))["w"]
    assert w.var() == pytest.approx(2 / fans, rel=0.1)


@pytest.mark.parametrize(
    ("give", "stored"),
    [
        (lambda: Dense(np.int64(3), None, input_shape=[np.int32(4)]), Dense(3, input_shape=(4,))),
        (lambda: Conv2D(np.uint8(2), [3, np.int64(2)], np.int8(1)), Conv2D(2, (3, 2), 1)),
        (lambda: Conv2DTranspose(2, np.int64(3), [2, 2]), Conv2DTranspose(2, 3, (2, 2))),
        (lambda: AvgPool2D([2, 1], [np.int64(1), 1]), AvgPool2D((2, 1), (1, 1))),
        (lambda: Reshape([np.int64(2), 3]), Reshape((2, 3))),
        (lambda: Dropout(np.float32(0.25)), Dropout(0.25)),
    ],
)
def test_settings_are_stored_as_pythons_own(give, stored):
    assert repr(give()) == repr(stored)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Dense(0), "units.*0"),
        (lambda: Dense(2.5), "units.*2.5"),
        (lambda: Dense(True), "units.*True"),
        (lambda: Dense(3, "rleu"), "'rleu'.*sigmoid"),
        (lambda: Conv2D(3, 0), "window.*0"),
        (lambda: Conv2D(3, (3, 3, 3)), r"\(3, 3, 3\)"),
        (lambda: Conv2D(3, 3, 0), "strides.*0"),
        (lambda: Conv2D(3, 3, padding="full"), "'full'"),
        (lambda: Conv2D(-1, 3), "filters.*-1"),
        (lambda: Conv2DTranspose(3, 2, 3, "same"), "gaps"),
        (lambda: MaxPool2D(0), "window.*0"),
        (lambda: MaxPool2D(2, "2"), "strides.*'2'"),
        (lambda: Dropout(1.0), "Dropout.*1.0"),
        (lambda: Dropout(-0.1), "Dropout.*-0.1"),
        (lambda: Dense(3).output_shape(()), r"\(\)"),
        (lambda: Conv2D(3, 3).output_shape((5, 5)), r"Conv2D.*\(5, 5\)"),
        (lambda: Conv2D(3, 3).output_shape((5, 2, 1)), r"\(5, 2, 1\).*\(3, 3\)"),
        (lambda: MaxPool2D(3).output_shape((2, 5, 1)), r"\(2, 5, 1\).*\(3, 3\)"),
        (lambda: Conv2DTranspose(3, 3).output_shape((5,)), r"Conv2DTranspose.*\(5,\)"),
        (lambda: Reshape((2, 5)).output_shape((3, 3)), r"\(3, 3\).*\(2, 5\)"),
        (lambda: Reshape((2, -1)), r"\(2, -1\)"),
        (lambda: Dropout("0.5"), "Dropout.*0.5"),
        (lambda: Conv2D(3, [3, 2.5]), "window.*2.5"),
        (lambda: Dense(3, input_shape=(0,)), r"\(0,\)"),
        (lambda: Flatten(input_shape=(4, -3)), r"\(4, -3\)"),
        (lambda: MaxPool2D(input_shape=(None, 4, 1)), r"\(None, 4, 1\)"),
        (lambda: Dropout(0.1, input_shape=(True,)), r"\(True,\)"),
        (lambda: Reshape((12,), input_shape=12), "shape.*12"),
    ],
)
def test_settings_and_shapes_that_make_no_sense_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
