"""Curves as PNG files, drawn with matplotlib, which is the extra `aezip[plot]`."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from aezip.console import duration
from aezip.errors import AezipError, ImageError, ModelError
from aezip.storage.files import one_line, reason, replacing
from aezip.targets import check_target

OWN = "#d1495b"
_OTHERS = ("#2e6f95", "#3a7d44", "#8d6a9f", "#8a8a80")
_SIZE = (8.0, 5.2)  # inches


def check_plots(path: str | os.PathLike[str]) -> None:
    """Raises AezipError where no plot can be written; better before the work than after it."""
    if not os.fspath(path).lower().endswith(".png"):
        raise ImageError(f"{one_line(path)}: plots are written as .png; name one of these")
    check_target(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise AezipError("plots need matplotlib: pip install 'aezip[plot]'") from None


def rate_distortion(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    path: str | os.PathLike[str],
    *,
    title: str,
) -> None:
    """Curves of (bits per pixel, PSNR in dB), by the names of their codecs. aezip's is "aezip"."""
    check_plots(path)
    figure, axes = _figure()
    others = iter(_OTHERS)
    for name, points in curves.items():
        own = name == "aezip"
        x, y = zip(*sorted(points), strict=True)
        axes.plot(
            x, y, marker="o",
            color=OWN if own else next(others, "#555555"),
            markersize=5 if own else 3.5,
            linewidth=2.6 if own else 1.3,
            zorder=3 if own else 2,
            label="aezip, decoder included" if own else name,
        )  # fmt: skip
    # What is shown is where aezip's curve is, and what the others take there.
    low, high = (f(y for _, y in curves["aezip"]) for f in (min, max))
    margin = max(0.5, 0.1 * (high - low))
    within = [x for points in curves.values() for x, y in points if low <= y <= high]
    axes.set(xlabel="bits per pixel", ylabel="mean PSNR (dB)", title=title)
    axes.set_xlim(0, 1.08 * max(within))
    axes.set_ylim(low - margin, high + margin)
    axes.legend(frameon=False, loc="best")
    _save(figure, path)


def training(header: Mapping[str, Any], path: str | os.PathLike[str], *, title: str) -> None:
    """A model's training: rate and PSNR of the fixed sample over the minutes, and a sample image
    at several stages."""
    check_plots(path)
    if not header["history"]:
        raise ModelError("the model's training ended before anything was measured")
    history = np.array(header["history"], np.float64).reshape(-1, 3)
    stages = header.get("stages", [])
    pictures = [_picture(stage["picture"]) for stage in stages]
    figure, axes = _figure(pictures)
    minutes, bpp, db = history.T
    axes.plot(minutes, bpp, color=OWN, linewidth=2.2)
    axes.set(xlabel="minutes", title=title)
    axes.set_ylabel("bits per pixel", color=OWN)
    axes.set_ylim(0, 1.12 * bpp.max() or 1)
    other = axes.twinx()
    other.plot(minutes, db, color=_OTHERS[0], linewidth=2.2)
    other.set_ylabel("PSNR (dB)", color=_OTHERS[0])
    other.spines[["top"]].set_visible(False)
    margin = max(0.3, 0.12 * float(np.ptp(db)))
    other.set_ylim(db.min() - margin, db.max() + margin)
    for at, stage in enumerate(stages):
        axes.axvline(stage["minutes"], color="#999999", linewidth=0.8, linestyle=":", zorder=1)
        place = figure.axes[1 + at]
        place.set_title(
            f"{duration(60 * stage['minutes'])}\n"
            f"{stage['bits_per_pixel']:.3f} bpp, {stage['psnr']:.2f} dB",
            fontsize=8.5,
        )
    _save(figure, path)


def _figure(pictures: Sequence[Image.Image] = ()) -> tuple[Any, Any]:
    """A figure and its axes; below them further axes with pictures, of small ones each pixel."""
    from matplotlib.figure import Figure  # without pyplot: no window, nothing global

    width, height = _SIZE
    if not pictures:
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
    else:
        aspect = max(x.height / x.width for x in pictures)
        below = min(2.6, width / len(pictures) * aspect + 0.55)
        figure = Figure(figsize=(width, height + below), layout="constrained")
        grid = figure.add_gridspec(2, len(pictures), height_ratios=(height, below))
        axes = figure.add_subplot(grid[0, :])
        for column, picture in enumerate(pictures):
            place = figure.add_subplot(grid[1, column])
            near = "nearest" if max(picture.size) < 120 else "antialiased"
            place.imshow(np.asarray(picture), interpolation=near)
            place.set_axis_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _picture(text: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text)), formats=["WEBP"]) as image:
            image.load()
            return image.convert("RGB")
    except Exception as error:  # what a damaged picture raises is of many kinds
        raise ImageError("the model's pictures are damaged") from error


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    try:
        with replacing(path, sync=False) as temporary:
            figure.savefig(temporary, dpi=130)
    except OSError as error:
        raise ImageError(f"{one_line(path)} cannot be written: {reason(error)}") from error
