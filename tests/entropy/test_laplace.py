from __future__ import annotations

import hashlib
from decimal import Decimal, getcontext

import numpy as np
import pytest
from gradients import numeric_gradient
from hypothesis import given
from hypothesis import strategies as st

from aezip.entropy import laplace
from aezip.entropy.laplace import (
    CENTRE_STEPS,
    LOG_SCALE_RANGE,
    RADIUS,
    SCALE_STEPS,
    SPREAD_RANGE,
    SYMBOLS,
    TABLE_BITS,
    WEIGHT_STEPS,
    GridParameters,
    bits_of,
    coded_bits,
    frequency_rows,
    mixture_bits,
    to_grid,
)

TOTAL = 1 << 20
LOG_SCALES = tuple(octaves * SCALE_STEPS for octaves in LOG_SCALE_RANGE)
SPREADS = tuple(octaves * SCALE_STEPS for octaves in SPREAD_RANGE)


def grid(centre, log_scale, spread, weight) -> GridParameters:
    return GridParameters(*np.broadcast_arrays(centre, log_scale, spread, weight))


def random_grid(count: int, seed: int = 1) -> GridParameters:
    rng = np.random.default_rng(seed)
    return GridParameters(
        rng.integers(-400, 401, count),
        rng.integers(LOG_SCALES[0], LOG_SCALES[1] + 1, count),
        rng.integers(SPREADS[0], SPREADS[1] + 1, count),
        rng.integers(0, WEIGHT_STEPS + 1, count),
    )


def natural(g: GridParameters) -> list[np.ndarray]:
    steps = CENTRE_STEPS, SCALE_STEPS, SCALE_STEPS, WEIGHT_STEPS
    return [x / step for x, step in zip(g, steps, strict=True)]


def probabilities(values: np.ndarray, g: GridParameters) -> np.ndarray:
    """Of each value under one distribution, straight from the definition."""
    centre, log_scale, spread, weight = natural(g)

    def below(x, scale):
        tail = 0.5 * np.exp(-abs(x) / scale)
        return np.where(x < 0, tail, 1 - tail)

    return sum(
        w * (below(values + 0.5 - centre, s) - below(values - 0.5 - centre, s))
        for w, s in ((weight, 2.0**log_scale), (1 - weight, 2.0 ** (log_scale + spread)))
    )


# --- the rate for training ---

# Of value - centre, log_scale, spread, weight: in the middle, in the tails, on the ranges' ends.
POINTS = np.array(
    [
        (0.2, 0.3, 1.0, 0.5), (-0.2, -2.0, 0.5, 0.9), (0.49, 1.0, 2.5, 0.1), (0.51, 1.0, 2.5, 0.1),
        (-0.7, -1.0, 0.7, 0.3), (3.0, 0.0, 1.5, 0.7), (-3.3, 0.4, 1.5, 0.7), (40.0, 2.0, 2.0, 0.5),
        (7.0, 5.5, 0.1, 0.01), (-900.0, 9.5, 2.5, 0.6), (1.0, 3.0, 0.5, 0.99), (2.0, -0.5, 2.9, 0.5)
    ]
)  # fmt: skip


@pytest.mark.parametrize("argument", range(5))
def test_derivatives_are_central_differences(argument):
    distance, log_scale, spread, weight = POINTS.T.copy()
    centre = np.linspace(-2, 3, len(POINTS))
    arguments = [centre + distance, centre, log_scale, spread, weight]
    derivatives = mixture_bits(*arguments)[1]
    assert len(derivatives) == len(arguments)

    def total(x):
        return mixture_bits(*arguments[:argument], x, *arguments[argument + 1 :])[0].sum()

    expected = numeric_gradient(total, arguments[argument])
    np.testing.assert_allclose(derivatives[argument], expected, rtol=1e-5, atol=1e-8)


@given(st.floats(-30, 30), st.floats(-3.9, 9.9), st.floats(0.1, 2.9), st.floats(0.01, 0.99))
def test_derivatives_anywhere(distance, log_scale, spread, weight):
    if min(abs(abs(distance) - 0.5), abs(distance)) < 1e-3:
        distance += 0.01  # the second derivative jumps there
    point = [np.array([x]) for x in (distance, 0.0, log_scale, spread, weight)]
    derivatives = mixture_bits(*point)[1]
    for argument in range(5):

        def bits(x, argument=argument):
            return mixture_bits(*point[:argument], x, *point[argument + 1 :])[0].sum()

        expected = numeric_gradient(bits, point[argument])
        np.testing.assert_allclose(derivatives[argument], expected, rtol=1e-4, atol=1e-6)


