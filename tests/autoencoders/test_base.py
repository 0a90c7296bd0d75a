from __future__ import annotations

import numpy as np
import pytest
from samples import digits, photograph

from aezip.autoencoders import ARCHITECTURES, check_quality
from aezip.autoencoders.base import ANALYSIS, Loss, log_step, step_size
from aezip.entropy.parameters import on_grid
from aezip.errors import ModelError


def start(arch: str):
    images = digits() if arch == "dense" else [photograph("lake")[:64, :64]]
    kind = ARCHITECTURES[arch]
    autoencoder = kind.start(images, 50, np.random.default_rng(0))
    autoencoder.grids = autoencoder.finest_grids()
    return autoencoder


# --- qualities ---


def test_steps_of_qualities_fall_from_256_to_2_grey_levels():
    steps = [step_size(log_step(q)) for q in range(101)]
    assert steps[0] == 256 and steps[100] == 2
    assert (np.diff(steps) < 0).all()


def test_steps_of_qualities_are_fixed_for_good():
    """Archives hold the quality: another step for it would spoil every image in them."""
    known = {1: 255, 10: 243, 25: 224, 50: 192, 60: 178, 75: 150, 85: 121, 90: 99, 95: 71, 99: 41}
    assert {q: log_step(q) for q in known} == known
    assert all(isinstance(log_step(q), int) for q in known)


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_a_quality_is_from_1_to_100(quality):
    assert check_quality(quality) == quality


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_other_qualities_are_refused(quality):
    with pytest.raises(ModelError, match=f"from 1 to 100, not {quality}$"):
        check_quality(quality)


# --- losses ---


def test_psnr_and_rate_of_a_loss():
    loss = Loss(bits=300, squared_error=65.025 * 100, samples=100, pixels=50, value=1)
    assert loss.bits_per_pixel == 6
    assert loss.psnr == pytest.approx(30)
    assert np.isfinite(Loss(0, 0, 10, 10, 0).psnr)


# --- what all architectures share ---


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_parameters_that_travel_are_those_of_the_shapes(arch):
    autoencoder = start(arch)
    travelling = autoencoder.travelling()
    assert {k: v.shape for k, v in travelling.items()} == type(autoencoder).shapes(
        autoencoder.config
    )
    assert not any(k.startswith(ANALYSIS) for k in travelling)
    assert travelling.keys() == autoencoder.finest_grids().keys()
    assert {v.dtype for v in autoencoder.parameters.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_frozen_rounds_what_travels_and_nothing_else(arch):
    autoencoder = start(arch)
    before = {k: v.copy() for k, v in autoencoder.parameters.items()}
    frozen = autoencoder.frozen()
    assert frozen.parameters.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(autoencoder.parameters[name], value)
        grid = autoencoder.grids.get(name)
        expected = value if grid is None else on_grid(value, grid)
        np.testing.assert_array_equal(frozen.parameters[name], expected)
        assert frozen.parameters[name].dtype == np.float32
    assert frozen.grids == autoencoder.grids and frozen.config == autoencoder.config
    assert any((frozen.parameters[k] != before[k]).any() for k in before)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_unpack_gives_the_frozen_decoder(arch):
    autoencoder = start(arch)
    frozen = autoencoder.frozen()
    packed = autoencoder.pack()
    assert frozen.pack() == packed
    decoder = type(autoencoder).unpack(autoencoder.config, packed)
    assert decoder.grids == frozen.grids
    assert decoder.parameters.keys() == frozen.travelling().keys()
    for name, value in frozen.travelling().items():
        np.testing.assert_array_equal(decoder.parameters[name], value)
    assert decoder.pack() == packed


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_decoder_that_is_not_finite_is_damaged(arch):
    autoencoder = start(arch)
    packed = bytearray(autoencoder.pack())
    for head in range(len(autoencoder.grids)):
        packed[4 * head] = 127  # the grid of a tensor: 2**127
    with pytest.raises(ModelError, match=r"not finite|cannot be decoded"):
        type(autoencoder).unpack(autoencoder.config, bytes(packed))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_decoder_cut_short_is_damaged(arch):
    autoencoder = start(arch)
    with pytest.raises(ModelError, match="damaged"):
        type(autoencoder).unpack(autoencoder.config, autoencoder.pack()[:20])


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_chosen_grids_are_no_finer_than_the_finest_and_save_bytes(arch):
    autoencoder = start(arch)
    images = digits() if arch == "dense" else [photograph("lake")[:64, :64]]
    finest, bytes_before = autoencoder.finest_grids(), len(autoencoder.pack())
    autoencoder.grids = autoencoder.finest_grids()
    autoencoder.choose_grids(images, 28 * 28 * 40)
    assert autoencoder.grids.keys() == finest.keys()
    assert all(autoencoder.grids[k] >= finest[k] for k in finest)
    assert len(autoencoder.pack()) < 0.9 * bytes_before
    # For a large collection little may be lost, and more bytes are worth it.
    few = len(autoencoder.pack())
    autoencoder.grids = finest
    autoencoder.choose_grids(images, 10**9)
    assert 1.2 * few < len(autoencoder.pack()) <= bytes_before
    before, after = autoencoder.evaluate(images), autoencoder.frozen().evaluate(images)
    assert after.value < 1.01 * before.value
