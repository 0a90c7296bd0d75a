"""Colours where an image is transparent: free, so smooth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import photograph

from aezip.autoencoders.colours import smooth_where_transparent
from aezip.metrics import psnr


def icon(channels: int = 4) -> np.ndarray:
    """A disc of a photograph with a soft edge and a shadow, and loud colours beyond it."""
    colour = photograph("fig")[60:124, 40:104]
    y, x = np.indices((64, 64)) - 32
    opacity = np.clip(24 - np.hypot(y, x), 0, 6) / 6
    shadow = np.clip(30 - np.hypot(y - 2, x - 2), 0, 12) / 24
    alpha = np.rint(255 * np.maximum(opacity, shadow)).astype(np.uint8)[..., None]
    hidden = np.random.default_rng(0).integers(0, 256, colour.shape)
    colour = np.where(alpha > 0, colour, hidden).astype(np.uint8)
    return np.concatenate([colour if channels == 4 else colour[..., :1], alpha], axis=2)


def roughness(x: np.ndarray) -> float:
    return float(sum((np.diff(x, axis=axis) ** 2).sum() for axis in (0, 1)))


@pytest.mark.parametrize("channels", [2, 4])
def test_what_is_opaque_stays_and_the_rest_is_smooth(channels):
    pixels = icon(channels)
    before = pixels.copy()
    found = smooth_where_transparent(pixels, 26.0)
    np.testing.assert_array_equal(pixels, before)
    opaque, gone = pixels[..., -1] == 255, pixels[..., -1] == 0
    np.testing.assert_allclose(found[opaque], pixels[opaque], atol=1e-3)
    np.testing.assert_array_equal(found[..., -1], pixels[..., -1])
    flat = pixels.astype(np.float32)
    flat[gone, :-1] = flat[~gone, :-1].mean(axis=0)
    assert roughness(found[..., :-1]) < 0.7 * roughness(flat[..., :-1])
    # No edge around what can be seen: what is free goes on from what is not.
    inside = found[..., :-1][opaque]
    assert found[..., :-1].min() >= inside.min() - 40 and found[..., :-1].max() <= 256


@pytest.mark.parametrize("step", [3.0, 26.0, 90.0])
def test_what_is_half_transparent_changes_less_than_a_step_shows(step):
    pixels = icon()
    found = np.rint(smooth_where_transparent(pixels, step)).clip(0, 255).astype(np.uint8)
    assert 255**2 / 10 ** (psnr(pixels, found) / 10) < step**2 / 100


def test_a_coarser_step_smooths_more():
    found = (smooth_where_transparent(icon(), step) for step in (3.0, 90.0))
    fine, coarse = (roughness(x[..., :-1]) for x in found)
    assert coarse < 0.95 * fine


def test_an_image_of_which_nothing_shows_is_grey():
    pixels = icon()
    pixels[..., -1] = 0
    assert (smooth_where_transparent(pixels, 26.0)[..., :-1] == 128).all()


def test_without_transparency_nothing_changes():
    pixels = photograph("fig")[:40, :50]
    pixels = np.concatenate([pixels, np.full((40, 50, 1), 255, np.uint8)], axis=2)
    np.testing.assert_array_equal(smooth_where_transparent(pixels, 26.0), pixels)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_any_size_stays_within_its_colours(height, width, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
    pixels[rng.random((height, width)) < 0.3, 3] = 0
    found = smooth_where_transparent(pixels, 26.0)[..., :3]
    assert np.isfinite(found).all() and found.min() >= -1e-3 and found.max() <= 255.001
