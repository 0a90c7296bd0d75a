"""Pictures of a training: what a sample of the collection looks like at several of its stages, as
a model keeps them for people to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from aezip.autoencoders import Autoencoder, Pixels
from aezip.images import from_array
from aezip.metrics import EXACT_DB, psnr

SHARES = (0.04, 0.2, 0.6)
"""Of a training, at which pictures are taken, besides its start and its end."""

_SIDES = 128, 192  # height and width of the part of a photograph that is shown
_TILES = 2, 4  # of small images, lines and columns of them
_MOST = 8  # pictures kept of a model that was trained again and again
_FEW = 5


def sample(images: Sequence[Pixels], whole: bool = False) -> list[Pixels]:
    """What is shown of a collection: the middle of one photograph, or all of it where an
    autoencoder takes `whole` images only, or several small images."""
    chosen = images[len(images) // 2]
    if max(chosen.shape[:2]) <= min(_SIDES) // 2:
        alike = [x for x in images if x.shape == chosen.shape]
        count = _TILES[0] * _TILES[1]
        places = np.linspace(0, len(alike) - 1, min(count, len(alike))).astype(int)
        return [alike[i] for i in places]
    if whole:
        return [chosen]
    height, width = _SIDES if chosen.shape[1] >= chosen.shape[0] else _SIDES[::-1]
    top, left = max(0, (chosen.shape[0] - height) // 2), max(0, (chosen.shape[1] - width) // 2)
    part = chosen[top : top + height, left : left + width]
    return [np.ascontiguousarray(part)]


def take(autoencoder: Autoencoder, shown: Sequence[Pixels], minutes: float) -> dict[str, Any]:
    """The sample as an archive would have it now, what it takes, and how good it is; JSON can
    hold it. The picture is a lossless WebP file in base64."""
    frozen, quality = autoencoder.frozen(), autoencoder.config["quality"]
    payloads = frozen.encode(shown, quality)
    decoded = frozen.decode(payloads, shown[0].shape, quality)
    whole, original = _tiled(decoded), _tiled(shown)
    buffer = io.BytesIO()
    from_array(whole).save(buffer, "WEBP", lossless=True)
    return {
        "minutes": round(minutes, 3),
        "bits_per_pixel": round(8 * sum(map(len, payloads)) / sum(_area(x) for x in shown), 4),
        "psnr": round(min(psnr(original, whole), EXACT_DB), 3),
        "picture": base64.b64encode(buffer.getvalue()).decode(),
    }


def is_stage(value: object) -> bool:
    """Whether something read from a file has what `take` gives."""
    return (
        isinstance(value, dict)
        and all(is_number(value.get(k)) for k in ("minutes", "bits_per_pixel", "psnr"))
        and isinstance(value.get("picture"), str)
    )


def is_number(value: object) -> bool:
    """Whether something read from JSON is a number that a plot has room for."""
    return isinstance(value, int | float) and -1e15 < value < 1e15


def thinned(stages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most a few, the first and the last among them."""
    if len(stages) <= _MOST:
        return list(stages)
    places = np.linspace(0, len(stages) - 1, _FEW).round().astype(int)
    return [stages[i] for i in places]


def _area(pixels: Pixels) -> int:
    return pixels.shape[0] * pixels.shape[1]


def _tiled(images: Sequence[Pixels]) -> Pixels:
    """Several images of one shape as one, in lines; missing ones are black."""
    if len(images) == 1:
        return images[0]
    height, width, channels = images[0].shape
    lines, columns = _TILES
    whole = np.zeros((lines * columns, height, width, channels), np.uint8)
    whole[: len(images)] = images
    whole = whole.reshape(lines, columns, height, width, channels)
    return whole.transpose(0, 2, 1, 3, 4).reshape(lines * height, columns * width, channels)
