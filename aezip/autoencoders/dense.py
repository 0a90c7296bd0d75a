"""Many small images of one size: each one whole through fully connected layers.

The networks have one hidden layer on either side of the latents and start as principal component
analysis exactly: hidden units come in pairs, max(x, 0) and max(-x, 0), whose difference is
linear; the others wait with outgoing weights of zero. Each latent has a distribution of its own.

With a budget, images take up to so many bytes each and no more: training weighs error against
bits so that they take it on average, and the encoder so that each one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aezip import nn
from aezip.autoencoders.base import (
    ANALYSIS,
    DEFAULT_EFFORT,
    Autoencoder,
    Loss,
    Parameters,
    Pixels,
    Shapes,
    log_step,
    step_size,
    whole_numbers,
)
from aezip.autoencoders.samples import common_kind, covers, to_pixels, to_samples
from aezip.entropy import laplace
from aezip.entropy.coder import Decoder, Encoder
from aezip.errors import ModelError

Array = NDArray[np.floating]

LAGRANGIAN = 7.0
"""Bits that a squared error of one quantiser step is worth, as for photographs."""

_BATCH = 128
_LATENTS = 64
_HIDDEN = 256
_EVALUATED = 1024  # images
_ITERATIONS = (0, 0, 2, 5, 10, 20, 30, 40, 60, 100)  # that improve each image's latents, by effort
_MOMENTUM = np.float32(0.6)
_ROUND_FROM = 0.7  # of the training: latents are rounded, before that noise is added
_PAYING = 22  # parameters for each image: about as many bytes as the image's latents, or fewer
_LARGEST = 1 << 28  # parameters in one layer
_MOST_BUDGET = 1 << 16  # bytes
_SPARE = 4  # bits of the budget that training leaves
_STRIDES = (2, 1, 0.5, 0.25, 0.125)  # octaves: of the search for an image's own weight of error
_WORTH = ANALYSIS + "log_worth"
_PRIOR_GRIDS = {
    "prior.centre": -3,  # the coder's own grids: 1 / laplace.CENTRE_STEPS and so on
    "prior.log_scale": -3,
    "prior.spread": -3,
    "prior.weight": -4,
}


class Dense(Autoencoder):
    """config: height, width, channels, hidden, latents, quality (that it was fitted for), and of
    models with one the budget, in bytes for each image's latents."""

    arch = "dense"
    default_quality = 50
    default_minutes = 4.0
    batch = 256

    @classmethod
    def start(cls, images: Sequence[Pixels], quality: int, rng: np.random.Generator) -> Self:
        config = cls._config(images, quality)
        return cls._closed_form(config, *_principal_axes(images, config, rng), rng)

    @classmethod
    def start_within(cls, budget: int, images: Sequence[Pixels], rng: np.random.Generator) -> Self:
        """The same for images that take `budget` bytes each: at the quality at which the closed
        form takes about as many. Raises ModelError."""
        if not 1 <= budget <= _MOST_BUDGET:
            raise ModelError(f"a budget is 1 to {_MOST_BUDGET} bytes an image, not {budget}")
        config = {**cls._config(images, 50), "budget": budget}
        found = _principal_axes(images, config, rng)
        low, high = 1, 95
        while low < high:
            middle = (low + high + 1) // 2
            tried = cls._closed_form({**config, "quality": middle}, *found, rng)
            latents = np.rint(tried._analysed(found[0]))
            if tried._bits(latents).mean() <= 8 * budget:
                low = middle
            else:
                high = middle - 1
        return cls._closed_form({**config, "quality": low}, *found, rng)

    @classmethod
    def _config(cls, images: Sequence[Pixels], quality: int) -> dict[str, int]:
        sizes = {x.shape[:2] for x in images}
        if len(sizes) > 1:
            raise ModelError(
                "the dense architecture takes images of one size only; "
                f"here are {len(sizes)} sizes (pyramid takes all)"
            )
        height, width = images[0].shape[:2]
        channels = common_kind(x.shape[2] for x in images)
        size = height * width * channels
        latents = max(1, min(_LATENTS, size // 4))
        return {
            "height": height,
            "width": width,
            "channels": channels,
            "hidden": int(np.clip(_PAYING * len(images) // size, 2 * latents, _HIDDEN)),
            "latents": latents,
            "quality": quality,
        }

    @classmethod
    def _closed_form(
        cls, config: Mapping[str, Any], x: Array, mean: Array, axes: Array, rng: np.random.Generator
    ) -> Self:
        """x: a sample of the images, with its mean and its principal axes (latents, pixels)."""
        latents, hidden = config["latents"], config["hidden"]
        step = step_size(log_step(config["quality"])) / 255
        p = {k: np.zeros(s, np.float32) for k, s in cls.shapes(config).items()}
        p["synthesis.w1"][:] = _paired(np.eye(latents), hidden, rng)
        p["synthesis.w2"][: 2 * latents] = np.concatenate([axes, -axes]) * step
        p["synthesis.b2"][:] = mean
        project = axes.T / step
        p.update({k: np.zeros(s, np.float32) for k, s in cls.analysis_shapes(config).items()})
        p[ANALYSIS + "w1"][:] = _paired(project, len(p[ANALYSIS + "b1"]), rng)
        p[ANALYSIS + "b1"][:] = -mean @ p[ANALYSIS + "w1"]
        unpair = np.concatenate([np.eye(latents), -np.eye(latents)])
        p[ANALYSIS + "w2"][: 2 * latents] = unpair
        spread = np.abs((x - mean) @ project).mean(axis=0)
        p["prior.log_scale"][:] = np.log2(np.maximum(spread, 2**-3)) - 0.5
        p["prior.spread"][:], p["prior.weight"][:] = 1, 0.5
        if _WORTH in p:
            p[_WORTH][:] = np.log2(_worth(config["quality"]))
        return cls(config, p)

    def adapted(self, images: Sequence[Pixels], quality: int) -> Self:
        for pixels in images:
            self.check(pixels)
        parameters = {k: v.copy() for k, v in self.parameters.items()}
        return type(self)({**self.config, "quality": quality}, parameters)

    @classmethod
    def shapes(cls, config: Mapping[str, Any]) -> Shapes:
        side = 1 << 14
        height, width, channels, hidden, latents, _ = whole_numbers(
            config, height=side, width=side, channels=4, hidden=side, latents=side, quality=100
        )
        if "budget" in config:
            whole_numbers(config, budget=_MOST_BUDGET)
        size = height * width * channels
        if hidden * max(size, latents) > _LARGEST:
            raise ModelError("the decoder is damaged: it claims too many parameters")
        return {
            **dict.fromkeys(_PRIOR_GRIDS, (latents,)),
            "synthesis.w1": (latents, hidden),
            "synthesis.b1": (hidden,),
            "synthesis.w2": (hidden, size),
            "synthesis.b2": (size,),
        }

    @classmethod
    def analysis_shapes(cls, config: Mapping[str, Any]) -> Shapes:
        size = config["height"] * config["width"] * config["channels"]
        # It does not travel, so its width is not saved on.
        latents, hidden = config["latents"], max(_HIDDEN, 2 * config["latents"])
        return {
            ANALYSIS + "w1": (size, hidden),
            ANALYSIS + "b1": (hidden,),
            ANALYSIS + "w2": (hidden, latents),
            ANALYSIS + "b2": (latents,),
            # What a squared error of 1 is worth in bits: training finds it.
            **({_WORTH: (1,)} if "budget" in config else {}),
        }

    @property
    def budget(self) -> int | None:
        """Bytes that each image's latents take at most, if there is a limit."""
        return self.config.get("budget")

    def check(self, pixels: Pixels) -> None:
        shape = tuple(self.config[k] for k in ("height", "width", "channels"))
        if pixels.shape[:2] != shape[:2] or not covers(shape[2], pixels.shape[2]):
            kinds = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
            has, wants = (f"{w}x{h} {kinds[c]}" for h, w, c in (pixels.shape, shape))
            raise ModelError(f"the model is for images of {wants}, and this is {has}")

    # --- training ---

    def rates(self, progress: float) -> Callable[[str], float]:
        scale = 0.5 * (1 + np.cos(np.pi * min(progress, 1))) * 2e-3 + 1e-6
        return lambda name: scale * (10 if name.startswith("prior.") or name == _WORTH else 1)

    def sample_loss(
        self, images: Sequence[Pixels], progress: float, rng: np.random.Generator
    ) -> Loss:
        chosen = rng.integers(len(images), size=_BATCH)
        x = self._samples([images[i] for i in chosen])
        noise = None
        if progress < _ROUND_FROM:
            noise = rng.random((len(x), self.config["latents"]), np.float32) - np.float32(0.5)
        return self._loss(x, noise, train=True)

    def evaluate(self, images: Sequence[Pixels]) -> Loss:
        chosen = np.linspace(0, len(images) - 1, min(len(images), _EVALUATED)).astype(int)
        return self._loss(self._samples([images[i] for i in chosen]), None, train=False)

    def _loss(self, x: Array, noise: Array | None, train: bool) -> Loss:
        p = self.parameters
        hidden, back1 = nn.dense(x, p[ANALYSIS + "w1"], p[ANALYSIS + "b1"])
        hidden, activate1 = nn.relu(hidden)
        latents, back2 = nn.dense(hidden, p[ANALYSIS + "w2"], p[ANALYSIS + "b2"])
        latents = np.rint(latents) if noise is None else latents + noise
        prior = [np.broadcast_to(p[name], latents.shape) for name in _PRIOR_GRIDS]
        bits, (by_latents, *by_prior) = laplace.mixture_bits(latents, *prior)
        hidden, back3 = nn.dense(latents, p["synthesis.w1"], p["synthesis.b1"])
        hidden, activate3 = nn.relu(hidden)
        y, back4 = nn.dense(hidden, p["synthesis.w2"], p["synthesis.b2"])
        # A value below black or above white costs nothing, and no gradient moves it.
        error = np.clip(y, 0, 1) - x
        total, squared = float(bits.sum(dtype=np.float64)), float(np.vdot(error, error))
        worth, charged, d = _worth(self.config["quality"]), total, Parameters()
        if self.budget is not None:
            aim = 8 * self.budget - _SPARE if self.budget > 1 else 6
            # Less than the budget is no gain. While training the price of an error rises until
            # the bits are spent: ascent of the dual of the problem with a constraint.
            charged = max(total, aim * len(x))
            if train:
                worth = float(np.exp2(p[_WORTH][0]))
                d[_WORTH] = np.array([total / len(x) / aim - 1], np.float32)
        pixels = len(x) * self.config["height"] * self.config["width"]
        loss = Loss(total, squared * 255**2, x.size, pixels, (charged + worth * squared) / pixels)
        if not train:
            return loss
        scale = np.float32(1 / pixels)
        dhidden, d["synthesis.w2"], d["synthesis.b2"] = back4(error * (2 * worth * scale))
        dlatents, d["synthesis.w1"], d["synthesis.b1"] = back3(activate3(dhidden))
        for name, gradient in zip(_PRIOR_GRIDS, by_prior, strict=True):
            d[name] = gradient.sum(axis=0) * scale
        dlatents += by_latents * scale
        dhidden, d[ANALYSIS + "w2"], d[ANALYSIS + "b2"] = back2(dlatents)
        _, d[ANALYSIS + "w1"], d[ANALYSIS + "b1"] = back1(activate1(dhidden))
        loss.gradients = d
        return loss

    def finest_grids(self) -> dict[str, int]:
        # Latents are counted in steps: the finer those, the more of them, and each for less.
        octave = log_step(self.config["quality"]) // 32
        grids = {
            "synthesis.w1": octave - 15,
            "synthesis.w2": octave - 18,
            "synthesis.b2": min(octave - 12, -8),
            **_PRIOR_GRIDS,
        }
        return {k: grids.get(k, -8) for k in self.travelling()}

    # --- images ---

    def encode(
        self, images: Sequence[Pixels], quality: int, effort: int = DEFAULT_EFFORT
    ) -> list[bytes]:
        if not images:  # none of a batch could be read
            return []
        x = self._samples(images)
        latents, rows = self._analysed(x), self._rows(quality)
        if self.budget is not None:
            whole = self._within_budget(latents, x, quality, effort)
            return [self._payload(values, rows, self.budget) for values in whole]
        if effort > 1:
            worth = np.full(len(x), _worth(quality), np.float32)
            latents = self._improved(latents, x, quality, worth, _ITERATIONS[effort])
        whole = np.rint(latents * np.float32(self._finer(quality))).astype(np.int64)
        return [self._payload(values, rows) for values in whole]

    def _samples(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        return to_samples(images, self.config["channels"])

    @staticmethod
    def _payload(values: NDArray[np.int64], rows: laplace.Rows, most: int | None = None) -> bytes:
        """An image's latents as bytes, of `most` at most: where they do not fit, the latents that
        take the most bits become their likeliest values, and where that is too much an empty
        payload, which stands for all likeliest values."""

        def coded() -> bytes:
            encoder = Encoder()
            encoder.encode(values, rows)
            return encoder.finish() or b"\0"

        payload = coded()
        if most is None or len(payload) <= most:
            return payload
        likeliest = laplace.likeliest(rows)
        excess = laplace.coded_bits(values, rows) - laplace.coded_bits(likeliest, rows)
        for latent in np.argsort(-excess):
            values[latent] = likeliest[latent]
            if len(payload := coded()) <= most:
                return payload
        return b""

    def _within_budget(
        self, latents: Array, x: Array, quality: int, effort: int
    ) -> NDArray[np.int64]:
        """Whole latents of images x, each with the least error that was found within the budget:
        a search for the weight of error against bits at which the image takes all of it."""
        unit, rows = np.float32(self._finer(quality)), self._rows(quality)
        log_worth = np.full(len(x), self.parameters[_WORTH][0], np.float32)
        least = np.full(len(x), np.inf, np.float32)
        best = np.zeros(latents.shape, np.int64)
        for stride in _STRIDES:
            worth = np.exp2(log_worth)
            latents = self._improved(latents, x, quality, worth, max(_ITERATIONS[effort], 2))
            whole = np.rint(latents * unit).astype(np.int64)
            flat = laplace.coded_bits(whole.ravel(), rows.take(_tiled(whole)))
            fits = flat.reshape(whole.shape).sum(axis=1) <= 8 * self.config["budget"]
            error = np.square(np.clip(self._synthesis(whole / unit), 0, 1) - x).sum(axis=1)
            better = ~np.isfinite(least) | fits & (error < least)
            best[better] = whole[better]
            least[better & fits] = error[better & fits]
            log_worth += np.where(fits, np.float32(stride), np.float32(-stride))
        return best

    def _analysed(self, x: Array) -> Array:
        """Latents (n, latents), not rounded, of images x (n, pixels)."""
        p = self.parameters
        hidden, _ = nn.dense(x, p[ANALYSIS + "w1"], p[ANALYSIS + "b1"])
        hidden, _ = nn.relu(hidden)
        return nn.dense(hidden, p[ANALYSIS + "w2"], p[ANALYSIS + "b2"])[0]

    def _bits(self, latents: Array) -> Array:
        """What each image takes, in theory, of latents (n, latents)."""
        prior = [np.broadcast_to(self.parameters[name], latents.shape) for name in _PRIOR_GRIDS]
        return laplace.mixture_bits(latents, *prior)[0].sum(axis=1)

    def _synthesis(self, latents: Array) -> Array:
        """Samples (n, pixels), not clipped, of latents (n, latents)."""
        p = self.parameters
        hidden, _ = nn.dense(latents.astype(np.float32), p["synthesis.w1"], p["synthesis.b1"])
        hidden, _ = nn.relu(hidden)
        return nn.dense(hidden, p["synthesis.w2"], p["synthesis.b2"])[0]

    def _improved(
        self, latents: Array, x: Array, quality: int, worth: Array, iterations: int
    ) -> Array:
        """Latents that cost less for their images than those that analysis gives.

        worth: (n,) bits that a squared error of 1 is worth.

        Analysis is one function for all images. Each image's own optimum is found by descending the
        gradient of rate + lambda * squared error with momentum (Yang, Bamler, Mandt, "Improving
        inference for neural image compression", 2020, section 3), from the best point so far with
        half the rate where a step was too long.
        """
        unit, p = np.float32(self._finer(quality)), self.parameters
        prior = [np.broadcast_to(p[name], latents.shape) for name in _PRIOR_GRIDS]

        def cost(z: Array) -> tuple[Array, Callable[[], Array]]:
            """Of each image, and its gradient. Of the rate that averaged over the rounding
            interval: at a whole number of its own there may be a peak."""
            hidden, back1 = nn.dense(z, p["synthesis.w1"], p["synthesis.b1"])
            hidden, activate = nn.relu(hidden)
            y, back2 = nn.dense(hidden, p["synthesis.w2"], p["synthesis.b2"])
            error = np.clip(y, 0, 1) - x
            bits = laplace.mixture_bits(z, *prior)[0].sum(axis=1)

            def gradient() -> Array:
                half = np.float32(0.5) / unit
                slope = laplace.mixture_bits(z + half, *prior)[0]
                slope -= laplace.mixture_bits(z - half, *prior)[0]
                dhidden, _, _ = back2(error * (2 * worth[:, None]))
                return back1(activate(dhidden))[0] + slope * unit

            return bits + worth * np.square(error).sum(axis=1), gradient

        # By each latent, the squared error's second derivative where half of the units are on, and
        # about the rate's.
        squares = np.square(p["synthesis.w1"] @ p["synthesis.w2"]).sum(axis=1)
        curvature = 1 + worth[:, None] * squares
        rate = np.full((len(x), 1), 0.5, np.float32)
        z, velocity, best = latents, np.zeros_like(latents), latents
        least = np.full(len(x), np.inf, np.float32)
        for _ in range(iterations):
            found, gradient = cost(z)
            worse = ~(found <= least)[:, None]
            least, best = np.fmin(found, least), np.where(worse, best, z)
            velocity = _MOMENTUM * velocity - gradient() * (rate / curvature)
            rate = np.where(worse, rate / 2, rate)
            velocity = np.where(worse, 0, velocity)
            z = best + velocity

        def rounded(z: Array) -> Array:
            return np.rint(z * unit) / unit

        better = cost(rounded(best))[0] < cost(rounded(latents))[0]
        return np.where(better[:, None], best, latents)

    def decode(
        self, payloads: Sequence[bytes], shape: tuple[int, int, int], quality: int
    ) -> list[Pixels]:
        self.check(np.empty(shape, np.uint8))
        rows = self._rows(quality)
        whole = np.array(
            [Decoder(x).decode(rows) if x else laplace.likeliest(rows) for x in payloads]
        )
        samples = self._synthesis(whole / self._finer(quality))
        return to_pixels(samples, shape, self.config["channels"])

    def _octaves_finer(self, quality: int) -> int:
        """In 1/32, how much finer latents are than those of the quality fitted for."""
        return log_step(self.config["quality"]) - log_step(quality)

    def _finer(self, quality: int) -> float:
        return float(2.0 ** (self._octaves_finer(quality) / 32))

    def _rows(self, quality: int) -> laplace.Rows:
        """The latents' frequencies, the same on every machine: integers, and an exponential
        rounded correctly by `decimal`."""
        grid = laplace.to_grid(*(self.parameters[name] for name in _PRIOR_GRIDS))
        finer = self._octaves_finer(quality)
        with localcontext() as context:
            context.prec = 40
            factor = int((Decimal(finer) / 32 * Decimal(2).ln()).exp() * (1 << 24))
        return laplace.frequency_rows(
            grid._replace(
                centre=grid.centre * factor + (1 << 23) >> 24,
                log_scale=grid.log_scale + (finer * laplace.SCALE_STEPS + 16) // 32,
            )
        )


def _worth(quality: int) -> float:
    """Bits that a squared error of 1 is worth where white is 1."""
    return LAGRANGIAN / (step_size(log_step(quality)) / 255) ** 2


def _principal_axes(
    images: Sequence[Pixels], config: Mapping[str, Any], rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """A sample of the images (n, pixels), its mean (pixels,) and its axes (latents, pixels)."""
    chosen = rng.choice(len(images), min(len(images), 2000), replace=False)
    x = to_samples([images[i] for i in chosen], config["channels"])
    mean = x.mean(axis=0)
    # Fewer images than latents leave some axes without a direction: they stay zero.
    axes = np.zeros((config["latents"], x.shape[1]), np.float32)
    found = np.linalg.svd(x - mean, full_matrices=False)[2][: config["latents"]]
    axes[: len(found)] = found
    return x, mean, axes


def _tiled(values: NDArray[np.int64]) -> NDArray[np.intp]:
    """Which latent each of values (n, latents) is, flat."""
    return np.tile(np.arange(values.shape[1]), len(values))


def _paired(linear: Array, hidden: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Weights (inputs, hidden) of which the first 2 n units are `linear` (inputs, n) and its
    negative, the others random."""
    inputs, n = linear.shape
    others = rng.normal(size=(inputs, hidden - 2 * n)) * np.sqrt(2 / inputs)
    return np.concatenate([linear, -linear, others], axis=1).astype(np.float32)
