"""What every autoencoder is, so that fitting, compressing and viewing need to know none of them.

One object holds an architecture with its parameters. Those whose names begin with `analysis.`
make latents and stay with the fitted model; all others rebuild images and travel with an archive,
rounded to grids. `frozen` gives the autoencoder as an archive's reader will have it: the very
parameters that must be used to write the archive.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from aezip.entropy import parameters as coded
from aezip.errors import ModelError

Pixels = NDArray[np.uint8]
"""One image: (height, width, channels), 1 to 4 channels: L, LA, RGB or RGBA."""

Parameters = dict[str, NDArray[np.float32]]
Shapes = dict[str, tuple[int, ...]]

ANALYSIS = "analysis."
BEST_QUALITY = 100
LAGRANGIAN = 7.0
"""Bits that a squared error of one quantiser step is worth, in all architectures. At high rates the
optimum for uniform quantisation is 6 / ln 2 = 8.7 (Sullivan, Wiegand, "Rate-distortion optimization
for video compression", 1998); at the usual ones measurement prefers less."""
MOST_EFFORT, DEFAULT_EFFORT = 9, 5


@dataclass
class Loss:
    """What one batch of a training, or a sample, costs: all but `value` are sums over it."""

    bits: float
    squared_error: float  # in squared grey levels
    samples: int  # values the error was summed over
    pixels: int
    value: float  # what training minimises, per pixel: rate + lambda * distortion
    gradients: Parameters | None = None

    @property
    def bits_per_pixel(self) -> float:
        return self.bits / self.pixels

    @property
    def psnr(self) -> float:
        """In dB."""
        return 10 * float(np.log10(255**2 * self.samples / max(self.squared_error, 1e-9)))


class Autoencoder(ABC):
    """An architecture (`config`, numbers JSON can hold) with its parameters.

    grids: of each travelling parameter, the base-2 logarithm of the grid it is rounded to when
    it travels; empty while parameters are not rounded. codes: (images, latents) float32, while
    training an architecture with `code_size` only: what it keeps of each image of the collection
    from one visit to the next, NaN before the first. memory: while training, what an architecture
    keeps from one batch to the next; those of one memory are computed one after the other.
    """

    arch: ClassVar[str]
    default_quality: ClassVar[int]
    default_minutes: ClassVar[float]
    batch: ClassVar[int]  # images that are best encoded at once
    recovered: ClassVar[float] = 0.7  # of what rounding parameters costs, by training on with them
    fixed_grids: ClassVar[Mapping[str, int]] = {}  # of small parameters that bear no coarser one

    def __init__(
        self,
        config: Mapping[str, Any],
        parameters: Parameters,
        grids: Mapping[str, int] | None = None,
        codes: NDArray[np.float32] | None = None,
        memory: list[Any] | None = None,
    ) -> None:
        self.config = dict(config)
        self.parameters = parameters
        self.grids = dict(grids or {})
        self.codes = codes
        self.memory = memory

    # --- what an architecture provides ---

    @classmethod
    @abstractmethod
    def start(cls, images: Sequence[Pixels], quality: int, rng: np.random.Generator) -> Self:
        """The closed-form autoencoder for a collection, from which training goes on.

        Raises ModelError where the architecture cannot take these images.
        """

    @abstractmethod
    def adapted(self, images: Sequence[Pixels], quality: int) -> Self:
        """What training for another collection starts from where this model is at hand.

        Raises ModelError where the architecture cannot take these images.
        """

    @classmethod
    @abstractmethod
    def shapes(cls, config: Mapping[str, Any]) -> Shapes:
        """Of the parameters that travel. Raises ModelError for a config that is none."""

    @classmethod
    def pictures(cls, config: Mapping[str, Any]) -> coded.Pictures:
        """Of the parameters that lead to pixels, in a config that `shapes` accepts."""
        return {}

    @property
    def code_size(self) -> int:
        """Latents of each image that training keeps; none where analysis undoes synthesis."""
        return 0

    @property
    def decoder_weight(self) -> float:
        """What training lets a bit of the decoder count against one of the images."""
        return 1.0

    @property
    def budget(self) -> int | None:
        """Bytes that each image's latents take at most, whatever the quality, if there is a
        limit."""
        return None

    @classmethod
    def analysis_shapes(cls, config: Mapping[str, Any]) -> Shapes:
        """Of the parameters that stay with the model; none where analysis undoes synthesis."""
        return {}

    @abstractmethod
    def sample_loss(
        self, images: Sequence[Pixels], progress: float, rng: np.random.Generator
    ) -> Loss:
        """Loss and gradients of a random batch; `progress` through training is 0 to 1. Rounded
        parameters are trained on latents as the encoder makes them."""

    @abstractmethod
    def evaluate(self, images: Sequence[Pixels]) -> Loss:
        """Loss of a fixed sample of the images, quantised as when compressing."""

    @abstractmethod
    def rates(self, progress: float) -> Callable[[str], float]:
        """The learning rate of each parameter by name, at this progress through training."""

    @abstractmethod
    def finest_grids(self) -> dict[str, int]:
        """For each travelling parameter the finest grid that decoding can take or gain from."""

    @abstractmethod
    def check(self, pixels: Pixels) -> None:
        """Raises ModelError where this autoencoder cannot take such an image."""

    def computed_pixels(self, height: int, width: int) -> int:
        """How many pixels decoding an image of that size computes: more where sides are padded."""
        return height * width

    @abstractmethod
    def encode(
        self, images: Sequence[Pixels], quality: int, effort: int = DEFAULT_EFFORT
    ) -> list[bytes]:
        """Each image's latents as a bit stream, the smaller for their quality the more effort,
        1 to 9, is spent. Only a frozen autoencoder may do this."""

    @abstractmethod
    def decode(self, payloads: Sequence[bytes], shape: tuple[int, int, int], quality: int) -> list[
        Pixels
    ]:
        """Images of one shape (height, width, channels) from their bit streams.

        Raises ArchiveError where a bit stream is none of this decoder's.
        """

    # --- what all share ---

    def evaluator(self, images: Sequence[Pixels]) -> Callable[[Self], Loss]:
        """What `evaluate` says, about, of models of one config: faster where most of the arrays
        that are the parameters are the same as the last time. They must not change."""
        return lambda model: model.evaluate(images)

    def preview(
        self, payload: bytes, shape: tuple[int, int, int], quality: int, side: int
    ) -> Pixels:
        """A smaller image of about the same proportions, where that takes less time than all of
        it: its longer side has about `side` pixels, three quarters at least. Raises as `decode`
        does."""
        return self.decode([payload], shape, quality)[0]

    def travelling(self) -> Parameters:
        """The parameters that an archive needs."""
        return {k: v for k, v in self.parameters.items() if not k.startswith(ANALYSIS)}

    def choose_grids(
        self, images: Sequence[Pixels], pixels: float, recovered: float = 0.0
    ) -> None:
        """Coarsen the grids while that lowers what parameters cost, in bytes and in quality, for a
        collection of so many pixels, of which `images` is a part. recovered: the share of the
        quality that is expected to come back when training goes on with rounded parameters."""

        evaluate = self.evaluator(images)

        def loss(tensors: Parameters) -> float:
            return evaluate(type(self)(self.config, tensors, codes=self.codes)).value * pixels

        self.grids = coded.choose_grids(
            self.parameters,
            self.grids,
            loss,
            pixels=self.pictures(self.config),
            fixed=self.fixed_grids,
            recovered=recovered,
        )

    def frozen(self) -> Self:
        """This autoencoder with its travelling parameters rounded as an archive holds them."""
        rounded = {k: coded.on_grid(v, self.grids[k]) for k, v in self.travelling().items()}
        return type(self)(self.config, {**self.parameters, **rounded}, self.grids, self.codes)

    def pack(self) -> bytes:
        """The travelling parameters as an archive's decoder holds them."""
        return coded.pack(self.travelling(), self.grids, self.pictures(self.config))

    @classmethod
    def unpack(cls, config: Mapping[str, Any], data: bytes) -> Self:
        """The decoder that `pack` wrote. Raises ModelError for bytes that it did not."""
        tensors, grids = coded.unpack(data, cls.shapes(config), cls.pictures(config))
        if not all(np.isfinite(x).all() for x in tensors.values()):
            raise ModelError("the decoder is damaged: its parameters are not finite")
        return cls(config, tensors, grids)


def log_step(quality: int) -> int:
    """The quantiser step of a quality from 1 to 100, as 32 times its base-2 logarithm in grey
    levels: from 2**8 at 0 down to 2 at 100, close to what JPEG's qualities give.

    Integer arithmetic alone, since the context model's frequencies depend on it.
    """
    q = quality
    return 256 - (128 * q * 100**7 + 96 * q**8 + 100**8 // 2) // 100**8


def step_size(log: int) -> float:
    """The step in grey levels."""
    return float(2.0 ** (log / 32))


def check_quality(quality: int) -> int:
    """`quality`, if it is one. Raises ModelError."""
    if not isinstance(quality, int) or not 1 <= quality <= BEST_QUALITY:
        raise ModelError(f"a quality is a whole number from 1 to {BEST_QUALITY}, not {quality}")
    return quality


def check_effort(effort: int) -> int:
    """`effort`, if it is one. Raises ModelError."""
    if not isinstance(effort, int) or not 1 <= effort <= MOST_EFFORT:
        raise ModelError(f"an effort is a whole number from 1 to {MOST_EFFORT}, not {effort}")
    return effort


def whole_numbers(config: Mapping[str, Any], **most: int) -> list[int]:
    """The named entries of a decoder's config, each from 1 to the number given. Raises ModelError
    where one is missing or is no such number."""
    values = [config.get(name) for name in most]
    for value, limit in zip(values, most.values(), strict=True):
        if type(value) is not int or not 1 <= value <= limit:  # True is an int too
            raise ModelError("the decoder is damaged: its architecture makes no sense")
    return [int(x) for x in values if x is not None]
