"""Mixtures of two Laplace distributions over the integers: the shape every latent is given.

Training needs a rate that can be differentiated and coding needs integer frequencies that are
the same on every machine, so the family is here twice: `mixture_bits` in floating point, and
`frequency_rows` from tables made with integer arithmetic alone. Both take the same four
parameters, of which the coder sees values rounded to the grids named below:

- `centre`, in latent steps, on a grid of 1/8;
- `log_scale`, log2 of the narrow component's scale, on a grid of 1/8 (0.09 octave costs under
  0.3 % of the rate where it costs most);
- `spread`, log2 of the wide component's scale over the narrow one's, on a grid of 1/8;
- `weight` of the narrow component, on a grid of 1/16.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RADIUS = 10  # offsets from the centre with a frequency of their own; the rest escape
SYMBOLS = 2 * RADIUS + 2  # the last symbol is the escape
CENTRE_STEPS = 8  # grid steps per latent step
SCALE_STEPS = 8  # grid steps per octave, of log_scale and of spread
WEIGHT_STEPS = 16
LOG_SCALE_RANGE = (-4, 10)  # octaves
SPREAD_RANGE = (0, 3)  # octaves
PLAIN_OCTAVES = 2  # a narrow scale above 2**PLAIN_OCTAVES sends its lowest bits raw
TABLE_BITS = 16  # each component's row sums to 2**TABLE_BITS
LN2 = 0.6931471805599453
_TOTAL = np.float32(2**TABLE_BITS * WEIGHT_STEPS)  # of a row's frequencies

Array = NDArray[np.floating]
Integers = NDArray[np.integer]


class GridParameters(NamedTuple):
    """Parameters on their grids, as integers: the unit is one grid step."""

    centre: Integers
    log_scale: Integers
    spread: Integers
    weight: Integers


class Rows(NamedTuple):
    """What coding n latents needs, one row per latent."""

    frequencies: NDArray[np.float32]  # (n, SYMBOLS), whole numbers summing to 2**(TABLE_BITS+4)
    base: NDArray[np.int64]  # (n,) latent value of the middle symbol
    shift: NDArray[np.int64]  # (n,) number of low bits sent raw

    def take(self, index: Integers) -> Rows:
        """The rows of some latents, copied."""
        return Rows(
            self.frequencies.take(index, axis=0), self.base.take(index), self.shift.take(index)
        )


def to_grid(centre: Array, log_scale: Array, spread: Array, weight: Array) -> GridParameters:
    """Round parameters in natural units to the coder's grids (what `frequency_rows` takes)."""

    def grid(x: Array, steps: int, low: int, high: int) -> Integers:
        return np.clip(np.rint(np.asarray(x) * steps), low * steps, high * steps).astype(np.int64)

    return GridParameters(
        grid(centre, CENTRE_STEPS, -(1 << 16), 1 << 16),
        grid(log_scale, SCALE_STEPS, *LOG_SCALE_RANGE),
        grid(spread, SCALE_STEPS, *SPREAD_RANGE),
        grid(weight, WEIGHT_STEPS, 0, 1),
    )


def _component(distance: Array, scale: Array) -> tuple[Array, Array, Array]:
    """Probability of the unit interval at `distance` from a Laplace centre, and its derivatives
    by distance and by log2 of the scale. Every exponential has an argument of at most zero."""
    a = np.abs(distance)
    half = np.exp(-0.5 / scale)
    outside = a >= 0.5
    # |d| >= 1/2: both ends of the interval lie on one side of the centre.
    far = np.exp(-np.maximum(a - 0.5, 0) / scale)
    both = half * half
    p_out = 0.5 * far * (1 - both)
    by_a_out = -p_out / scale
    by_s_out = (p_out * a - 0.25 * far * (1 + both)) / scale
    # |d| < 1/2: the interval holds the centre.
    inner = np.minimum(a, 0.5)
    up = 0.5 * np.exp((inner - 0.5) / scale)
    down = 0.5 * np.exp((-inner - 0.5) / scale)
    p_in = 1 - (up + down)
    by_a_in = -(up - down) / scale
    by_s_in = -((0.5 - inner) * up + (0.5 + inner) * down) / scale
    p = np.where(outside, p_out, p_in)
    by_distance = np.where(outside, by_a_out, by_a_in) * np.sign(distance)
    by_log_scale = np.where(outside, by_s_out, by_s_in) * p.dtype.type(LN2)
    return p, by_distance, by_log_scale


