from __future__ import annotations

import numpy as np
import pytest
from gradients import check_gradients
from samples import photograph

from aezip.autoencoders import lifting
from aezip.autoencoders.lifting import STEPS, TAPS, Bands

# The 9/7 wavelet of Antonini, Barlaud, Mathieu, Daubechies, "Image coding using wavelet
# transform", 1992 (there the sum of the low-pass filter is 1, here sqrt 2).
LOW = np.array([0.852699, 0.377403, -0.110624, -0.023849, 0.037828])  # and mirrored
HIGH = np.array([0.788486, -0.418092, -0.040689, 0.064539])

# Levels and sides; among them one block of 2**levels, and planes of two samples.
SIZES = [(1, 2, 2), (1, 2, 8), (2, 4, 4), (3, 8, 24), (2, 20, 12), (5, 32, 64)]


def filters_of(levels: int, rng: np.random.Generator | None = None) -> np.ndarray:
    filters = lifting.start(levels).astype(np.float64)
    if rng is not None:
        filters += rng.normal(scale=0.2, size=filters.shape)
    return filters


def synthesise(bands: Bands, filters: np.ndarray) -> np.ndarray:
    x = bands.low
    for details, level_filters in reversed(list(zip(bands.high, filters, strict=True))):
        x, _ = lifting.join(x, details, level_filters)
    return x


def flat(bands: Bands) -> np.ndarray:
    every = [bands.low, *(x for level in bands.high for x in level)]
    return np.concatenate([x.ravel() for x in every])


def bands_from(values: np.ndarray, like: Bands) -> Bands:
    at = 0

    def take(x: np.ndarray) -> np.ndarray:
        nonlocal at
        at += x.size
        return values[at - x.size : at].reshape(x.shape)

    low = take(like.low)
    return Bands(low, [tuple(take(x) for x in level) for level in like.high])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("trained", [False, True])
def test_synthesis_undoes_analysis_whatever_the_filters(size, trained):
    levels, height, width = size
    rng = np.random.default_rng(0)
    filters = filters_of(levels, rng if trained else None)
    x = rng.normal(size=(3, height, width))
    before = x.copy(), filters.copy()
    bands, _ = lifting.analyse(x, filters)
    kept = flat(bands)
    again = synthesise(bands, filters)
    scale = max(1, abs(kept).max())
    assert abs(again - x).max() < 1e-12 * scale
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(filters, before[1])
    np.testing.assert_array_equal(flat(bands), kept)
    assert bands.low.shape == (3, height >> levels, width >> levels)
    for level, high in enumerate(bands.high, 1):
        assert {b.shape for b in high} == {(3, height >> level, width >> level)}


def test_a_photograph_comes_back_in_float32():
    x = photograph("fig").transpose(2, 0, 1).astype(np.float32) - 128
    filters = lifting.start(5)
    assert filters.shape == (5, 2, STEPS, TAPS) and filters.dtype == np.float32
    bands, _ = lifting.analyse(x, filters)
    again = synthesise(bands, filters)
    assert {again.dtype, flat(bands).dtype} == {np.dtype(np.float32)}
    assert abs(again - x).max() < 1e-3


@pytest.mark.parametrize("axis", [0, 1])
def test_starts_as_the_cdf_9_7_wavelet(axis):
    """A constant along one axis leaves the filters of the other alone, and the constant grows
    by sqrt 2."""

    def response(at: int) -> tuple[np.ndarray, np.ndarray]:
        impulse = np.zeros((32, 32))
        np.moveaxis(impulse, axis, 0)[at] = 1
        bands, _ = lifting.analyse(impulse, filters_of(1))
        right, below, both = bands.high[0]
        other, high = (right, below) if axis == 0 else (below, right)
        assert abs(other).max() < 1e-6 and abs(both).max() < 1e-6
        return tuple(np.moveaxis(b, axis, 0)[:, 8] / 2**0.5 for b in (bands.low, high))

    low, high = np.zeros(33), np.zeros(33)
    # Sample n of the even band is centred on 2 n, of the odd one on 2 n + 1.
    for at in (14, 15, 16, 17):
        a, b = response(at)
        for n in range(16):
            if abs(2 * n - at) <= 4:
                low[2 * n - at + 16] = a[n]
            else:
                assert abs(a[n]) < 1e-6
            if abs(2 * n + 1 - at) <= 3:
                high[2 * n + 1 - at + 16] = b[n]
            else:
                assert abs(b[n]) < 1e-6
    np.testing.assert_allclose(low[12:21], [*LOW[:0:-1], *LOW], atol=1e-6)
    np.testing.assert_allclose(high[13:20], [*HIGH[:0:-1], *HIGH], atol=1e-6)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1])
def test_high_bands_of_polynomials_vanish(degree, axis):
    """Four vanishing moments: up to cubes, away from the borders where they are mirrored."""
    n = np.linspace(-4, 4, 128)

    def high_bands(degree: int) -> list[np.ndarray]:
        x = np.moveaxis(np.broadcast_to((n**degree)[:, None], (128, 128)), 0, axis)
        bands, _ = lifting.analyse(np.ascontiguousarray(x), filters_of(2))
        return [b[8:-8, 8:-8] for level in bands.high for b in level]

    assert max(abs(b).max() for b in high_bands(degree)) < 3e-5  # filters begin as float32
    assert abs(high_bands(4)[1 - axis]).min() > 1e-4


