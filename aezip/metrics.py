"""How far a decoded image is from the original, and how one codec compares with another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Curve = Sequence[float] | NDArray[np.floating]
EXACT_DB = 100.0
"""What an image that came back exactly counts as in a mean PSNR."""

_SAMPLES = 1 << 20  # taken at once, so that a large photo does not need its size eight times over


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all channels; infinite where nothing differs.

    10 log10(255^2 / mean squared error) of two images (height, width, channels), uint8. With
    transparency (2 or 4 channels) colours are first multiplied by their opacity, since nobody sees
    the colour of what is transparent. Raises ValueError for different shapes or no pixels.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of shapes {a.shape} and {b.shape} cannot be compared")
    if not a.size:
        raise ValueError("images without pixels cannot be compared")
    total = 0.0
    rows = max(1, _SAMPLES * len(a) // a.size)
    for start in range(0, len(a), rows):
        error = visible(a[start : start + rows]) - visible(b[start : start + rows])
        total += float(np.vdot(error, error))
    return 10 * math.log10(255**2 * a.size / total) if total else math.inf


def hidden_psnr(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """The PSNR in dB, as of `psnr`, of the colours alone of all that is wholly transparent in the
    original, which `psnr` has no eye for; infinite where nothing is."""
    if original.shape[2] not in (2, 4):
        return math.inf
    where = original[..., -1] == 0
    if not where.any():
        return math.inf
    return psnr(original[where][:, None, :-1], decoded[where][:, None, :-1])


def hides_colours(pixels: NDArray[np.uint8]) -> bool:
    """Whether an image has colours other than black where it is wholly transparent."""
    return pixels.shape[2] in (2, 4) and bool(pixels[pixels[..., -1] == 0].any())


def visible(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(height, width, channels), colours multiplied by their opacity where there is one."""
    values = pixels.astype(np.float64)
    if pixels.shape[2] in (2, 4):
        values[..., :-1] *= values[..., -1:] / 255
    return values


def bd_rate(
    rate_a: Curve, psnr_a: Curve, rate_b: Curve, psnr_b: Curve, low: float, high: float
) -> float:
    """How much more rate b takes than a, the anchor, at equal quality: percent, averaged over
    low to high dB. Negative where b is better.

    Bjontegaard's measure ("Calculation of average PSNR differences between RD-curves", ITU-T
    VCEG-M33, 2001): the mean difference of the logarithms of the rates. The curves through the
    points, in any order, are piecewise cubic, as JCT-VC reports have them, not one polynomial,
    which swings between the points; and monotone.

    Raises ValueError where a curve has fewer than two points, two of the same PSNR, or one that is
    not finite or has no rate, or more rates than PSNRs or fewer, or does not reach from `low` to
    `high`.
    """
    if not low < high:
        raise ValueError(f"from {low} to {high} dB is no interval")
    # Trapezia: with so many, what they miss of the cubics is far below a hundredth of a percent.
    grid = np.linspace(low, high, 1001)
    difference = _log_rate(rate_b, psnr_b, grid) - _log_rate(rate_a, psnr_a, grid)
    mean = (difference[1:] + difference[:-1]).mean() / 2
    return float(100 * np.expm1(mean))


def _log_rate(rate: Curve, db: Curve, at: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = np.asarray(db, np.float64), np.asarray(rate, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError("a curve has one rate for each PSNR")
    order = np.argsort(x)
    x, y = x[order], y[order]
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (y > 0).all()):
        raise ValueError("the points of a curve have finite PSNR and a rate above 0")
    if len(x) < 2 or (np.diff(x) <= 0).any():
        raise ValueError("a curve needs two or more points of different quality")
    if x[0] > at[0] or x[-1] < at[-1]:
        raise ValueError(
            f"a curve from {x[0]:.2f} to {x[-1]:.2f} dB does not cover {at[0]} to {at[-1]} dB"
        )
    y = np.log(y)
    return pchip(x, y, at)


def pchip(
    x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Piecewise cubic interpolation of y over ascending x, monotone wherever y is.

    x and y: (points,), two or more; `at`: within the range of x. Fritsch and Carlson, "Monotone
    piecewise cubic interpolation" (1980), with the slopes of Fritsch and Butland, "A method for
    constructing local monotone piecewise cubic interpolants" (1984), and at the ends those of
    Moler, "Numerical computing with MATLAB" (2004), chapter 3.
    """
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    d = np.empty_like(y)
    if len(x) == 2:
        d[:] = slope[0]
    else:
        left, right = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
        same = slope[:-1] * slope[1:] > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (left + right) / (left / slope[:-1] + right / slope[1:])
        d[1:-1] = np.where(same, mean, 0)
        d[0] = _end_slope(h[0], h[1], slope[0], slope[1])
        d[-1] = _end_slope(h[-1], h[-2], slope[-1], slope[-2])
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(h) - 1)
    t = (at - x[i]) / h[i]
    return (
        y[i] * (1 + 2 * t) * (1 - t) ** 2
        + h[i] * d[i] * t * (1 - t) ** 2
        + y[i + 1] * t**2 * (3 - 2 * t)
        + h[i] * d[i + 1] * t**2 * (t - 1)
    )


def _end_slope(h0: float, h1: float, slope0: float, slope1: float) -> float:
    d = ((2 * h0 + h1) * slope0 - h0 * slope1) / (h0 + h1)
    if d * slope0 <= 0:
        return 0.0
    if slope0 * slope1 <= 0 and abs(d) > 3 * abs(slope0):
        return 3 * slope0
    return float(d)
