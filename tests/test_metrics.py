from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from samples import photograph

from aezip import metrics
from aezip.metrics import bd_rate, hidden_psnr, pchip, psnr

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]))
pairs = shapes.flatmap(
    lambda shape: st.tuples(npst.arrays(np.uint8, shape), npst.arrays(np.uint8, shape))
)


class TestPsnr:
    @given(pairs)
    def test_formula(self, pair: tuple[np.ndarray, np.ndarray]) -> None:
        a, b = pair
        errors = [(int(x) - int(y)) ** 2 for x, y in zip(a.flat, b.flat, strict=True)]
        mean = sum(errors) / len(errors)
        assert psnr(a, b) == psnr(b, a)
        if mean:
            assert psnr(a, b) == pytest.approx(20 * math.log10(255 / math.sqrt(mean)), abs=1e-9)
        else:
            assert psnr(a, b) == math.inf

    def test_known_values(self) -> None:
        black, white = np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 255, np.uint8)
        assert psnr(black, white) == 0
        assert psnr(black, black + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)

    @pytest.mark.parametrize("channels", [2, 4])
    def test_what_is_wholly_transparent(self, channels: int) -> None:
        a = np.full((5, 4, channels), 200, np.uint8)
        b = a.copy()
        a[1, :2, -1] = 0
        b[1, :, :-1], b[..., -1] = 199, 7  # of which two are wholly transparent in a
        assert hidden_psnr(a, b) == pytest.approx(48.1308, abs=1e-4)
        assert hidden_psnr(b, a) == hidden_psnr(a[..., :1], b[..., :1]) == math.inf

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_equal_images(self, channels: int) -> None:
        a = np.random.default_rng(0).integers(0, 256, (5, 4, channels), np.uint8)
        assert psnr(a, a.copy()) == math.inf

    @pytest.mark.parametrize("channels", [2, 4])
    def test_colours_count_by_their_opacity(self, channels: int) -> None:
        rng = np.random.default_rng(1)
        a, b = rng.integers(0, 256, (2, 7, 5, channels), np.uint8)
        visible_a, visible_b = (
            np.concatenate([x[..., :-1] * (x[..., -1:] / 255), x[..., -1:]], axis=2)
            for x in (a, b)
        )
        mean = ((visible_a - visible_b) ** 2).mean()
        assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / mean), abs=1e-9)

    def test_the_colour_of_what_is_transparent_does_not_matter(self) -> None:
        a = np.array([[[10, 20, 30, 0], [1, 2, 3, 255]]], np.uint8)
        b = np.array([[[99, 88, 77, 0], [1, 2, 3, 255]]], np.uint8)
        assert psnr(a, b) == math.inf
        b[0, 0, 3] = 1
        assert psnr(a, b) < math.inf

    def test_alpha_itself_counts(self) -> None:
        a = np.zeros((1, 1, 2), np.uint8)
        b = np.array([[[0, 255]]], np.uint8)
        assert psnr(a, b) == pytest.approx(10 * math.log10(2))

    def test_in_parts_as_in_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a = photograph("fig")
        b = np.roll(a, 1, axis=1)
        whole = psnr(a, b)
        error = a.astype(float) - b
        assert whole == pytest.approx(10 * math.log10(255**2 / (error**2).mean()), abs=1e-9)
        for samples in (1, 1000, 100_000, 10**9):
            monkeypatch.setattr(metrics, "_SAMPLES", samples)
            assert psnr(a, b) == pytest.approx(whole, abs=1e-9)

    def test_inputs_are_not_changed(self) -> None:
        a = np.full((2, 2, 4), 100, np.uint8)
        b = np.full((2, 2, 4), 50, np.uint8)
        psnr(a, b)
        assert (a == 100).all() and (b == 50).all()

    @pytest.mark.parametrize("shape", [(2, 3, 1), (3, 2, 3), (2, 3, 4), (1, 3, 3)])
    def test_other_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="cannot be compared"):
            psnr(np.zeros((2, 3, 3), np.uint8), np.zeros(shape, np.uint8))

    def test_no_pixels(self) -> None:
        with pytest.raises(ValueError, match="without pixels"):
            psnr(np.zeros((0, 3, 3), np.uint8), np.zeros((0, 3, 3), np.uint8))


RATE, DB = [0.1, 0.2, 0.35, 0.7, 1.3], [27.1, 30.0, 32.2, 35.9, 39.3]
OTHER_RATE, OTHER_DB = [0.13, 0.22, 0.5, 0.9, 1.5], [27.0, 30.9, 34.0, 37.0, 40.1]