def mixture_bits(
    value: Array, centre: Array, log_scale: Array, spread: Array, weight: Array
) -> tuple[Array, tuple[Array, Array, Array, Array, Array]]:
    """Bits that each latent takes, and their derivatives.

    All arguments have one shape and dtype; `value` may be fractional (latents with additive
    noise: Balle, Laparra, Simoncelli, "End-to-end optimized image compression", 2017, sec. 3).
    Returns the bits, and their derivatives by value, centre, log_scale, spread and weight;
    `weight` outside 0..1 and `log_scale` or `spread` outside their ranges are clipped, with
    derivatives that only ever point back inside.
    """
    one = value.dtype.type
    a = np.clip(log_scale, *LOG_SCALE_RANGE).astype(value.dtype)
    b = np.clip(spread, *SPREAD_RANGE).astype(value.dtype)
    w = np.clip(weight, 0, 1).astype(value.dtype)
    distance = value - centre
    p1, d1, s1 = _component(distance, np.exp2(a))
    p2, d2, s2 = _component(distance, np.exp2(a + b))
    floor = one(2.0**-18)  # no symbol's coded frequency is lower than about this
    p = w * p1 + (1 - w) * p2 + floor
    bits = -np.log2(p)
    factor = -1 / (p * one(LN2))
    by_value = factor * (w * d1 + (1 - w) * d2)
    by_log_scale = factor * (w * s1 + (1 - w) * s2)
    by_spread = factor * (1 - w) * s2
    by_weight = factor * (p1 - p2)
    for gradient, x, (low, high) in (
        (by_log_scale, log_scale, LOG_SCALE_RANGE),
        (by_spread, spread, SPREAD_RANGE),
        (by_weight, weight, (0, 1)),
    ):
        gradient[((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))] = 0
    return bits, (by_value, -by_value, by_log_scale, by_spread, by_weight)


def rate(value: Array, centre: Array, log_scale: Array, spread: Array, weight: Array) -> Array:
    """The bits of `mixture_bits` alone, of values (..., n) with parameters (n,): several times
    faster where no derivatives are wanted."""
    dtype = value.dtype.type
    narrow = np.exp2(np.clip(log_scale, *LOG_SCALE_RANGE)).astype(dtype)
    wide = narrow * np.exp2(np.clip(spread, *SPREAD_RANGE)).astype(dtype)
    share = np.clip(weight, 0, 1).astype(dtype)
    a = np.abs(value - centre)
    p = np.full_like(a, 2.0**-18)
    for scale, part in ((narrow, share), (wide, 1 - share)):
        slope = -1 / scale
        # Both ends of the interval on one side of the centre; otherwise what is outside is less
        # than one by as much as is beyond its two ends.
        beyond = np.exp(slope * np.abs(a - dtype(0.5)))
        other = np.exp(slope * (a + dtype(0.5)))
        inside = np.where(a >= 0.5, beyond - other, dtype(2) - beyond - other)
        p += (dtype(0.5) * part) * inside
    return -np.log2(p)


@lru_cache(maxsize=1)
def _tables() -> NDArray[np.float32]:
    """Frequencies of one Laplace component: (scales, CENTRE_STEPS, SYMBOLS), each row summing
    to 2**TABLE_BITS, no entry below 1.

    Row s has log2 scale LOG_SCALE_RANGE[0] + s / SCALE_STEPS, up to the widest component of a
    latent whose narrow one is just not shifted. The second index is the centre's fraction in
    grid steps, from -1/2. Only 1/(8 scale) passes through an exponential, correctly rounded by
    `decimal`; the rest is integer arithmetic, so the tables are the same everywhere.
    """
    low = LOG_SCALE_RANGE[0]
    count = (PLAIN_OCTAVES + SPREAD_RANGE[1] - low) * SCALE_STEPS + 1
    unit = 40  # fixed point: 2**unit is one
    reach = CENTRE_STEPS * (RADIUS + 1)
    powers = np.zeros((count, reach + 1), np.int64)  # exp(-j / (8 scale)) / 2
    with localcontext() as context:
        context.prec = 50
        for s in range(count):
            scale = Decimal(2) ** (Decimal(low * SCALE_STEPS + s) / SCALE_STEPS)
            ratio = int((-1 / (CENTRE_STEPS * scale)).exp() * (1 << 60))
            power = 1 << 60
            for j in range(reach + 1):
                powers[s, j] = power >> (61 - unit)
                power = power * ratio >> 60
    # Cumulative probability at the boundaries k - 1/2 for k = -RADIUS .. RADIUS + 1, in eighths
    # of a step from the centre.
    boundaries = np.arange(-RADIUS, RADIUS + 2) * CENTRE_STEPS - CENTRE_STEPS // 2
    fractions = np.arange(CENTRE_STEPS) - CENTRE_STEPS // 2
    x = boundaries[None, :] - fractions[:, None]  # (CENTRE_STEPS, 2 RADIUS + 2)
    tail = powers[:, np.abs(x)]
    cumulative = np.where(x < 0, tail, (1 << unit) - tail)
    inside = np.diff(cumulative, axis=-1)
    escape = (1 << unit) - inside.sum(axis=-1, keepdims=True)
    exact = np.concatenate([inside, escape], axis=-1)
    table = (exact * ((1 << TABLE_BITS) - SYMBOLS) >> unit) + 1
    # What rounding down has left over goes to the middle symbol, the likeliest.
    table[..., RADIUS] += (1 << TABLE_BITS) - table.sum(axis=-1)
    return np.ascontiguousarray(table.astype(np.float32))