def test_a_constant_is_all_in_the_low_band_up_to_the_borders():
    bands, _ = lifting.analyse(np.full((1, 32, 64), 3.0), filters_of(5))
    np.testing.assert_allclose(bands.low, 3 * 2**5, rtol=1e-6)
    assert max(abs(b).max() for level in bands.high for b in level) < 1e-5


@pytest.mark.parametrize("axis", [0, 1])
def test_an_image_goes_on_mirrored_about_its_outermost_pixels(axis):
    x = np.random.default_rng(4).normal(size=(16, 16))
    margins = [(0, 0), (0, 0)]
    margins[axis] = 12, 12
    large, _ = lifting.analyse(np.pad(x, margins, mode="reflect"), filters_of(1))
    small, _ = lifting.analyse(x, filters_of(1))
    for a, b in zip((large.low, *large.high[0]), (small.low, *small.high[0]), strict=True):
        inner = np.moveaxis(a, axis, 0)[6:-6]
        np.testing.assert_allclose(inner, np.moveaxis(b, axis, 0), atol=1e-12)


@pytest.mark.parametrize("size", [2, 4, 10])
@pytest.mark.parametrize("step", [0, 1])
def test_one_step_alone(step, size):
    """All four taps, and where those beyond the borders are found."""
    rng = np.random.default_rng(5)
    filters = np.zeros((1, 2, STEPS, TAPS))
    filters[0, 1, step] = taps = rng.normal(size=TAPS)
    x = rng.normal(size=size)
    bands, _ = lifting.analyse(np.stack([x, x]), filters)
    norm = 1.149604398860241
    low, high = bands.low[0] / norm**2, bands.high[0][0][0]  # the constant grows as well

    def mirrored(n: int) -> float:
        n %= 2 * (size - 1)
        return x[min(n, 2 * (size - 1) - n)]

    expected = x.copy()
    first = -2 if step == 0 else -3  # to the first tap, from the sample that is changed
    for n in range(1 - step, size, 2):
        expected[n] += sum(t * mirrored(n + first - 1 + 2 * i + step) for i, t in enumerate(taps))
    np.testing.assert_allclose(low, expected[::2], rtol=1e-12)
    np.testing.assert_allclose(high, expected[1::2], rtol=1e-12)


def test_energy_is_nearly_kept():
    """So that one quantiser step serves all bands and an error in them is one in pixels."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 256, 256))
    bands, _ = lifting.analyse(x, filters_of(3))
    assert (flat(bands) ** 2).sum() == pytest.approx((x**2).sum(), rel=0.06)
    for number in range(10):
        every = [np.zeros_like(b) for b in (bands.low, *(x for y in bands.high for x in y))]
        every[number][:] = rng.normal(size=every[number].shape)
        noise = Bands(every[0], [tuple(every[i : i + 3]) for i in (1, 4, 7)])
        image = synthesise(noise, filters_of(3))
        assert (image**2).sum() == pytest.approx((every[number] ** 2).sum(), rel=0.15), number


@pytest.mark.parametrize("size", [(1, 2, 2), (1, 4, 6), (2, 4, 8), (2, 12, 4)], ids=str)
def test_gradients_of_analysis(size):
    levels, height, width = size
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, height, width))
    like, _ = lifting.analyse(x, filters_of(levels))

    def layer(x, filters):
        bands, backprop = lifting.analyse(x, filters)
        return flat(bands), lambda d: backprop(bands_from(d, like))

    check_gradients(layer, x, filters_of(levels, rng))


@pytest.mark.parametrize("size", [(2, 2), (4, 6), (2, 8), (6, 4)], ids=str)
def test_gradients_of_synthesis(size):
    rng = np.random.default_rng(3)

    def layer(low, details, filters):
        x, backprop = lifting.join(low, details, filters)

        def stacked(dx):
            dlow, ddetails, dfilters = backprop(dx)
            return dlow, np.stack(ddetails), dfilters

        return x, stacked

    low, details = rng.normal(size=(2, *size)), rng.normal(size=(3, 2, *size))
    check_gradients(layer, low, details, filters_of(1, rng)[0])


@pytest.mark.parametrize("size", [(2, 2), (6, 16)])
def test_the_transpose_of_joining(size):
    rng = np.random.default_rng(9)
    filters = filters_of(1, rng)[0]
    low, *details = rng.normal(size=(4, 3, size[0] // 2, size[1] // 2))
    dx = rng.normal(size=(3, *size))
    dlow, ddetails = lifting.join_transposed(dx, filters)
    products = [np.vdot(low, dlow), *map(np.vdot, details, ddetails)]
    assert np.vdot(lifting.join(low, details, filters)[0], dx) == pytest.approx(sum(products))
