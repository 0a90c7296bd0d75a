"""Finding, reading and writing image files.

Whatever Pillow opens becomes one of four kinds: grey or RGB, with or without transparency, eight
bits a channel, upright. Everything a broken, huge or strange file can do ends in an ImageError
that names the file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from aezip.errors import AezipError, ImageError
from aezip.lost import lost
from aezip.storage.files import one_line, reason, replacing
from aezip.storage.limits import limit

MODES = ("L", "LA", "RGB", "RGBA")

EXIF_START = b"Exif\0\0"
"""What Pillow has before an EXIF block that begins with a TIFF header."""

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 3},  # half the time of the usual 6, and on photographs no larger
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}
SIDES = {"PNG": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}
"""The greatest width and height of the formats written here, in pixels."""

# What Pillow only recognises or only writes, and what it leaves to other programs, one of which,
# Ghostscript, would run whatever the file says.
_NOT_READ = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF"})
# Photographs that Pillow cannot read. Raw files of cameras look like TIFF to it, and what it finds
# there is the thumbnail.
_FOREIGN = frozenset(
    {".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw"}
    | {".srf", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".raw"}
)
# What each of Pillow's other modes is nearest to. P and PA are looked at more closely.
_NEAREST = {
    "1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB",
    "LAB": "RGB", "HSV": "RGB",
}  # fmt: skip
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # of EXIF orientations

_silent = threading.Lock()  # of two that silence at once, the second would restore silence

# Otherwise what Pillow logs about strange files goes to standard error.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Found(NamedTuple):
    """The images below a folder: names with `/` between folders, sorted; and how many other
    files there were."""

    names: list[str]
    skipped: int


def find(folder: str | os.PathLike[str]) -> Found:
    """The image files below a folder, in an order that is the same on every system.

    What is hidden and what is no image is counted as skipped, a hidden folder as one. A file named
    like an image is one, even if it turns out to be broken when it is read, or to be of a kind that
    Pillow does not read, such as HEIC and the raw files of cameras; a file with an ending
    that Pillow does not know is one if Pillow recognises its first bytes. Links are followed,
    except back to a folder they lie in.

    Raises ImageError where there is no such folder, or no image in it, or where it or a folder in
    it cannot be read: better no archive than one that silently lacks what was there.
    """
    shown = one_line(folder)
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except FileNotFoundError:
        raise ImageError(f"{shown}: there is no such folder") from None
    except (OSError, ValueError) as error:
        raise _unreadable(shown, error) from error
    if not is_folder:
        raise ImageError(f"{shown} is not a folder")
    names, skipped = [], 0
    for path, parts in _walk(Path(folder), (), frozenset()):
        if not parts[-1].startswith(".") and _is_image(path):
            names.append("/".join(parts))
        else:
            skipped += 1
    if not names:
        others = {0: "", 1: " (and 1 other file)"}.get(skipped, f" (and {skipped} other files)")
        raise ImageError(f"{shown} holds no images{others}")
    return Found(names, skipped)


def _walk(
    folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]]
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """What is below a folder, down to files and hidden folders; `above` are the folders it lies
    in, so that a link to one of them does not lead round in a circle."""
    try:
        state = folder.stat()
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise _unreadable(one_line(folder), error) from error
    identity = state.st_dev, state.st_ino
    if identity in above:
        return
    for name in entries:
        path = folder / name
        if not name.startswith(".") and os.path.isdir(path):
            yield from _walk(path, (*parts, name), above | {identity})
        else:
            yield path, (*parts, name)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(form for form in Image.ID if form not in _NOT_READ)


@cache
def _extensions() -> frozenset[str]:
    known = Image.registered_extensions()
    return frozenset(extension for extension, form in known.items() if form not in _NOT_READ)


@cache
def _others() -> frozenset[str]:
    return frozenset(Image.registered_extensions()) - _extensions()


@cache
def _signed_formats() -> tuple[str, ...]:
    """Those whose files begin in a way that hardly any other file does."""
    return tuple(form for form in _formats() if Image.OPEN[form][1] is not None)


def _is_image(path: Path) -> bool:
    if os.path.exists(path) and not os.path.isfile(path):
        return False  # a pipe, say, at which reading would wait for ever
    extension = path.suffix.lower()
    if extension in _FOREIGN or extension in _extensions():
        return True  # a link that leads nowhere, too: reading it says so
    if extension in _others():
        return False
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(path, formats=_signed_formats()),
        ):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # any other failure at all means that Pillow does not know it
        return False


class Loaded(NamedTuple):
    """An image, and what else its file says of it.

    image: upright, of one of MODES, without metadata. profile: the ICC profile that its colours
    are meant in, empty for none. exif: the EXIF block, upright too, empty for none. lost: what of
    the file none of these three hold, in a few words; empty where the pixels are all there and mean
    what they did.
    """

    image: Image.Image
    profile: bytes
    exif: bytes
    lost: str


def read(path: str | os.PathLike[str]) -> Image.Image:
    """The image of `load`."""
    return load(path).image


def load(path: str | os.PathLike[str]) -> Loaded:
    """An image file as an upright image of one of MODES; of an animation the first frame.

    16-bit grey is rounded to 8 bits; of 16-bit colours Pillow keeps the upper 8. 32-bit integers
    and floats have no agreed white: it is 255 where no value is above that, else 65535 where none
    is above that, else the greatest value (floats up to 1: it is 1). Black is 0, or the least
    value where that is negative.

    Raises ImageError for every file that cannot be read, or is beyond a limit.
    """
    shown = one_line(path)
    if Path(path).suffix.lower() in _FOREIGN:
        raise ImageError(f"{shown} is of a kind that Pillow does not read; convert it first")
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise ImageError(f"{shown} is {what}")
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(path, formats=_formats()) as image,
        ):
            layout = image.tile[0][3] if image.tile else None
            form = image.format
            most = limit("MAX_PIXELS")
            if image.width * image.height > most:
                raise ImageError(f"{shown} has more than {most} pixels (AEZIP_MAX_PIXELS)")
            missing = lost(image)
            with _silence() if form == "TIFF" else contextlib.nullcontext():
                image.load()
            if image.width * image.height == 0:
                raise ImageError(f"{shown} has no pixels")
            profile, exif = _profile(image), _exif(image)
            most = limit("MAX_METADATA_BYTES")
            if max(len(profile), len(exif)) > most:
                raise ImageError(
                    f"{shown} has a colour profile or EXIF of more than {most} bytes "
                    "(AEZIP_MAX_METADATA_BYTES)"
                )
            upright = _converted(_upright(image), form, layout, profile)
            if profile and not _fits(profile, upright.mode):
                profile, missing = b"", missing or "its colour profile, which is for other colours"
            return Loaded(upright, profile, exif, missing)
    except AezipError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(f"{shown} is no image, or of a kind that cannot be read") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{shown} has too many pixels to be opened safely") from None
    except MemoryError:
        raise ImageError(f"{shown} is too large for the memory") from None
    except OSError as error:
        raise _unreadable(shown, error) from error
    except Exception as error:  # what Pillow's plugins raise on damaged files is of many kinds
        why = f": {one_line(error)}" if str(error) else ""  # a failed assertion says nothing
        raise ImageError(f"{shown} is damaged{why}") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Standard error leads nowhere meanwhile: libtiff writes to it past Python."""
    if sys.stderr is None:  # its number may be that of another file, the image even
        yield
        return
    with _silent, contextlib.ExitStack() as after:
        with contextlib.suppress(OSError):
            before = os.dup(2)
            after.callback(os.close, before)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            after.callback(os.close, nowhere)
            os.dup2(nowhere, 2)
            after.callback(os.dup2, before, 2)
        yield


