"""A crop of an image as the training of `Pyramid` sees it, and those that it keeps.

Training codes crops as the encoder would code them, with what gradients are made of. The
post-filter, which gains from many steps, learns again from crops that were decoded before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aezip.autoencoders import postfilter
from aezip.autoencoders.base import LAGRANGIAN, Loss, Parameters, Pixels, step_size
from aezip.autoencoders.lifting import Bands
from aezip.entropy import laplace
from aezip.entropy.context import Layout, Plane

Array = NDArray[np.floating]

PART = 128  # side of the parts of crops that the filter learns from again
_CROP = 256  # side of the crops trained on
_CELL = 64  # what images are padded to multiples of: the same when they are coded
_GAP = 8  # pixels, at least, between images that share a crop
_DRAWN = 64  # images, from which those that share a crop are taken
_REPLAYED = 128  # crops that are kept


class Crop(NamedTuple):
    """pixels: (h, w, channels). area: pixels of an image among them, not of what lies between."""

    pixels: Pixels
    area: int


def random_crop(images: Sequence[Pixels], rng: np.random.Generator) -> Crop:
    """Of an image drawn by its area, from a place drawn evenly: what is near an edge is rarer. Of
    small images as many as there is room for. Transparency is an image of its own, drawn as often
    as the colours."""
    areas = np.array([x.shape[0] * x.shape[1] for x in images], np.float64)
    first, *others = rng.choice(len(images), size=_DRAWN, p=areas / areas.sum()).tolist()
    parts = [_part(images[first], rng)]
    cell = [-(-(n + _GAP) // _CELL) * _CELL for n in parts[0].shape[:2]]
    rows, columns = (max(_CROP // n, 1) for n in cell)
    if rows * columns == 1:
        (pixels,) = parts
    else:
        for i in others:
            if len(parts) < rows * columns and images[i].shape[2] == parts[0].shape[2]:
                part = _part(images[i], rng)
                parts += [part] if np.all(np.add(part.shape[:2], _GAP) <= cell) else []
        parts = [parts[i % len(parts)] for i in range(rows * columns)]
        pixels = _side_by_side(parts, cell, columns)
    area = sum(x.shape[0] * x.shape[1] for x in parts)
    transparent = pixels.shape[2] % 2 == 0 and pixels[..., -1].min() < 255
    return Crop(pixels[..., -1:] if transparent and rng.random() < 0.5 else pixels, area)


def _part(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    top, left = (int(rng.integers(max(n - _CROP, 0) + 1)) for n in pixels.shape[:2])
    return pixels[top : top + _CROP, left : left + _CROP]


def _side_by_side(parts: Sequence[Pixels], cell: Sequence[int], columns: int) -> Pixels:
    """Images, each padded to a cell of (height, width), in rows."""
    cells = [
        np.pad(x, [*((0, n - m) for n, m in zip(cell, x.shape[:2], strict=True)), (0, 0)], "edge")
        for x in parts
    ]
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)


@dataclass(frozen=True)
class Rounded:
    """The bands of one level that are quantised together, as training sees them: all arrays
    (orientations, colours, h, w)."""

    level: int
    orientations: range
    steps: Array  # (orientations, colours, 1, 1), in grey levels
    scaled: Array  # in steps
    q: Array  # latents, in half steps
    value: Array  # what is decoded from them, in steps

    @property
    def decoded(self) -> Array:
        return self.value * self.steps

    def planes(self, where: Layout) -> Iterator[tuple[tuple[int, int], Plane]]:
        """The planes of a layout that are in it, and where: (index, plane)."""
        for plane in where.planes:
            if plane.level == self.level and plane.orientation in self.orientations:
                yield (plane.orientation - self.orientations.start, plane.colour), plane

    def backprop(self, by_decoded: Array, by_rate: Array, d: Parameters) -> Array:
        """The gradient by the bands; those by gain and shrink go into `d`."""
        by_scaled = by_decoded * self.steps + by_rate
        key = self.level - 1, slice(self.orientations.start, self.orientations.stop)
        colours = slice(self.q.shape[1])
        signed = np.sign(self.q) * by_decoded * self.steps
        magnitude = np.minimum(np.abs(self.q), 3)
        for n in (1, 2, 3):
            d["shrink"][(*key, colours, n - 1)] = -(signed * (magnitude == n)).sum(axis=(2, 3))
        by_step = by_decoded * self.decoded - by_scaled * self.scaled
        d["gain"][(*key, colours)] = by_step.sum(axis=(2, 3)) * np.float32(laplace.LN2)
        return by_scaled / self.steps


@dataclass(frozen=True)
class Coded:
    """A crop as training codes it, with what gradients are made of. Arrays of one value for each
    latent are flat, as the layout has them."""

    log: int
    area: int  # pixels that count
    planes: Array  # (planes, h, w), what was to be coded
    where: Layout
    buffer: Array  # latents, in half steps
    unrounded: Array  # in steps
    low: Rounded
    details: list[Rounded]  # of each level, from the coarsest
    image: Array  # (planes, h, w), what is decoded, not yet filtered
    undo: list[tuple[Callable[..., Any], Callable[[Array], Parameters]]]
    back_analysis: Callable[[Bands], Any]

    @property
    def unfiltered(self) -> tuple[Array, Array, int]:
        """What the filter is given: planes, the finest latents in steps, log step."""
        return self.image, self.details[-1].q / 2, self.log

    @property
    def worth(self) -> np.float32:
        """Bits that a squared error is worth."""
        return np.float32(LAGRANGIAN) / np.float32(step_size(self.log)) ** 2

    def loss(self, bits: float, error: Array) -> Loss:
        squared_error = float(np.vdot(error, error))
        value = (bits + self.worth * squared_error) / self.area
        return Loss(bits, squared_error, self.area * len(self.planes), self.area, float(value))


@dataclass(frozen=True)
class Decoded:
    """A crop as it was decoded in an earlier step of the training, not yet filtered."""

    pixels: Pixels
    error: NDArray[np.float16]  # (planes, h, w), of the decoded planes
    latents: NDArray[np.int8]  # (3, planes, h / 2, w / 2), of the finest level, in half steps
    log: int
    worth: float  # what a squared error counts in the loss

    def part(self, top: int, left: int) -> tuple[Array, Array]:
        """(error, latents in steps) of the part at a place of the crop."""
        error = self.error[:, top : top + PART, left : left + PART].astype(np.float32)
        block = postfilter.BLOCK
        rows, columns = (slice(x // block, (x + PART) // block) for x in (top, left))
        return error, self.latents[:, :, rows, columns].astype(np.float32) / 2


@dataclass
class Replay:
    """The crops that were decoded last, for the filter to learn from."""

    turn: int = -1
    crops: deque[Decoded] = field(default_factory=lambda: deque(maxlen=_REPLAYED))
