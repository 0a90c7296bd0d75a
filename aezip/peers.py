"""What a collection takes in the formats people would use instead, at equal quality."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from aezip.images import to_array
from aezip.metrics import psnr

Peer = Callable[[Image.Image, int], bytes]
"""Encodes an image at a quality from 1 to 100."""


def jpeg(image: Image.Image, quality: int) -> bytes:
    """libjpeg-turbo through Pillow: 4:2:0, optimised tables. JPEG has no transparency; where
    there is any, the alpha channel goes into a grey JPEG of its own."""
    if image.mode in ("LA", "RGBA"):
        colour, alpha = image.convert(image.mode[:-1]), image.getchannel("A")
        return jpeg(colour, quality) + jpeg(alpha, quality)
    return _saved(image, "JPEG", quality=quality, optimize=True)


def webp(image: Image.Image, quality: int) -> bytes:
    """libwebp through Pillow, method 6."""
    return _saved(image, "WEBP", quality=quality, method=6)


PEERS: dict[str, Peer] = {"JPEG": jpeg, "WebP": webp}


def bytes_at(peer: Peer, images: Sequence[Image.Image], target: float) -> float | None:
    """Bytes of all images together, at the quality where their mean PSNR is `target` dB.

    All are encoded at one quality, as one would; between the two whole qualities around the
    target, the logarithm of the bytes is taken as linear in PSNR. None where even quality 100
    does not reach the target; the bytes at quality 1 where that is already better.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def measure(quality: int) -> tuple[float, float]:
            results = list(pool.map(lambda image: _measure(peer, image, quality), images))
            return float(sum(x[0] for x in results)), float(np.mean([x[1] for x in results]))

        low, high = 1, 100
        at_low, at_high = measure(low), measure(high)
        if at_low[1] >= target:
            return at_low[0]
        if at_high[1] < target:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            found = measure(middle)
            if found[1] < target:
                low, at_low = middle, found
            else:
                high, at_high = middle, found
    part = (target - at_low[1]) / (at_high[1] - at_low[1])
    return float(at_low[0] ** (1 - part) * at_high[0] ** part)


def _measure(peer: Peer, image: Image.Image, quality: int) -> tuple[int, float]:
    data = peer(image, quality)
    return len(data), min(psnr(to_array(image), _decoded(peer, data, image)), 100.0)


def _decoded(peer: Peer, data: bytes, image: Image.Image) -> np.ndarray:
    if peer is jpeg and image.mode in ("LA", "RGBA"):
        # A JPEG ends with the marker FF D9, and no other FF D9 is in it.
        end = data.index(b"\xff\xd9") + 2
        parts = [Image.open(io.BytesIO(x)) for x in (data[:end], data[end:])]
        return np.concatenate([to_array(x) for x in parts], axis=2)
    decoded = Image.open(io.BytesIO(data))
    return to_array(decoded if decoded.mode == image.mode else decoded.convert(image.mode))


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
