"""An image's very pixels as bytes: PNG or lossless WebP, whichever is smaller.

What an archive holds of an image that its decoder does not serve well enough, or serves in more
bytes, as drawings of few colours may be. Of WebP only the coded pixels are kept, without the 20
bytes of container that say nothing new; their first byte tells them from a PNG.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aezip import images as pictures
from aezip.errors import ArchiveError

_PNG, _WEBP = 0x89, 0x2F  # the first bytes of a PNG and of a VP8L chunk's content
_CONTAINER = 20  # RIFF, its size, WEBP, VP8L, its size
_BETTER = 4  # times fewer bytes than what zlib makes at its fastest: more is rare


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width, 1 to 4 channels) as the fewest bytes."""
    image = pictures.from_array(pixels)
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    best = png.getvalue()
    if max(image.size) <= pictures.SIDES["WEBP"]:
        webp = io.BytesIO()
        image.save(webp, "WEBP", lossless=True, exact=True, quality=100, method=4)
        data = webp.getvalue()
        # Anything but a single chunk of pixels would be no longer what was asked for.
        if data[12:16] == b"VP8L":
            size = struct.unpack("<I", data[16:20])[0]
            best = min(best, data[_CONTAINER : _CONTAINER + size], key=len)
    return best


def may_be_shorter(pixels: NDArray[np.uint8], size: int) -> bool:
    """Whether `encode` may come to fewer than so many bytes, as far as a hundredth of its time
    tells: of photographs it hardly ever does."""
    return len(zlib.compress(np.ascontiguousarray(pixels).data, 1)) < _BETTER * size


def decode(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The pixels (height, width, channels) that `encode` was given.

    Raises ArchiveError where the bytes are those of no such image.
    """
    if data[:1] == bytes([_WEBP]):
        chunk = data + bytes(len(data) % 2)
        body = b"WEBPVP8L" + struct.pack("<I", len(data)) + chunk
        data, form = b"RIFF" + struct.pack("<I", len(body)) + body, "WEBP"
    else:
        form = "PNG"
    mode = pictures.MODES[shape[2] - 1]
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=[form]) as image,
        ):
            if image.size != (shape[1], shape[0]):  # before memory is asked for
                raise ArchiveError("the image in it has another size than it says")
            # Where it is of the mode already, `convert` would copy it.
            return pictures.to_array(image if image.mode == mode else image.convert(mode))
    except ArchiveError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # what Pillow raises on damaged data is of many kinds
        raise ArchiveError("the image in it is damaged") from error
