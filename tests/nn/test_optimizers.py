from __future__ import annotations

import numpy as np
import pytest

from aezip.nn import Adam

SHAPES = {"w": (4, 3), "b": (3,), "kernel": (2, 2, 1, 3)}


def start(dtype=np.float64):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    "settings",
    [{}, {"beta1": 0.7, "beta2": 0.9, "epsilon": 1e-3}],
    ids=["defaults", "others"],
)
def test_100_steps_are_pytorchs(settings):
    torch = pytest.importorskip("torch")
    rates = {"w": 0.01, "b": 0.1, "kernel": 0.003}
    parameters = start()
    tensors = {name: torch.tensor(p) for name, p in parameters.items()}
    reference = torch.optim.Adam(
        [{"params": [tensors[name]], "lr": rate} for name, rate in rates.items()],
        betas=(settings.get("beta1", 0.9), settings.get("beta2", 0.999)),
        eps=settings.get("epsilon", 1e-8),
    )
    adam = Adam(**settings)
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
        adam.update(parameters, gradients, rates)
        reference.step()
        for name, tensor in tensors.items():
            np.testing.assert_allclose(parameters[name], tensor.numpy(), rtol=0, atol=1e-9)
    for name, before in start().items():
        assert abs(parameters[name] - before).max() > 0.01


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
def test_changes_parameters_in_place_and_keeps_float32(rate):
    parameters = start(np.float32)
    same = dict(parameters)
    gradients = {name: np.ones_like(p) for name, p in parameters.items()}
    adam = Adam()
    for _ in range(3):
        adam.update(parameters, gradients, rate)
    for name, before in start(np.float32).items():
        assert parameters[name] is same[name]
        assert parameters[name].dtype == np.float32
        np.testing.assert_allclose(before - parameters[name], 0.3, rtol=1e-4)
        np.testing.assert_array_equal(gradients[name], 1)


def test_zero_gradients_from_the_start_do_no_harm():
    parameters = start(np.float32)
    with np.errstate(all="raise"):
        Adam().update(parameters, {name: np.zeros_like(p) for name, p in parameters.items()}, 0.1)
    for name, before in start(np.float32).items():
        np.testing.assert_array_equal(parameters[name], before)


@pytest.mark.parametrize("shape", [(1,), (4, 3)])
def test_shapes_that_differ_are_named(shape):
    with pytest.raises(ValueError) as error:
        Adam().update({"b": np.zeros(3)}, {"b": np.zeros(shape)}, 0.1)
    assert "(3,)" in str(error.value) and str(shape) in str(error.value)
