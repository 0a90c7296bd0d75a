"""A crop of an image as the training of `Pyramid` sees it, and those that it keeps.

Training codes crops as the encoder would code them, with what gradients are made of. The
post-filter, which gains from many steps, learns again from crops that were decoded before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

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
_REPLAYED = 128  # crops that are kept


def random_crop(images: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    """Of an image drawn by its area, from a place drawn evenly: what is near an edge is rarer."""
    areas = np.array([x.shape[0] * x.shape[1] for x in images], np.float64)
    pixels = images[int(rng.choice(len(images), p=areas / areas.sum()))]
    top, left = (int(rng.integers(max(n - _CROP, 0) + 1)) for n in pixels.shape[:2])
    return pixels[top : top + _CROP, left : left + _CROP]


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
        pixels = self.planes[0].size
        value = (bits + self.worth * squared_error) / pixels
        return Loss(bits, squared_error, self.planes.size, pixels, float(value))


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
