"""Showing an image: in the system's viewer, or in the terminal where there is no screen."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
from PIL import Image, ImageShow

UPPER_HALF = "\u2580"
_RESET = "\x1b[0m"
_CHECKS = (102, 153)  # greys of the board seen through transparency
_CHECK = 4  # pixels


def show(image: Image.Image, title: str) -> None:
    """Open the system's viewer, or draw the picture on standard output."""
    if _has_screen() and ImageShow.show(image, title):
        return
    size = shutil.get_terminal_size((80, 24))
    # The last line is left for the prompt.
    text = terminal_text(image, size.columns, max(size.lines - 1, 1))
    print(text, flush=True)


def _has_screen() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def terminal_text(image: Image.Image, columns: int, rows: int) -> str:
    """The picture in half blocks and 24-bit colours, two pixels a character, one above the other.

    It fits into `columns` characters and `rows` lines with its proportions kept. Small pictures
    are enlarged by a whole factor, so that their pixels stay square and sharp.
    """
    width, height = image.size
    scale = min(columns / width, 2 * rows / height)
    if scale >= 1:
        size = width * int(scale), height * int(scale)
        image = _opaque(image).resize(size, Image.Resampling.NEAREST)
    else:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = _opaque(image.resize(size, Image.Resampling.LANCZOS))
    pixels = np.asarray(image)
    lines = []
    for y in range(0, len(pixels), 2):
        line = []
        for x in range(pixels.shape[1]):
            above = "38;2;{};{};{}".format(*pixels[y, x])
            below = ";48;2;{};{};{}".format(*pixels[y + 1, x]) if y + 1 < len(pixels) else ""
            line.append(f"\x1b[{above}{below}m{UPPER_HALF}")
        lines.append("".join(line) + _RESET)
    return "\n".join(lines)


def _opaque(image: Image.Image) -> Image.Image:
    """RGB, with what is transparent laid on a chequered board."""
    if image.mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    y, x = np.mgrid[: image.height, : image.width] // _CHECK
    board = np.array(_CHECKS, np.uint8)[(x + y) % 2]
    ground = Image.fromarray(board).convert("RGBA")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")
