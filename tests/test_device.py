"""Training elsewhere than on the processor, without a GPU: in arrays that follow CuPy's rules."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from folders import DIGITS, invoke, refused
from foreign import Dispatching
from samples import digits, photograph

import aezip
from aezip import nn
from aezip.autoencoders import Dense, Pyramid
from aezip.storage.hdf5 import read_model

PHOTOS = [photograph("lake"), photograph("drum")[..., :1]]


def start(kind):
    rng = np.random.default_rng(0)
    model = kind.start(digits() if kind is Dense else PHOTOS, 60, rng)
    for name, value in model.parameters.items():  # so that no gradient is zero
        if name != "colour":
            value += rng.normal(scale=0.01, size=value.shape).astype(np.float32)
    return model


@pytest.mark.parametrize(
    ("kind", "images"), [(Dense, digits()), (Pyramid, PHOTOS[:1]), (Pyramid, PHOTOS[1:])]
)
@pytest.mark.parametrize("progress", [0.1, 0.9])
def test_gradients_are_computed_where_the_parameters_are(dispatching, kind, images, progress):
    model = start(kind)
    there = {name: dispatching.asarray(value) for name, value in model.parameters.items()}
    expected = model.sample_loss(images, progress, np.random.default_rng(1))
    loss = kind(model.config, there).sample_loss(images, progress, np.random.default_rng(1))
    assert (loss.bits, loss.squared_error) == (expected.bits, expected.squared_error)
    assert loss.gradients.keys() == expected.gradients.keys()
    for name, gradient in loss.gradients.items():
        assert isinstance(gradient, Dispatching)
        assert gradient.dtype == expected.gradients[name].dtype
        np.testing.assert_array_equal(gradient.data, expected.gradients[name])


def test_a_model_fitted_there_is_the_same(dispatching, monkeypatch, tmp_path):
    used = []

    def ops_for(device):
        used.append(device)
        return nn.Ops(dispatching) if device == "cuda" else nn.NUMPY

    monkeypatch.setattr(nn, "ops_for", ops_for)
    for device in nn.DEVICES:
        # The last step of eight is one of rounded parameters.
        fitted = aezip.fit(
            DIGITS, tmp_path / f"{device}.h5", arch="dense", steps=8, device=device, jobs=2
        )
        assert fitted.autoencoder.grids
    assert used == ["cpu", "cuda"]
    one, other = (read_model(tmp_path / f"{device}.h5")[1] for device in nn.DEVICES)
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value)


def test_without_cupy_fit_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)  # what an import of a missing module meets
    result = invoke("fit", DIGITS, "--model", "model.h5", "--device", "cuda", cwd=tmp_path)
    refused(result, "cuda needs CuPy", "pip install 'aezip[cuda]'")
    assert not list(tmp_path.iterdir())


def test_other_devices_are_refused(tmp_path):
    with pytest.raises(aezip.AezipError, match="'tpu'"):
        aezip.fit(DIGITS, tmp_path / "model.h5", device="tpu")


@pytest.mark.parametrize("kind", [Dense, Pyramid])
def test_gradients_on_a_gpu(kind):
    try:
        ops = nn.ops_for("cuda")
    except nn.DeviceError as error:
        pytest.skip(str(error))
    model, images = start(kind), digits() if kind is Dense else PHOTOS
    there = {name: ops.asarray(value) for name, value in model.parameters.items()}
    expected = model.sample_loss(images, 0.9, np.random.default_rng(1))
    loss = kind(model.config, there).sample_loss(images, 0.9, np.random.default_rng(1))
    # A latent in thousands may be rounded to the other side.
    assert loss.bits == pytest.approx(expected.bits, rel=1e-3)
    for name, gradient in loss.gradients.items():
        gradient, same = ops.to_host(gradient), expected.gradients[name]
        assert np.abs(gradient - same).max() <= 0.02 * np.abs(same).max()
