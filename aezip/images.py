"""Finding, reading and writing image files.

Whatever Pillow opens becomes one of four kinds: grey or RGB, with or without transparency, eight
bits a channel, upright. Everything a broken, huge or strange file can do ends in an ImageError
that names the file.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from aezip.errors import ImageError
from aezip.storage.files import one_line, reason, replacing

MODES = ("L", "LA", "RGB", "RGBA")

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}
# What each of Pillow's other modes is nearest to. P and PA are looked at more closely.
_NEAREST = {
    "1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB",
    "LAB": "RGB", "HSV": "RGB",
}  # fmt: skip


class Found(NamedTuple):
    """The images below a folder: names with `/` between folders, sorted; and how many other
    files there were."""

    names: list[str]
    skipped: int


def find(folder: str | os.PathLike[str]) -> Found:
    """The image files below a folder, in an order that is the same on every system.

    Hidden files, files below hidden folders and files that are no images are counted as skipped.
    A file named like an image is one, even if it turns out to be broken when it is read; a file
    with an ending that Pillow does not know is one if Pillow recognises its first bytes.

    Raises ImageError where there is no such folder, or no image in it.
    """
    root = Path(folder)
    shown = one_line(folder)
    if not root.exists():
        raise ImageError(f"{shown}: there is no such folder")
    if not root.is_dir():
        raise ImageError(f"{shown} is not a folder")
    names, skipped = [], 0
    for parts, hidden in _walk(root, (), False, frozenset()):
        if not hidden and _is_image(root.joinpath(*parts)):
            names.append("/".join(parts))
        else:
            skipped += 1
    if not names:
        others = f" (and {skipped} other files)" if skipped else ""
        raise ImageError(f"{shown} holds no images{others}")
    return Found(names, skipped)


def _walk(
    folder: Path, parts: tuple[str, ...], hidden: bool, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The files below a folder and whether they are hidden; `above` are the folders it lies in,
    so that a link to one of them does not lead round in a circle."""
    try:
        state = folder.stat()
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise ImageError(f"{one_line(folder)} cannot be read: {reason(error)}") from error
    identity = state.st_dev, state.st_ino
    if identity in above:
        return
    for name in entries:
        path = folder / name
        here = hidden or name.startswith(".")
        if path.is_dir():
            yield from _walk(path, (*parts, name), here, above | {identity})
        elif path.is_file():
            yield (*parts, name), here


@cache
def _extensions() -> frozenset[str]:
    return frozenset(Image.registered_extensions())


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in _extensions():
        return True
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path):
            return True
    except Exception:  # any failure at all means that Pillow does not know it
        return False


def read(path: str | os.PathLike[str]) -> Image.Image:
    """An image file as an upright image of one of MODES; of an animation the first frame.

    16-bit channels are rounded to 8. 32-bit integers and floats have no agreed white: they are
    taken as 8-bit values where they fit, as 16-bit where those fit, and otherwise their own range
    is spread over 0 to 255 (floats within 0 to 1 are taken as such).

    Raises ImageError for every file that cannot be read, decompression bombs included.
    """
    shown = one_line(path)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            image.load()
            return _converted(ImageOps.exif_transpose(image))
    except Image.UnidentifiedImageError:
        raise ImageError(f"{shown} is no image, or of a kind that Pillow does not know") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{shown} has too many pixels to be opened safely") from None
    except MemoryError:
        raise ImageError(f"{shown} is too large for the memory") from None
    except OSError as error:
        raise ImageError(f"{shown} cannot be read: {reason(error)}") from error
    except Exception as error:  # what Pillow's plugins raise on damaged files is of many kinds
        raise ImageError(f"{shown} is damaged: {one_line(error)}") from error


def _converted(image: Image.Image) -> Image.Image:
    transparent = "transparency" in image.info
    if image.mode in ("P", "PA"):
        transparent = transparent or image.mode == "PA"
        image = image.convert("RGBA" if transparent else "RGB")
        red, green, blue = image.split()[:3]
        if red.tobytes() == green.tobytes() == blue.tobytes():
            image = image.convert("LA" if transparent else "L")
    elif image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    elif image.mode in _NEAREST:
        image = image.convert(_NEAREST[image.mode])
    elif image.mode in ("L", "RGB") and transparent:
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    elif image.mode not in MODES:
        image = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    # A copy without the file's metadata, which others would act upon.
    return Image.frombytes(image.mode, image.size, image.tobytes())


def _to_bytes(values: NDArray) -> NDArray[np.uint8]:
    sixteen = values.dtype.itemsize == 2
    floats = values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float64))
    low, high = min(values.min(), 0), values.max()
    if floats and low >= 0 and high <= 1:
        high = 1
    elif low >= 0 and high <= 255 and not sixteen:
        high = 255
    elif low >= 0 and high <= 65535:
        high = 65535
    return np.rint((values - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)


def write(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write an image as PNG, JPEG (quality 95) or lossless WebP, by the path's extension.

    JPEG has no transparency: it is laid on white. Raises ImageError where it cannot be written.
    """
    form = _FORMATS.get(Path(path).suffix.lower())
    if form is None:
        known = ", ".join(_FORMATS)
        raise ImageError(f"{one_line(path)}: the name of a picture ends in one of {known}")
    if form == "JPEG" and image.mode in ("LA", "RGBA"):
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground.convert("L" if image.mode == "LA" else "RGB")
    try:
        with replacing(path, sync=False) as temporary:
            image.save(temporary, form, **_OPTIONS[form])
    except OSError as error:
        raise ImageError(f"{one_line(path)} cannot be written: {reason(error)}") from error
    except ValueError as error:
        raise ImageError(f"{one_line(path)} cannot be written: {one_line(error)}") from error


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """(height, width, channels) of an image of one of MODES."""
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    """The image of (height, width, 1 to 4 channels)."""
    mode = MODES[pixels.shape[2] - 1]
    height, width = pixels.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
