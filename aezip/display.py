"""Showing an image: in the system's viewer, or in the terminal where there is no screen."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys

import numpy as np
from PIL import Image, ImageShow

from aezip.errors import ImageError

UPPER_HALF = "\u2580"
_RESET = "\x1b[0m"
_CHECKS = (102, 153)  # greys of the board seen through transparency
_CHECK = 4  # the side of its squares in pixels as drawn
_NO_TERMINAL = 80, 80  # columns, rows: a pipe has no height, so only the width limits most pictures


def show(image: Image.Image, title: str) -> None:
    """Open the system's viewer, or draw the picture on standard output.

    It is drawn where there is no screen, or no viewer that Pillow knows. Raises ImageError where
    standard output has no characters to draw with.
    """
    if has_screen():
        # The viewer is lent a file: where none can be written, the terminal still serves.
        with contextlib.suppress(OSError):
            if ImageShow.show(image, title):
                return
    columns, rows = _NO_TERMINAL
    if sys.stdout.isatty():
        columns, rows = shutil.get_terminal_size((80, 24))
        rows = max(rows - 1, 1)  # the last line is left for the prompt
    encoding = sys.stdout.encoding or "utf-8"
    try:
        UPPER_HALF.encode(encoding)
    except UnicodeEncodeError:
        raise ImageError(
            f"the terminal's encoding, {encoding}, has no characters to draw a picture with; "
            "it can be saved to a file"
        ) from None
    print(terminal_text(image, columns, rows), flush=True)


def has_screen() -> bool:
    """Whether a window can be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def terminal_text(image: Image.Image, columns: int, rows: int) -> str:
    """The picture in half blocks and 24-bit colours, two pixels a character, one above the other.

    It fits into `columns` characters and `rows` lines with its proportions kept, no line ends in
    a colour. Small pictures are enlarged by a whole factor, so that their pixels stay square and
    sharp; what is transparent lets a chequered board through.
    """
    width, height = image.size
    scale = min(columns / width, 2 * rows / height)
    if scale >= 1:
        size = width * int(scale), height * int(scale)
        image = image.resize(size, Image.Resampling.NEAREST)
    else:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(opaque(image))
    lines = []
    for y in range(0, len(pixels), 2):
        line = []
        for x in range(pixels.shape[1]):
            above = "38;2;{};{};{}".format(*pixels[y, x])
            below = ";48;2;{};{};{}".format(*pixels[y + 1, x]) if y + 1 < len(pixels) else ""
            line.append(f"\x1b[{above}{below}m{UPPER_HALF}")
        lines.append("".join(line) + _RESET)
    return "\n".join(lines)


def opaque(image: Image.Image) -> Image.Image:
    """In sRGB as screens have it, with what is transparent laid on a chequered board."""
    image = in_srgb(image)
    if image.mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    y, x = np.mgrid[: image.height, : image.width] // _CHECK
    board = np.array(_CHECKS, np.uint8)[(x + y) % 2]
    ground = Image.fromarray(board).convert("RGBA")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def in_srgb(image: Image.Image) -> Image.Image:
    """With the colours that its profile means; as it is where it has none, or a damaged one."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    from PIL import ImageCms  # not above: few images have a profile

    try:
        profiles = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        without = image.convert("L" if image.mode in ("L", "LA") else "RGB")
        colours = ImageCms.buildTransform(*profiles, without.mode, "RGB").apply(without)
    except (ImageCms.PyCMSError, OSError, ImportError):  # Pillow can be built without it
        return image
    if image.mode in ("LA", "RGBA"):
        colours.putalpha(image.getchannel("A"))
    return colours