def _unreadable(shown: str, error: OSError | ValueError) -> ImageError:
    why = reason(error) if isinstance(error, OSError) else one_line(error)
    return ImageError(f"{shown} cannot be read: {why}")


def _upright(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it also writes the EXIF anew, and fails where that is damaged.
    try:
        found = image.getexif().get(0x0112, 1)
        turn = _TURNS.get(found[0] if isinstance(found, bytes | tuple) else found)
    except Exception:  # damaged metadata say nothing about the orientation
        turn = None
    return image if turn is None else image.transpose(turn)


def _profile(image: Image.Image) -> bytes:
    found = image.info.get("icc_profile")
    return found if isinstance(found, bytes) else b""


def _fits(profile: bytes, mode: str) -> bool:
    """Whether a profile's own colour space is that of the pixels (ICC.1:2022, 7.2.6)."""
    return profile[16:20] == (b"GRAY" if mode in ("L", "LA") else b"RGB ")


# What a TIFF says of the photograph rather than of how its pixels lie in the file.
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 316, 33432)
_TIFF_FOLDERS = (0x8769, 0x8825)  # EXIF, GPS
# Where PNGs had their EXIF before there was a chunk for it.
_HEXADECIMAL = "Raw profile type exif"
# The orientation, one unsigned short, 1.
_UPRIGHT = (0x0112, 3, 1, 1)


def _exif(image: Image.Image) -> bytes:
    """The block that begins with a TIFF header; as it was, but saying that the image is upright."""
    try:
        if image.format == "TIFF":
            every, kept = image.getexif(), Image.Exif()
            kept.update({k: every[k] for k in _TIFF_TAGS if k in every})
            kept.update({k: every.get_ifd(k) for k in _TIFF_FOLDERS if every.get_ifd(k)})
            found: object = kept.tobytes() if len(kept) else b""
        elif _HEXADECIMAL in image.info and "exif" not in image.info:
            found = bytes.fromhex("".join(image.info[_HEXADECIMAL].split("\n")[3:]))
        else:
            found = image.info.get("exif")
        if not isinstance(found, bytes):
            return b""
        return _said_upright(found.removeprefix(EXIF_START))
    except Exception:  # damaged metadata are none
        return b""


