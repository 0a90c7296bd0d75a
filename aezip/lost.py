"""What an image file holds that eight bits a channel of one upright image do not.

Whoever deletes originals relies on this: a file of which it is not known that it holds no more is
taken to hold more. Pillow does not tell the depth of every file, so that some headers are searched
here once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import Image

# Those whose files hold nothing but what is looked for below.
_KNOWN = frozenset(
    {"AVIF", "BMP", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "MPO", "MSP", "PCX", "PNG"}
    | {"PPM", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM"}
)
_BITS = 258
_SAMPLES = 277  # a pixel
_SRGB_GAMMA = 0.45455
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
# Numbers of ITU-T H.273 for primaries and transfer: those of sRGB, those that differ from it by
# less than viewers do, and "not specified".
_SRGB_CODES = ({1, 2}, {1, 2, 6, 13, 14, 15})

DEPTH = "its more than 8 bits a channel"


def lost(image: Image.Image) -> str:
    """What a file just opened, and not loaded, holds besides: a few words, empty for nothing.

    Colours that are meant in an ICC profile are the affair of whoever keeps the profile.
    """
    form = image.format or ""
    if form not in _KNOWN:
        return f"what else its format, {form}, can hold"
    if _has_frames(image):
        return "its further frames"
    if _has_sizes(image):
        return "its other sizes"
    if _is_deep(image):
        return DEPTH
    if image.mode in ("CMYK", "LAB", "HSV"):
        return f"its colours as {image.mode}"
    if _has_samples(image):
        return "its further samples"
    return "" if _is_srgb(image) else "the colour space that it names"


def _has_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a further frame that is damaged
        return True


def _has_sizes(image: Any) -> bool:
    """Whether an icon is there in several sizes or depths; Pillow gives the greatest."""
    if image.format == "ICO":
        return len(image.ico.entry) > 1
    return image.format == "ICNS" and len(image.info["sizes"]) > 1


def _has_samples(image: Any) -> bool:
    """Whether there are more of each pixel than Pillow gives."""
    if image.format == "TIFF":
        return _tag(image, _SAMPLES) > len(image.getbands())
    if image.format in ("BMP", "DIB") and "BGRX" in str(image.tile[0][3]):
        # Which is no alpha by the rules, and yet often is; where it says nothing, it is constant.
        return len(set(_data(image)[image.tile[0][2] + 3 :: 4])) > 1
    return False


def _is_deep(image: Any) -> bool:
    if image.mode == "F" or image.mode.startswith("I"):
        return True
    decoder, layout = (image.tile[0][0], image.tile[0][3]) if image.tile else ("", "")
    if image.format == "TIFF":
        return _tag(image, _BITS) > 8
    if image.format == "PPM":  # where the greatest value is not 255, it follows the mode
        return isinstance(layout, tuple) and isinstance(layout[-1], int) and layout[-1] > 255
    if image.format == "AVIF":
        return _is_deep_avif(_data(image))
    if image.format == "JPEG2000":
        return _is_deep_jpeg2000(_data(image))
    return decoder == "SGI16" or ";16" in str(layout)


def _is_deep_avif(data: bytes) -> bool:
    """AV1 Codec ISO Media File Format Binding, 2.3.3: high_bitdepth of each configuration."""
    flags = re.findall(rb"av1C\x81.(.)", data, re.DOTALL)
    return not flags or any(x[0] & 0x40 for x in flags)


def _is_deep_jpeg2000(data: bytes) -> bool:
    """ISO/IEC 15444-1, A.5.1: SIZ, which follows SOC, has the depth of each component."""
    found = re.search(rb"\xff\x4f\xff\x51.{36}(..)", data, re.DOTALL)
    if found is None:
        return True
    depths = data[found.end() :][: 3 * int.from_bytes(found[1]) : 3]
    return any(x & 0x7F > 7 for x in depths)


def _is_srgb(image: Image.Image) -> bool:
    """Whether values mean what they mean where nothing is said, or what an ICC profile says."""
    codes = _chunk(image, b"cICP") if image.format == "PNG" else b""
    if codes:  # has more weight than a profile, and that than what follows
        return len(codes) == 4 and _are_srgb(codes[0], codes[1]) and codes[3] == 1
    if "icc_profile" in image.info or "srgb" in image.info:
        return True
    if image.format == "AVIF":
        named = re.search(rb"colrnclx.(.).(.)", _data(image), re.DOTALL)
        return named is None or _are_srgb(named[1][0], named[2][0])
    gamma = image.info.get("gamma", _SRGB_GAMMA)
    primaries = image.info.get("chromaticity", _SRGB_PRIMARIES)
    return abs(gamma - _SRGB_GAMMA) < 0.01 and all(
        abs(x - y) < 0.005 for x, y in zip(primaries, _SRGB_PRIMARIES, strict=True)
    )


def _are_srgb(primaries: int, transfer: int) -> bool:
    return primaries in _SRGB_CODES[0] and transfer in _SRGB_CODES[1]


def _tag(image: Any, number: int) -> int:
    """The greatest value of a TIFF's tag, 1 where there is none."""
    value = image.tag_v2.get(number, 1)
    return max(value) if isinstance(value, tuple) else value


def _chunk(image: Image.Image, name: bytes) -> bytes:
    """The data of a PNG's chunk before the pixels, empty for none."""
    with _file(image) as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            size = int.from_bytes(head[:4])
            if head[4:] == name:
                return file.read(size)
            file.seek(size + 4, 1)
    return b""


def _data(image: Image.Image) -> bytes:
    with _file(image) as file:
        file.seek(0)
        return file.read()


@contextmanager
def _file(image: Any) -> Iterator[IO[bytes]]:
    """The file, which is left where it was: Pillow goes on reading there."""
    at = image.fp.tell()
    try:
        yield image.fp
    finally:
        image.fp.seek(at)
