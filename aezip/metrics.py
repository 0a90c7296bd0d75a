"""How far a decoded image is from the original, and how one codec compares with another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Curve = Sequence[float] | NDArray[np.floating]


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all channels; infinite where nothing differs.

    Both (height, width, channels), uint8. With transparency (2 or 4 channels) colours count by
    their opacity, since nobody sees the colour of what is transparent.
    Raises ValueError for different shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of shapes {a.shape} and {b.shape} cannot be compared")
    error = _visible(a) - _visible(b)
    mean = float(np.vdot(error, error)) / error.size
    return float(10 * np.log10(255**2 / mean)) if mean else float("inf")


def _visible(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = pixels.astype(np.float64)
    if pixels.shape[2] in (2, 4):
        values[..., :-1] *= values[..., -1:] / 255
    return values


def bd_rate(
    rate_a: Curve, psnr_a: Curve, rate_b: Curve, psnr_b: Curve, low: float, high: float
) -> float:
    """How much more rate a takes than b at equal quality, in percent, averaged from low to high dB.

    Bjontegaard's measure (ITU-T VCEG-M33, 2001) with monotone cubic interpolation of the
    logarithm of the rate (as in JCTVC-L1100), which cannot overshoot between the points.
    Raises ValueError where a curve has fewer than two points or does not reach from low to high.
    """
    grid = np.linspace(low, high, 1001)
    difference = _log_rate(rate_a, psnr_a, grid) - _log_rate(rate_b, psnr_b, grid)
    mean = (difference[1:] + difference[:-1]).mean() / 2
    return float(100 * np.expm1(mean))


def _log_rate(rate: Curve, db: Curve, at: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(db)
    x, y = np.asarray(db, float)[order], np.log(np.asarray(rate, float)[order])
    if len(x) < 2 or np.any(np.diff(x) <= 0):
        raise ValueError("a curve needs two or more points of different quality")
    if x[0] > at[0] or x[-1] < at[-1]:
        raise ValueError(
            f"a curve from {x[0]:.2f} to {x[-1]:.2f} dB does not cover {at[0]} to {at[-1]} dB"
        )
    return pchip(x, y, at)


def pchip(
    x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Monotone piecewise cubic interpolation of y over ascending x (Fritsch and Butland, "A method
    for constructing local monotone piecewise cubic interpolants", 1984)."""
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