def test_the_rate_is_that_of_the_definition():
    g = random_grid(300)
    values = np.random.default_rng(2).integers(-60, 61, 300).astype(np.float64)
    bits, _ = mixture_bits(values, *natural(g))
    np.testing.assert_allclose(bits, -np.log2(probabilities(values, g) + 2.0**-18), rtol=1e-9)


def test_probabilities_of_all_integers_sum_to_one():
    values = np.arange(-3000.0, 3001.0)
    for parameters in ((0.3, -4, 0, 1), (-1, 2, 3, 0.25), (5.5, 6, 1, 0.5)):
        bits, _ = mixture_bits(values, *(np.full(6001, x) for x in parameters))
        assert (2.0**-bits - 2.0**-18).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_and_derivatives_keep_the_dtype(dtype):
    arguments = [np.full((2, 3), x, dtype) for x in (1, 0.5, 0, 1, 0.5)]
    before = [x.copy() for x in arguments]
    bits, derivatives = mixture_bits(*arguments)
    for array in (bits, *derivatives):
        assert array.dtype == dtype and array.shape == (2, 3)
    for argument, unchanged in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(argument, unchanged)


def test_float32_is_close_to_float64():
    distance, *others = POINTS.T
    arguments = [distance, np.zeros(len(POINTS)), *others]
    bits, derivatives = mixture_bits(*arguments)
    single, single_derivatives = mixture_bits(*(x.astype(np.float32) for x in arguments))
    np.testing.assert_allclose(single, bits, rtol=1e-4, atol=1e-4)
    for actual, expected in zip(single_derivatives, derivatives, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0, 0.5, 1e7, -1e7])
@pytest.mark.parametrize("log_scale", [-1000, -4, 10, 1000])
@pytest.mark.parametrize("spread", [-1000, 0, 3, 1000])
@pytest.mark.parametrize("weight", [-1000, 0, 1, 1000])
def test_extreme_parameters_give_finite_bits(dtype, value, log_scale, spread, weight):
    arguments = [np.array([x], dtype) for x in (value, 0, log_scale, spread, weight)]
    with np.errstate(all="raise", under="ignore"):
        bits, derivatives = mixture_bits(*arguments)
    assert -1e-5 < bits[0] <= 18  # no probability is under 2**-18
    assert np.isfinite(derivatives).all()


@pytest.mark.parametrize(
    ("argument", "low", "high"), [(2, *LOG_SCALE_RANGE), (3, *SPREAD_RANGE), (4, 0, 1)]
)
def test_beyond_its_range_a_parameter_is_clipped_and_drawn_back(argument, low, high):
    rng = np.random.default_rng(3)
    inside = [rng.normal(0, 20, 500), rng.normal(0, 1, 500), *(rng.uniform(0, 1, (3, 500)))]
    seen = set()
    for limit, outside, sign in ((low, low - 0.7, 1), (high, high + 0.7, -1)):
        there, beyond = list(inside), list(inside)
        there[argument], beyond[argument] = np.full(500, float(limit)), np.full(500, outside)
        bits, derivatives = mixture_bits(*beyond)
        np.testing.assert_array_equal(bits, mixture_bits(*there)[0])
        drawn = derivatives[argument] * sign  # descent goes against the derivative
        assert (drawn <= 0).all()
        seen.add((drawn < 0).any())
        expected = mixture_bits(*there)[1][argument]
        expected[expected * sign > 0] = 0
        np.testing.assert_array_equal(derivatives[argument], expected)
    assert True in seen


# --- the frequencies for coding ---


def test_tables_never_change():
    # Other tables cannot decode what was written with these: that needs a new format version.
    tables = laplace._tables()
    assert tables.shape == (73, CENTRE_STEPS, SYMBOLS) and tables.dtype == np.float32
    digest = hashlib.sha256(tables.astype("<f4").tobytes()).hexdigest()
    assert digest == "0e5ee786f63e9636477b169b6e6d009378d596a8eede69847a308e31a3e35627"


def test_tables_do_not_depend_on_the_decimal_context():
    before = laplace._tables()
    precision = getcontext().prec
    try:
        getcontext().prec = 5
        assert Decimal(1) / 3 == Decimal("0.33333")
        np.testing.assert_array_equal(laplace._tables.__wrapped__(), before)
    finally:
        getcontext().prec = precision


def test_rows_never_change():
    rows = frequency_rows(random_grid(5000))
    digest = hashlib.sha256()
    for array, kind in zip(rows, ("<f4", "<i8", "<i8"), strict=True):
        digest.update(array.astype(kind).tobytes())
    assert digest.hexdigest() == "20779f187b91ec9386653a004445684baa82c778b021e228287a71bebd09242d"