def frequency_rows(grid: GridParameters) -> Rows:
    """Exact integer frequencies for n latents: `grid` holds int arrays of shape (n,).

    A latent v is coded as the symbol ((v - base) >> shift) + RADIUS when that lies in
    0..2 RADIUS, as the escape symbol otherwise, and `shift` raw low bits of v - base.
    """
    first, second, weight, base, shift = _components(grid)
    tables = _tables().reshape(-1, SYMBOLS)
    frequencies, others = tables.take(first, axis=0), tables.take(second, axis=0)
    frequencies *= weight[:, None]
    others *= WEIGHT_STEPS - weight[:, None]
    frequencies += others
    return Rows(frequencies, base, shift)


def bits_of(values: Integers, grid: GridParameters) -> NDArray[np.float32]:
    """What coding each of several values of n latents takes, in bits: values (..., n), grid int
    arrays (n,), result (..., n). The same as `coded_bits` of whole rows, but faster."""
    first, second, weight, base, shift = _components(grid)
    symbols, raw = _symbols(values, base, shift)
    tables = _tables().ravel()
    frequencies = tables.take(first * SYMBOLS + symbols)
    frequencies *= weight
    others = tables.take(second * SYMBOLS + symbols)
    others *= WEIGHT_STEPS - weight
    frequencies += others
    return np.log2(_TOTAL / frequencies) + raw


def _components(
    grid: GridParameters,
) -> tuple[Integers, Integers, NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """(row of the narrow component's table, of the wide one's, weight, base, shift): (n,)."""
    low, high = (SCALE_STEPS * octave for octave in LOG_SCALE_RANGE)
    narrow = _within(grid.log_scale, low, high)
    spread = _within(grid.spread, 0, SPREAD_RANGE[1] * SCALE_STEPS)
    weight = _within(grid.weight, 0, WEIGHT_STEPS).astype(np.float32)
    # Wide distributions: divide by 2**shift until the narrow scale is at most 2**PLAIN_OCTAVES.
    shift = np.maximum(-((PLAIN_OCTAVES * SCALE_STEPS - narrow) // SCALE_STEPS), 0)
    narrow = narrow - SCALE_STEPS * shift - low
    centre = _within(grid.centre, -(1 << 19), 1 << 19)
    # A bin of 2**shift values has its middle (2**shift - 1) / 2 above its lowest value.
    centre = ((centre - (((1 << shift) - 1) * CENTRE_STEPS >> 1)) >> shift) + CENTRE_STEPS // 2
    base = centre // CENTRE_STEPS << shift
    row = narrow * CENTRE_STEPS + centre % CENTRE_STEPS
    return row, row + spread * CENTRE_STEPS, weight, base, shift


def _within(x: Integers, low: int, high: int) -> Integers:
    # For the few latents of a decoding step this takes a third of the time of np.clip.
    return np.minimum(np.maximum(x, low), high)


def likeliest(rows: Rows) -> NDArray[np.int64]:
    """The value of each of n latents that takes the fewest bits: (n,), the lowest of several."""
    return rows.base + (rows.frequencies[:, :-1].argmax(axis=1) - RADIUS << rows.shift)


def coded_bits(values: Integers, rows: Rows) -> NDArray[np.float32]:
    """What coding each of n latents takes, in bits, raw bits included: (n,) float32."""
    symbols, raw = _symbols(values, rows.base, rows.shift)
    frequencies = np.take_along_axis(rows.frequencies, symbols[:, None], axis=1)[:, 0]
    return np.log2(_TOTAL / frequencies) + raw


def _symbols(
    values: Integers, base: Integers, shift: Integers
) -> tuple[Integers, NDArray[np.float32]]:
    """The symbols of values (..., n), and the bits that come after each."""
    offset = (values.astype(np.int64) - base) >> shift
    excess = np.abs(offset) - RADIUS
    raw = shift.astype(np.float32)
    far = excess > 0
    if not far.any():
        return offset + RADIUS, np.broadcast_to(raw, offset.shape)
    escaped = 2 * np.frexp(np.maximum(excess, 0).astype(np.float32))[1]
    return np.where(far, SYMBOLS - 1, offset + RADIUS), raw + escaped.astype(np.float32)
