"""What a collection takes in the formats people would use instead, at equal quality."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from aezip.images import SIDES, to_array
from aezip.metrics import EXACT_DB, psnr

_FEW = 6  # images that tell about where the quality lies


class Peer(NamedTuple):
    """A format: `encode` gives the file of an image at a quality from 1 to 100, `side` is the
    largest width and height it knows, `transparency` whether it keeps an alpha channel."""

    encode: Callable[[Image.Image, int], bytes]
    side: int
    transparency: bool


def _jpeg(image: Image.Image, quality: int) -> bytes:
    """libjpeg-turbo through Pillow: 4:2:0, optimised tables; alpha, opaque throughout, dropped."""
    if image.mode in ("LA", "RGBA"):
        image = image.convert(image.mode[:-1])
    return _saved(image, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)


def _webp(image: Image.Image, quality: int) -> bytes:
    """libwebp through Pillow, method 6; alpha without loss, as is its default."""
    return _saved(image, "WEBP", quality=quality, method=6)


def _avif(image: Image.Image, quality: int) -> bytes:
    """libavif through Pillow: 4:4:4, speed 4."""
    return _saved(image, "AVIF", quality=quality, subsampling="4:4:4", speed=4)


def _jpeg_xl(image: Image.Image, quality: int) -> bytes:
    """libjxl through the package pillow-jxl-plugin: effort 7, lossy."""
    return _saved(image, "JXL", quality=quality, effort=7, lossless=False)


PEERS: dict[str, Peer] = {
    "JPEG": Peer(_jpeg, SIDES["JPEG"], transparency=False),
    "WebP": Peer(_webp, SIDES["WEBP"], transparency=True),
}
"""Those that `compress` compares with: every Pillow has them, and they are fast."""

SLOW_PEERS: dict[str, Peer] = {
    "AVIF": Peer(_avif, 65535, transparency=True),
    "JPEG XL": Peer(_jpeg_xl, 1 << 20, transparency=True),
}


def is_available(name: str) -> bool:
    """Whether this Pillow can write a format."""
    if name == "JPEG XL":
        with contextlib.suppress(ImportError):
            import pillow_jxl  # noqa: F401
    Image.init()
    return {"AVIF": "AVIF", "JPEG XL": "JXL"}.get(name, name.upper()) in Image.SAVE


def bytes_at(peer: Peer, images: Sequence[Image.Image], target_psnr: float) -> float | None:
    """Bytes of all images (of images.MODES) together, where their mean PSNR is the target in dB.

    All are encoded at one quality, as one would; between the two whole qualities around the
    target, the logarithm of the bytes is taken as linear in PSNR. The PSNR is that of
    `metrics.psnr` in each image's own mode, alpha included, so that it compares with aezip's.

    The bytes at quality 1 where that is already better. None where even quality 100 does not
    reach the target, where the format has no transparency and an image is not opaque, or where an
    image is too large for the format. Raises ValueError for no images.
    """
    if not images:
        raise ValueError("there are no images to encode")
    if not all(holds(peer, image) for image in images):
        return None
    apart = -(-len(images) // _FEW)
    threads = min(len(images), os.cpu_count() or 1)
    with room_for(images), ThreadPoolExecutor(threads) as pool:

        @cache
        def measured(quality: int, stride: int) -> tuple[int, float]:
            some = images[::stride]
            results = list(pool.map(lambda image: measure(peer, image, quality), some))
            return sum(x[0] for x in results), float(np.mean([x[1] for x in results]))

        low, high = 0, 101  # qualities too low and high enough, as far as a few images tell
        while high - low > 1:
            middle = (low + high) // 2
            if measured(middle, apart)[1] < target_psnr:
                low = middle
            else:
                high = middle
        high = min(high, 100)
        below, enough = None, measured(high, 1)
        while enough[1] < target_psnr:
            if high == 100:
                return None
            high += 1
            below, enough = enough, measured(high, 1)
        while below is None and high > 1:
            found = measured(high - 1, 1)
            if found[1] < target_psnr:
                below = found
            else:
                high, enough = high - 1, found
    if below is None:
        return float(enough[0])
    part = (target_psnr - below[1]) / (enough[1] - below[1])
    return float(below[0] ** (1 - part) * enough[0] ** part)


def holds(peer: Peer, image: Image.Image) -> bool:
    """Whether a format can take an image: large enough, with its transparency."""
    if max(image.size) > peer.side:
        return False
    opaque = image.mode not in ("LA", "RGBA") or image.getextrema()[-1] == (255, 255)
    return opaque or peer.transparency


def measure(peer: Peer, image: Image.Image, quality: int) -> tuple[int, float]:
    """(bytes, PSNR in dB of what comes back) of one image, which the format can hold."""
    data = peer.encode(image, quality)
    with Image.open(io.BytesIO(data)) as file:
        decoded = file.convert(image.mode)
    return len(data), min(psnr(to_array(image), to_array(decoded)), EXACT_DB)


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@contextlib.contextmanager
def room_for(images: Sequence[Image.Image]) -> Iterator[None]:
    """Lets Pillow encode these images: an optimised JPEG has to fit its buffer, which it makes
    too small for noisy images at qualities from 90 to 94."""
    before = ImageFile.MAXBLOCK
    size = 2 * max(image.width * image.height for image in images)
    ImageFile.MAXBLOCK = max(before, size)
    try:
        yield
    finally:
        ImageFile.MAXBLOCK = before