class TestBdRate:
    def test_identical_curves(self) -> None:
        assert bd_rate(RATE, DB, RATE, DB, 28, 39) == 0

    @pytest.mark.parametrize("factor", [1.1, 0.9, 2, 0.5])
    def test_a_rate_that_is_a_multiple(self, factor: float) -> None:
        more = [factor * rate for rate in RATE]
        assert bd_rate(RATE, DB, more, DB, 28, 39) == pytest.approx(100 * (factor - 1))
        assert bd_rate(RATE, DB, more, DB, DB[0], DB[-1]) == pytest.approx(100 * (factor - 1))

    def test_exchanged_curves(self) -> None:
        there = bd_rate(RATE, DB, OTHER_RATE, OTHER_DB, 28, 39)
        back = bd_rate(OTHER_RATE, OTHER_DB, RATE, DB, 28, 39)
        assert there != 0
        assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1)

    def test_units_and_order_do_not_matter(self) -> None:
        expected = bd_rate(RATE, DB, OTHER_RATE, OTHER_DB, 28, 39)
        a, b = 4096 * np.array(RATE), 4096 * np.array(OTHER_RATE)
        assert bd_rate(a, DB, b, OTHER_DB, 28, 39) == pytest.approx(expected)
        order = [3, 0, 4, 1, 2]
        shuffled = [RATE[i] for i in order], [DB[i] for i in order]
        assert bd_rate(*shuffled, OTHER_RATE, OTHER_DB, 28, 39) == expected

    def test_straight_lines(self) -> None:
        """Rates exp(p) and exp(2 p): their logarithms differ by p, on average by its middle."""
        db = np.array([0.0, 0.3, 1.0])
        rate = bd_rate(np.exp(db), db, np.exp(2 * db), db, 0, 1)
        assert rate == pytest.approx(100 * (math.exp(0.5) - 1))
        two = bd_rate(np.exp(db[::2]), db[::2], np.exp(2 * db), db, 0.5, 1)
        assert two == pytest.approx(100 * (math.exp(0.75) - 1))

    def test_integral_by_scipy(self) -> None:
        interpolate = pytest.importorskip("scipy.interpolate")
        a = interpolate.PchipInterpolator(DB, np.log(RATE))
        b = interpolate.PchipInterpolator(OTHER_DB, np.log(OTHER_RATE))
        mean = (b.integrate(28, 39) - a.integrate(28, 39)) / 11
        assert bd_rate(RATE, DB, OTHER_RATE, OTHER_DB, 28, 39) == pytest.approx(
            100 * math.expm1(mean), abs=1e-3
        )

    @pytest.mark.parametrize(
        "rate, db, low, high",
        [
            (RATE, DB, 27.0, 39),
            (RATE, DB, 28, 39.4),
            (RATE, DB, 39, 28),
            (RATE, DB, 30, 30),
            (RATE, DB, math.nan, 39),
            (RATE, [27.1, 30, 30, 35, 39.3], 28, 39),
            ([1], [30], 28, 39),
            ([], [], 28, 39),
            ([0, *RATE[1:]], DB, 28, 39),
            ([-1, *RATE[1:]], DB, 28, 39),
            ([math.nan, *RATE[1:]], DB, 28, 39),
            ([*RATE[:-1], math.inf], DB, 28, 39),
            (RATE, [*DB[:-1], math.inf], 28, 39),
            (RATE, [*DB[:-1], math.nan], 28, 39),
            ([*RATE, 2], DB, 28, 39),
            (RATE, [*DB, 42], 28, 39),
        ],
    )
    def test_refused(self, rate: list[float], db: list[float], low: float, high: float) -> None:
        with pytest.raises(ValueError):
            bd_rate(rate, db, [0.01, 10], [0, 100], low, high)
        with pytest.raises(ValueError):
            bd_rate([0.01, 10], [0, 100], rate, db, low, high)


steps = st.floats(0.01, 100)
heights = st.floats(-100, 100).map(lambda y: 0 if abs(y) < 1e-6 else y)
points = st.integers(2, 8).flatmap(
    lambda n: st.tuples(
        st.lists(steps, min_size=n, max_size=n), st.lists(heights, min_size=n, max_size=n)
    )
)


class TestPchip:
    @given(points)
    def test_as_scipy(self, drawn: tuple[list[float], list[float]]) -> None:
        interpolate = pytest.importorskip("scipy.interpolate")
        x, y = np.cumsum(drawn[0]), np.array(drawn[1])
        at = np.concatenate([x, np.linspace(x[0], x[-1], 50)])
        expected = interpolate.PchipInterpolator(x, y)(at)
        assert np.abs(pchip(x, y, at) - expected).max() < 1e-8

    @given(points)
    def test_through_the_points_and_never_beyond(
        self, drawn: tuple[list[float], list[float]]
    ) -> None:
        x, y = np.cumsum(drawn[0]), np.array(drawn[1])
        assert np.abs(pchip(x, y, x) - y).max() < 1e-9
        for i in range(len(x) - 1):
            between = pchip(x, y, np.linspace(x[i], x[i + 1], 20))
            rising = np.diff(between) if y[i + 1] >= y[i] else -np.diff(between)
            assert rising.min() > -1e-9

    def test_two_points_are_a_line(self) -> None:
        x, y = np.array([1.0, 3.0]), np.array([10.0, 20.0])
        assert pchip(x, y, np.array([1.0, 1.5, 2.0, 3.0])).tolist() == [10, 12.5, 15, 20]
