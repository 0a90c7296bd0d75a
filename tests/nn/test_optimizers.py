from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from aezip.nn import SGD, Adam, RMSprop
from aezip.nn.optimizers import OPTIMIZERS

SHAPES = {"w": (4, 3), "b": (3,), "kernel": (2, 2, 1, 3)}


def start(dtype=np.float64):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


def torch_adam(torch, groups, beta1=0.9, beta2=0.999, epsilon=1e-8):
    return torch.optim.Adam(groups, betas=(beta1, beta2), eps=epsilon)


def torch_rmsprop(torch, groups, rho=0.9, epsilon=1e-8):
    return torch.optim.RMSprop(groups, alpha=rho, eps=epsilon)


def torch_sgd(torch, groups, momentum=0.0):
    # Without a rate of its own it would ask for one.
    return torch.optim.SGD(groups, lr=1.0, momentum=momentum)


@pytest.mark.parametrize(
    ("kind", "torchs", "settings"),
    [
        (Adam, torch_adam, {}),
        (Adam, torch_adam, {"beta1": 0.7, "beta2": 0.9, "epsilon": 1e-3}),
        (RMSprop, torch_rmsprop, {}),
        (RMSprop, torch_rmsprop, {"rho": 0.99, "epsilon": 1e-2}),
        (SGD, torch_sgd, {}),
        (SGD, torch_sgd, {"momentum": 0.9}),
    ],
)
def test_100_steps_are_pytorchs(kind, torchs, settings):
    torch = pytest.importorskip("torch")
    rates = {"w": 0.01, "b": 0.1, "kernel": 0.003}
    parameters = start()
    tensors = {name: torch.tensor(p) for name, p in parameters.items()}
    groups = [{"params": [tensors[name]], "lr": rate} for name, rate in rates.items()]
    reference = torchs(torch, groups, **settings)
    optimizer = kind(**settings)
    rng = np.random.default_rng(1)
    for step in range(100):
        # Noisy, of scales from 1e-6 to 1e3, and not once the same.
        gradients = {
            name: (p + rng.normal(size=p.shape)) * 10 ** rng.uniform(-6, 3)
            for name, p in parameters.items()
        }
        if step % 7 == 3:
            gradients["b"] = np.zeros(SHAPES["b"])
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(gradients[name])
        optimizer.update(parameters, gradients, rates)
        reference.step()
        for name, tensor in tensors.items():
            np.testing.assert_allclose(parameters[name], tensor.numpy(), rtol=1e-11, atol=1e-9)
    for name, before in start().items():
        assert abs(parameters[name] - before).max() > 0.01


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fresh_one_begins_anew_and_changes_nothing_of_the_old(name):
    expected, old, fresh = start(), start(), start()
    reference, used = OPTIMIZERS[name](), OPTIMIZERS[name]()
    for _ in range(2):
        reference.update(expected, start(), 0.1)
        used.update(old, start(), 0.1)
        copy = used.fresh()
    for _ in range(3):
        copy.update(fresh, start(), 0.1)
    for optimizer, parameters in ((reference, expected), (used, old)):
        optimizer.update(parameters, start(), 0.1)
    for key in SHAPES:
        np.testing.assert_array_equal(fresh[key], expected[key])
        np.testing.assert_array_equal(old[key], expected[key])


def test_gradient_descent_keeps_no_array_without_momentum():
    large = np.zeros(100_000)
    tracemalloc.start()
    optimizer = SGD()
    optimizer.update({"p": large}, {"p": large}, 0.1)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < large.nbytes / 2


def test_one_rate_serves_all():
    one, each, numpys = start(), start(), start()
    gradients = start()
    Adam().update(one, gradients, 0.1)
    Adam().update(each, gradients, dict.fromkeys(SHAPES, 0.1))
    Adam().update(numpys, gradients, np.float32(0.1))
    for name, before in start().items():
        # The first step is the rate in the direction of the sign.
        np.testing.assert_allclose(before - one[name], 0.1 * np.sign(gradients[name]), rtol=1e-5)
        np.testing.assert_array_equal(one[name], each[name])
        np.testing.assert_allclose(one[name], numpys[name], rtol=1e-6)


def test_parameters_without_a_gradient_stay_and_do_not_age():
    parameters, late = start(), start()
    adam = Adam()
    adam.update(parameters, {"w": parameters["w"].copy()}, 0.1)
    np.testing.assert_array_equal(parameters["b"], start()["b"])
    gradients = {"b": parameters["b"].copy()}
    adam.update(parameters, gradients, 0.1)
    Adam().update(late, gradients, 0.1)
    np.testing.assert_array_equal(parameters["b"], late["b"])


@pytest.mark.parametrize("rate", [0.1, np.float64(0.1)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_changes_parameters_in_place_and_keeps_float32(name, rate):
    parameters = start(np.float32)
    same = dict(parameters)
    gradients = {name: np.ones_like(p) for name, p in parameters.items()}
    optimizer = OPTIMIZERS[name]()
    for _ in range(3):
        optimizer.update(parameters, gradients, rate)
    # Of gradients of one: rates times the sum of what the three steps make of them.
    momenta = 1 + 1.9 + 2.71
    roots = sum((1 - 0.9**n) ** -0.5 for n in (1, 2, 3))
    moved = {"sgd": 0.3, "momentum": 0.1 * momenta, "rmsprop": 0.1 * roots, "adam": 0.3}[name]
    for name, before in start(np.float32).items():
        assert parameters[name] is same[name]
        assert parameters[name].dtype == np.float32
        np.testing.assert_allclose(before - parameters[name], moved, rtol=1e-4)
        np.testing.assert_array_equal(gradients[name], 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("shape", [(100_001,), (300, 257), (2, 70_000), ()])
def test_large_parameters_move_as_small_ones_do(name, shape):
    # They are taken in blocks.
    rng = np.random.default_rng(0)
    parameter, large, small = rng.normal(size=shape), OPTIMIZERS[name](), OPTIMIZERS[name]()
    parameter = np.asarray(parameter)
    part = np.array([parameter.flat[0], parameter.flat[-1]])
    for _ in range(3):
        gradient = np.asarray(rng.normal(size=shape))
        large.update({"p": parameter}, {"p": gradient}, 0.01)
        small.update({"p": part}, {"p": np.array([gradient.flat[0], gradient.flat[-1]])}, 0.01)
    np.testing.assert_array_equal([parameter.flat[0], parameter.flat[-1]], part)


def test_parameters_that_are_views_move():
    # Of arrays that do not lie in one piece a flat view cannot be had.
    whole = np.zeros((400, 300, 2))
    view = whole[::2, :, 0].T
    Adam().update({"p": view}, {"p": np.ones(view.shape)}, 0.1)
    np.testing.assert_allclose(whole[::2, :, 0], -0.1)
    np.testing.assert_array_equal(whole[1::2], 0)
    np.testing.assert_array_equal(whole[..., 1], 0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zero_gradients_from_the_start_do_no_harm(name):
    parameters = start(np.float32)
    gradients = {name: np.zeros_like(p) for name, p in parameters.items()}
    with np.errstate(all="raise"):
        OPTIMIZERS[name]().update(parameters, gradients, 0.1)
    for name, before in start(np.float32).items():
        np.testing.assert_array_equal(parameters[name], before)


@pytest.mark.parametrize("shape", [(1,), (4, 3)])
def test_shapes_that_differ_are_named(shape):
    with pytest.raises(ValueError) as error:
        SGD().update({"b": np.zeros(3)}, {"b": np.zeros(shape)}, 0.1)
    assert "(3,)" in str(error.value) and str(shape) in str(error.value)