def test_frequencies_are_whole_and_sum_exactly():
    rows = frequency_rows(random_grid(20_000))
    assert rows.frequencies.dtype == np.float32 and rows.frequencies.shape == (20_000, SYMBOLS)
    exact = rows.frequencies.astype(np.int64)
    np.testing.assert_array_equal(exact, rows.frequencies)
    assert (exact.sum(axis=1) == TOTAL).all()
    # In float32 too, and in any order: that is how the range coder sums them.
    assert (np.cumsum(rows.frequencies, axis=1, dtype=np.float32)[:, -1] == TOTAL).all()
    assert exact.min() >= 1
    assert TOTAL == 2**TABLE_BITS * WEIGHT_STEPS


def test_no_latents():
    rows = frequency_rows(GridParameters(*(np.zeros(0, np.int64),) * 4))
    assert rows.frequencies.shape == (0, SYMBOLS)
    assert coded_bits(np.zeros(0, np.int32), rows).shape == (0,)


def test_frequencies_are_the_probabilities_rounded():
    offsets = np.arange(-RADIUS, RADIUS + 1)
    for one in zip(*random_grid(300), strict=True):
        g = grid(one[0], min(one[1], 2 * SCALE_STEPS), *one[2:])
        rows = frequency_rows(GridParameters(*(np.array([x]) for x in g)))
        assert rows.shift[0] == 0
        assert abs(rows.base[0] - g.centre / CENTRE_STEPS) <= 0.5
        expected = probabilities(rows.base[0] + offsets, g)
        expected = np.append(expected, 1 - expected.sum())
        # Each symbol has 1 of 65536 beforehand; the middle also what rounding down leaves over.
        error = rows.frequencies[0] / TOTAL - expected
        beforehand = SYMBOLS * 2.0**-TABLE_BITS
        assert abs(error[RADIUS]) < beforehand
        error += beforehand * expected
        assert np.abs(np.delete(error, RADIUS)).max() < 1.001 * 2.0**-TABLE_BITS


def expected_costs(g: GridParameters) -> tuple[float, float, float]:
    """Of one distribution: its entropy, the expected length of its code, both in bits, and how
    often a latent escapes."""
    values = np.arange(-(1 << 14), 1 << 14)
    p = probabilities(values.astype(np.float64), g)
    rows = frequency_rows(GridParameters(*(np.full(len(values), x) for x in g)))
    escaped = np.abs((values - rows.base) >> rows.shift) > RADIUS
    entropy = -(p * np.log2(np.maximum(p, 1e-300))).sum()
    return entropy, (p * coded_bits(values, rows)).sum(), p[escaped].sum()


def test_the_code_is_as_short_as_the_entropy():
    checked = 0
    for one in zip(*random_grid(250), strict=True):
        g = grid(one[0], min(one[1], 6 * SCALE_STEPS), *one[2:])
        entropy, cost, escapes = expected_costs(g)
        assert cost >= entropy - 1e-6
        # An escape is followed by an Elias gamma code, not by one made for the tail.
        assert cost <= 1.003 * entropy + 0.005 + 2.1 * escapes, g
        checked += escapes < 0.001
    assert checked > 50


def test_coded_bits_are_close_to_the_rate_of_training():
    g = random_grid(4000)
    g = g._replace(log_scale=np.minimum(g.log_scale, 2 * SCALE_STEPS))
    rows = frequency_rows(g)
    values = rows.base + np.random.default_rng(4).integers(-RADIUS, RADIUS + 1, 4000)
    bits, _ = mixture_bits(values.astype(np.float64), *natural(g))
    likely = bits < 9
    assert likely.sum() > 500
    np.testing.assert_allclose(coded_bits(values, rows)[likely], bits[likely], atol=0.02)