def _said_upright(exif: bytes) -> bytes:
    """An EXIF block whose orientation, if it has any, is 1; of whatever type it is, what says it
    are the 12 bytes of its entry, and no other changes."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    sizes = (2, 2, 4, 2)
    upright = b"".join(x.to_bytes(n, order) for x, n in zip(_UPRIGHT, sizes, strict=True))

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    start = number(4, 4)
    for entry in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if number(entry, 2) == 0x0112 and entry + 12 <= len(exif):
            exif = exif[:entry] + upright + bytes(2) + exif[entry + 12 :]
    return exif


def _converted(
    image: Image.Image, form: str | None, layout: object, profile: bytes
) -> Image.Image:
    """`form` is the file's format, `layout` how Pillow calls that of the pixels in the file."""
    # Where Pillow has lost sight of the palette (of icons in ICNS), asking it would fail.
    without = image.mode == "P" and image.palette is None
    transparent = not without and image.has_transparency_data
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if transparent else "RGB")
        red, green, blue = image.split()[:3]
        # Greys that are meant in a profile for RGB have to stay RGB.
        if not profile and red.tobytes() == green.tobytes() == blue.tobytes():
            image = image.convert("LA" if transparent else "L")
    elif image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        sixteen = image.mode.startswith("I;16") or (image.mode == "I" and form in ("PNG", "PPM"))
        grey = Image.fromarray(_to_bytes(values, sixteen))
        if transparent:
            alpha = Image.fromarray(np.uint8(255) * (values != image.info["transparency"]))
            grey = Image.merge("LA", (grey, alpha))
        image = grey
    elif image.mode in ("1", "L", "RGB") and transparent:
        image.info["transparency"] = _transparent_colour(image.info["transparency"], layout)
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    elif image.mode in _NEAREST:
        image = image.convert(_NEAREST[image.mode])
    elif image.mode == "RGBA" and layout == "LA;16B":
        image = image.convert("LA")
    elif image.mode not in MODES:
        image = image.convert("RGBA" if transparent else "RGB")
    # A copy without the file's metadata, which others would act upon.
    return Image.frombytes(image.mode, image.size, image.tobytes())


def _transparent_colour(colour: Any, layout: object) -> Any:
    """The colour of a PNG that stands for transparency, on the scale of its pixels: Pillow leaves
    it on the file's."""
    if layout == "RGB;16B":
        return tuple(x >> 8 for x in colour)
    greatest = {"L;2": 3, "L;4": 15}.get(str(layout), 255)
    return colour * 255 // greatest if isinstance(colour, int) and colour <= greatest else colour


def _to_bytes(values: NDArray, sixteen: bool) -> NDArray[np.uint8]:
    """0 to 255 for (height, width) values of any type; `sixteen`: 65535 is white for sure."""
    floats = values.dtype.kind == "f"
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        finite = np.zeros(1)
    low, high = min(finite.min(), 0.0), finite.max()
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if sixteen:
        high = 65535
    elif low == 0:
        whites = (1, 255, 65535) if floats else (255, 65535)
        high = next((white for white in whites if high <= white), high)
    return np.rint((values - low) / ((high - low) or 1) * 255).astype(np.uint8)


def write(image: Image.Image, path: str | os.PathLike[str]) -> str:
    """Write an image as PNG, JPEG (quality 95) or lossless WebP, by the path's extension.

    A colour profile and an EXIF block in the image's `info` go into the file; not so a profile
    with which nobody could open it, and a line that is returned says so. JPEG has no transparency:
    it is laid on white. Raises ImageError where it cannot be written.
    """
    form = _FORMATS.get(Path(path).suffix.lower())
    if form is None:
        raise ImageError(
            f"{one_line(path)}: pictures are written as .png, .jpg or .webp; name one of these"
        )
    if max(image.size) > SIDES[form]:  # libjpeg would tell standard error, too
        raise ImageError(
            f"{one_line(path)} cannot be written: {image.width} x {image.height} pixels are too "
            f"many for {form}, which has up to {SIDES[form]} a side"
        )
    metadata = {k: v for k in ("icc_profile", "exif") if (v := image.info.get(k))}
    profile, said = metadata.get("icc_profile", b""), ""
    if form == "PNG" and len(profile) >= PngImagePlugin.MAX_TEXT_CHUNK:
        metadata["icc_profile"] = None  # otherwise Pillow takes that of the image
        said = (
            f"{one_line(path)} is without its colour profile: readers of PNG take none of "
            f"{len(profile)} bytes"
        )
    if form == "JPEG" and image.mode in ("LA", "RGBA"):
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground.convert("L" if image.mode == "LA" else "RGB")
    try:
        with replacing(path, sync=False) as temporary:
            image.save(temporary, form, **_OPTIONS[form], **metadata)
    except OSError as error:
        raise ImageError(f"{one_line(path)} cannot be written: {reason(error)}") from error
    except ValueError as error:
        raise ImageError(f"{one_line(path)} cannot be written: {one_line(error)}") from error
    return said


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """(height, width, channels), uint8, of an image of one of MODES; 1 to 4 channels."""
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    """The image of (height, width, 1 to 4 channels), uint8: the inverse of `to_array`."""
    mode = MODES[pixels.shape[2] - 1]
    height, width = pixels.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).data)