def test_wide_distributions_send_low_bits_raw():
    for log_scale in range(LOG_SCALES[0], LOG_SCALES[1] + 1):
        rows = frequency_rows(grid([3], [log_scale], [0], [WEIGHT_STEPS]))
        # The narrow component's scale is left above 2 and up to 4 steps of what is coded.
        assert rows.shift[0] == max(0, -((2 * SCALE_STEPS - log_scale) // SCALE_STEPS))
        symbols = np.array([0, RADIUS])
        values = rows.base + ((symbols - RADIUS) << rows.shift)
        both = laplace.Rows(*(np.repeat(x, 2, axis=0) for x in rows))
        for low in {0, (1 << int(rows.shift[0])) - 1}:
            bits = coded_bits(values + low, both)
            expected = np.log2(TOTAL / rows.frequencies[0, symbols]) + rows.shift[0]
            np.testing.assert_allclose(bits, expected, rtol=1e-6)


@pytest.mark.parametrize("log_scale", [0, 20, 40, 79])
def test_wide_distributions_lie_at_their_centre(log_scale):
    # The mean of what is coded differs from the centre by no more than the grid's step.
    for centre in range(-700, 701, 37):
        rows = frequency_rows(grid([centre], [log_scale], [0], [WEIGHT_STEPS]))
        f = rows.frequencies[0, :-1].astype(np.float64)
        step = 1 << int(rows.shift[0])
        middles = rows.base[0] + np.arange(-RADIUS, RADIUS + 1) * step + (step - 1) / 2
        assert abs((f * middles).sum() / f.sum() - centre / CENTRE_STEPS) <= 0.4 * step


def test_escapes_cost_an_elias_gamma_code_and_a_sign():
    rows = frequency_rows(grid([0] * 6, [0] * 6, [0] * 6, [8] * 6))
    excess = np.array([1, 2, 3, 4, -1, -(1 << 20)])
    values = rows.base + excess + np.sign(excess) * RADIUS
    symbol = np.log2(TOTAL / rows.frequencies[:, -1])
    np.testing.assert_allclose(coded_bits(values, rows) - symbol, [2, 4, 4, 6, 2, 42], rtol=1e-5)


@given(*[st.integers(-(2**62), 2**62)] * 4)
def test_extreme_parameters_are_clipped(centre, log_scale, spread, weight):
    extreme = frequency_rows(grid([centre], [log_scale], [spread], [weight]))
    clipped = frequency_rows(
        grid(
            [np.clip(centre, -(1 << 19), 1 << 19)],
            [np.clip(log_scale, *LOG_SCALES)],
            [np.clip(spread, *SPREADS)],
            [np.clip(weight, 0, WEIGHT_STEPS)],
        )
    )
    for one, other in zip(extreme, clipped, strict=True):
        np.testing.assert_array_equal(one, other)
    assert extreme.frequencies.sum() == TOTAL and extreme.frequencies.min() >= 1
    assert abs(extreme.base[0]) <= 1 << 17 and 0 <= extreme.shift[0] <= 8


def test_to_grid_rounds_and_clips():
    g = to_grid(
        np.array([0.06, 0.07, -1.5, 1e9]),
        np.array([-4.0, 0.19, -1e9, 1e9]),
        np.array([0.0, 1.5, -1e9, 1e9]),
        np.array([0.0, 0.47, -1e9, 1e9]),
    )
    assert g.centre.tolist() == [0, 1, -12, 1 << 19]
    assert g.log_scale.tolist() == [-32, 2, -32, 80]
    assert g.spread.tolist() == [0, 12, 0, 24]
    assert g.weight.tolist() == [0, 8, 0, 16]
    assert all(x.dtype == np.int64 for x in g)


@given(st.integers(-400, 400), st.integers(*LOG_SCALES), st.integers(*SPREADS), st.integers(0, 16))
def test_to_grid_leaves_what_is_on_the_grid(centre, log_scale, spread, weight):
    one = grid(centre, log_scale, spread, weight)
    assert to_grid(*natural(one)) == one


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rate_alone_is_that_of_the_mixture(dtype):
    rng = np.random.default_rng(11)
    value = (rng.normal(size=(200, 30)) * 6).astype(dtype)
    value[0] = 0
    parameters = [
        rng.normal(size=30), rng.uniform(-5, 6, 30), rng.uniform(-1, 4, 30), rng.uniform(-1, 2, 30)
    ]  # fmt: skip
    parameters = [x.astype(dtype) for x in parameters]
    expected = laplace.mixture_bits(value, *(np.broadcast_to(x, value.shape) for x in parameters))
    found = laplace.rate(value, *parameters)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected[0], rtol=1e-3, atol=1e-3)


@given(st.integers(0, 1 << 32))
def test_bits_of_some_values_are_those_of_whole_rows(seed):
    rng = np.random.default_rng(seed)
    n = 40
    grid = GridParameters(
        rng.integers(-400, 400, n), rng.integers(-40, 90, n), rng.integers(-2, 30, n),
        rng.integers(-1, 18, n),
    )  # fmt: skip
    rows = frequency_rows(grid)
    values = rng.integers(-60, 60, (3, n)) * rng.choice([1, 1, 1, 1000], (3, n))
    expected = np.stack([coded_bits(x, rows) for x in values])
    found = bits_of(values, grid)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
