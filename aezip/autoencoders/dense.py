"""Many small images of one size: each one whole through fully connected layers.

Analysis has one hidden layer, synthesis two, of which the last is kept narrow: nearly all that
travels are the weights from there to the pixels. Both start as principal component analysis
exactly: hidden units come in pairs, max(x, 0) and max(-x, 0), whose difference is linear; the
others wait with outgoing weights of zero. Each latent has a distribution of its own.

Analysis is one function for all images, and what it finds is far from each image's best latents. So
training uses it in the beginning only: then each image of the collection has latents of its own,
improved by a step of gradient descent whenever it is drawn, and analysis learns to come near
them. The encoder goes on from there, for each image by itself.

With a budget, images take up to so many bytes each and no more: training weighs error against
bits so that they take it on average, and the encoder so that each one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aezip import nn
from aezip.autoencoders.base import (
    ANALYSIS,
    DEFAULT_EFFORT,
    LAGRANGIAN,
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
from aezip.entropy.parameters import Pictures
from aezip.errors import ModelError

Array = NDArray[np.floating]

_BATCH = 128
_LATENTS = 64
_HIDDEN = 256
_EVALUATED = 1024  # images
_MOST_SAMPLED = 2000  # images whose principal axes training starts from
_SAMPLED = 1 << 23  # values in them, of which memory holds several copies
_ITERATIONS = (0, 0, 2, 5, 10, 20, 30, 40, 60, 100)  # that improve each image's latents, by effort
_MOMENTUM = np.float32(0.8)
_GROWTH = np.float32(1.1)  # of an image's rate of descent by a step that was better
_CODES_FROM = 0.3  # of the training: each image has latents of its own
_CODE_RATES = (0.22, 0.02)  # of their descent, at first and at last
_ROUND_FROM = 0.7  # of the training: latents are rounded, before that noise is added
_PAYING = 10  # parameters for each image: about five bytes
_WIDER = 32  # units that the first hidden layer of synthesis has more than the last
_LARGEST = 1 << 28  # parameters in one layer
_DECODER_WEIGHT = 1 / 8  # of models with a budget
_MOST_BUDGET = 1 << 16  # bytes
_SPARE = 4  # bits of the budget that training leaves
_STRIDES = (2, 1, 0.5, 0.25, 0.125)  # octaves: of the search for an image's own weight of error
_FIRST = 1.0  # weights of the first layer of synthesis at the start, in steps of the quantiser
_WARM = 0.03  # of the training, in which the rates of learning grow
_SMALL = 28 * 28  # samples of an image for which they are chosen
_LAYERS = (1, 2, 3)  # of synthesis
_WORTH = ANALYSIS + "log_worth"
_PRIOR_GRIDS = {
    "prior.centre": -3,  # the coder's own grids: 1 / laplace.CENTRE_STEPS and so on
    "prior.log_scale": -3,
    "prior.spread": -3,
    "prior.weight": -4,
}


class Dense(Autoencoder):
    """config: height, width, channels, hidden, features (the last hidden layer), latents, quality
    (that it was fitted for), and of models with one the budget, in bytes for each image's latents.
    """

    arch = "dense"
    default_quality = 50
    default_minutes = 4.5
    batch = 256
    recovered = 0.2

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
        # So many images differ from their mean along fewer axes.
        latents = max(1, min(_LATENTS, size // 4, len(images) - 1))
        features = int(np.clip(_PAYING * len(images) // size, 2 * latents, _HIDDEN))
        return {
            "height": height,
            "width": width,
            "channels": channels,
            "hidden": features + _WIDER,
            "features": features,
            "latents": latents,
            "quality": quality,
        }

    @classmethod
    def _closed_form(
        cls, config: Mapping[str, Any], x: Array, mean: Array, axes: Array, rng: np.random.Generator
    ) -> Self:
        """x: a sample of the images, with its mean and its principal axes (latents, pixels)."""
        latents, hidden, features = (config[k] for k in ("latents", "hidden", "features"))
        step = step_size(log_step(config["quality"])) / 255
        # What hidden units give is of one size whatever the step: one learning rate serves all.
        first = np.float32(_FIRST * step)
        p = {k: np.zeros(s, np.float32) for k, s in cls.shapes(config).items()}
        p["synthesis.w1"][:] = _paired(np.eye(latents), hidden, rng) * first
        p["synthesis.w2"][:] = _passing(2 * latents, hidden, features, rng)
        p["synthesis.w3"][: 2 * latents] = np.concatenate([axes, -axes]) * (step / first)
        p["synthesis.b3"][:] = mean
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
        height, width, channels, hidden, features, latents, _ = whole_numbers(
            config, height=side, width=side, channels=4,
            hidden=side, features=side, latents=side, quality=100,
        )  # fmt: skip
        if "budget" in config:
            whole_numbers(config, budget=_MOST_BUDGET)
        size = height * width * channels
        if max(features * size, features * hidden, hidden * latents) > _LARGEST:
            raise ModelError("the decoder is damaged: it claims too many parameters")
        return {
            **dict.fromkeys(_PRIOR_GRIDS, (latents,)),
            "synthesis.w1": (latents, hidden),
            "synthesis.b1": (hidden,),
            "synthesis.w2": (hidden, features),
            "synthesis.b2": (features,),
            "synthesis.w3": (features, size),
            "synthesis.b3": (size,),
        }

    @classmethod
    def pictures(cls, config: Mapping[str, Any]) -> Pictures:
        shape = config["height"], config["width"], config["channels"]
        return {"synthesis.w3": shape, "synthesis.b3": shape}

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
    def code_size(self) -> int:
        return int(self.config["latents"])

    @property
    def decoder_weight(self) -> float:
        # A budget is for images that are shown apart from each other, by one decoder for all.
        return 1.0 if self.budget is None else _DECODER_WEIGHT

    @property
    def budget(self) -> int | None:
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
        # Adam's first steps are as long as its others, and would undo the closed form.
        scale *= min(0.05 + progress / _WARM, 1)
        size = len(self.parameters["synthesis.b3"])
        # Of images with more pixels, weights are smaller where they lead to them (whose directions
        # have length one), and more of them add up where they come from them.
        share = min(_SMALL / size, 1)
        special = {ANALYSIS + "w1": share, "synthesis.w3": share**0.5, _WORTH: 10.0}

        def rate(name: str) -> float:
            return scale * (10 if name.startswith("prior.") else special.get(name, 1.0))

        return rate

    def sample_loss(
        self, images: Sequence[Pixels], progress: float, rng: np.random.Generator
    ) -> Loss:
        chosen = np.unique(rng.integers(len(images), size=_BATCH))
        x = self._samples([images[i] for i in chosen])
        noise = None
        if progress < _ROUND_FROM:
            noise = rng.random((len(x), self.config["latents"]), np.float32) - np.float32(0.5)
        ops = nn.ops_of(self.parameters["synthesis.w1"])
        there = ops.asarray(x)
        noise = None if noise is None else ops.asarray(noise)
        if self.codes is None or progress < _CODES_FROM:
            return self._loss(there, noise)
        codes = ops.asarray(self._codes(chosen, x))
        first, last = _CODE_RATES
        rate = last + (first - last) * 0.5 * (1 + np.cos(np.pi * min(progress, 1)))
        loss, improved = self._loss_of_codes(there, codes, noise, np.float32(rate))
        self.codes[chosen] = ops.to_host(improved)
        return loss

    def evaluate(self, images: Sequence[Pixels]) -> Loss:
        chosen = np.linspace(0, len(images) - 1, min(len(images), _EVALUATED)).astype(int)
        x = self._samples([images[i] for i in chosen])
        latents = np.rint(self._codes(chosen, x))
        error = np.clip(self._synthesis(latents)[0], 0, 1) - x
        return self._summed(x, float(self._bits(latents).sum(dtype=np.float64)), error)[0]

    def _codes(self, chosen: NDArray[np.intp], x: Array) -> Array:
        """Latents, not rounded, of some images by their numbers: their own, or those that analysis
        finds of x, their samples."""
        if self.codes is None:
            return self._analysed(x)
        codes = self.codes[chosen]
        new = np.isnan(codes[:, 0])
        if new.any():
            ops = nn.ops_of(self.parameters["synthesis.w1"])
            codes[new] = ops.to_host(self._analysed(ops.asarray(x[new])))
        return codes

    def _loss(self, x: Array, noise: Array | None) -> Loss:
        """With the latents of analysis, and the gradients of all parameters."""
        latents, back = self._analysis(x)
        whole = np.rint(latents) if noise is None else latents + noise
        loss, by_latents, by_rate = self._synthesis_loss(x, whole)
        assert loss.gradients is not None
        loss.gradients.update(back(by_latents + by_rate))
        return loss

    def _loss_of_codes(
        self, x: Array, codes: Array, noise: Array | None, rate: np.float32
    ) -> tuple[Loss, Array]:
        """With latents of the images' own, (n, latents): loss, gradients, and improved latents."""
        whole = np.rint(codes) if noise is None else codes + noise
        loss, by_latents, by_rate = self._synthesis_loss(x, whole)
        assert loss.gradients is not None
        scale = np.float32(1 / loss.pixels)
        if noise is None:
            by_rate = self._rate_slope(codes, np.float32(1)) * scale
        worth = np.float32(self._worth_in_training())
        curvature = _curvature(worth, self._squares()) * scale
        improved = codes - rate * (by_latents + by_rate) / curvature
        found, back = self._analysis(x)
        loss.gradients.update(back((found - improved) * curvature))
        return loss, improved

    def _worth_in_training(self) -> float:
        if self.budget is None:
            return _worth(self.config["quality"])
        return float(np.exp2(self.parameters[_WORTH][0]))

    def _synthesis_loss(self, x: Array, latents: Array) -> tuple[Loss, Array, Array]:
        """Loss with the gradients of what travels, and the gradients by the latents (n, latents):
        of the distortion, of the rate."""
        p = self.parameters
        prior = [np.broadcast_to(p[name], latents.shape) for name in _PRIOR_GRIDS]
        bits, (by_rate, *by_prior) = laplace.mixture_bits(latents, *prior)
        y, back = self._synthesis(latents)
        # A value below black or above white costs nothing, and no gradient moves it.
        error = np.clip(y, 0, 1) - x
        total = float(bits.sum(dtype=np.float64))
        worth = self._worth_in_training()
        loss, d = self._summed(x, total, error)
        scale = np.float32(1 / loss.pixels)
        by_latents, by_parameters = back(error * (2 * worth * scale))
        d.update(by_parameters)
        for name, gradient in zip(_PRIOR_GRIDS, by_prior, strict=True):
            d[name] = gradient.sum(axis=0) * scale
        loss.gradients = d
        return loss, by_latents, by_rate * scale

    def _summed(self, x: Array, bits: float, error: Array) -> tuple[Loss, Parameters]:
        """The loss of images x, and the gradient by the price of an error where there is one."""
        squared, d = float(np.vdot(error, error)), Parameters()
        worth, charged = _worth(self.config["quality"]), bits
        if self.budget is not None:
            aim = max(8 * self.budget - _SPARE, 6)
            # Less than the budget is no gain. While training the price of an error rises until
            # the bits are spent: ascent of the dual of the problem with a constraint.
            charged = max(bits, aim * len(x))
            d[_WORTH] = np.array([bits / len(x) / aim - 1], np.float32)
        pixels = len(x) * self.config["height"] * self.config["width"]
        value = (charged + worth * squared) / pixels
        return Loss(bits, squared * 255**2, x.size, pixels, value), d

    def finest_grids(self) -> dict[str, int]:
        # Latents are counted in steps: the finer those, the more of them, and each for less.
        octave = log_step(self.config["quality"]) // 32
        grids = {
            "synthesis.w1": octave - 15,
            "synthesis.w2": octave - 15,
            "synthesis.w3": octave - 18,
            "synthesis.b3": min(octave - 12, -8),
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

    def _payload(
        self, values: NDArray[np.int64], rows: laplace.Rows, most: int | None = None
    ) -> bytes:
        """An image's latents as bytes, of `most` at most: trimmed where they do not fit, and where
        no latents do an empty payload, which stands for the likeliest value of each."""
        payload = _coded(values, rows)
        if most is None or len(payload) <= most:
            return payload
        for bits in range(8 * most, 0, -4):
            payload = _coded(_trimmed(values, rows, bits, self._frozen_squares), rows)
            if len(payload) <= most:
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
            error = np.square(np.clip(self._synthesis(whole / unit)[0], 0, 1) - x).sum(axis=1)
            better = ~np.isfinite(least) | fits & (error < least)
            best[better] = whole[better]
            least[better & fits] = error[better & fits]
            log_worth += np.where(fits, np.float32(stride), np.float32(-stride))
        return best

    def _analysed(self, x: Array) -> Array:
        """Latents (n, latents), not rounded, of images x (n, pixels)."""
        return self._analysis(x)[0]

    def _analysis(self, x: Array) -> tuple[Array, Callable[[Array], Parameters]]:
        p = self.parameters
        hidden, back1 = nn.dense(x, p[ANALYSIS + "w1"], p[ANALYSIS + "b1"])
        hidden, activate = nn.relu(hidden)
        latents, back2 = nn.dense(hidden, p[ANALYSIS + "w2"], p[ANALYSIS + "b2"])

        def backprop(by_latents: Array) -> Parameters:
            d: Parameters = {}
            dhidden, d[ANALYSIS + "w2"], d[ANALYSIS + "b2"] = back2(by_latents)
            dhidden = activate(dhidden)
            # The gradient by x would be the largest product, and is not wanted.
            d[ANALYSIS + "w1"], d[ANALYSIS + "b1"] = x.T @ dhidden, dhidden.sum(axis=0)
            return d

        del back1
        return latents, backprop

    def _rate_slope(self, latents: Array, unit: np.float32) -> Array:
        """Of the rate by each latent, averaged over the rounding interval: at a whole number of its
        own there may be a peak."""
        prior = [self.parameters[name] for name in _PRIOR_GRIDS]
        half = np.float32(0.5) / unit
        upper, lower = (laplace.rate(latents + x, *prior) for x in (half, -half))
        return (upper - lower) * unit

    def _squares(self) -> Array:
        """The squared error of a step of each latent where half of the units are on (latents,)."""
        p = self.parameters
        linear = (p["synthesis.w1"] @ p["synthesis.w2"] * np.float32(0.5)) @ p["synthesis.w3"]
        return np.square(linear).sum(axis=1)

    @cached_property
    def _frozen_squares(self) -> Array:
        """The same of parameters that no training moves: as costly as to decode some images."""
        return self._squares()

    def _bits(self, latents: Array) -> Array:
        """What each image takes, in theory, of latents (n, latents)."""
        prior = (self.parameters[name] for name in _PRIOR_GRIDS)
        return laplace.rate(latents, *prior).sum(axis=1)

    def _synthesis(
        self, latents: Array
    ) -> tuple[Array, Callable[[Array], tuple[Array, Parameters]]]:
        """Samples (n, pixels), not clipped, of latents (n, latents); backprop gives the gradients
        by the latents and by the parameters."""
        p, backs = self.parameters, []
        x = latents.astype(p["synthesis.b3"].dtype)
        for layer in _LAYERS:
            x, back = nn.dense(x, p[f"synthesis.w{layer}"], p[f"synthesis.b{layer}"])
            backs.append(back)
            if layer < _LAYERS[-1]:
                x, back = nn.relu(x)
                backs.append(back)

        def backprop(dy: Array) -> tuple[Array, Parameters]:
            d: Parameters = {}
            for layer in reversed(_LAYERS):
                if layer < _LAYERS[-1]:
                    dy = backs[2 * layer - 1](dy)
                dy, d[f"synthesis.w{layer}"], d[f"synthesis.b{layer}"] = backs[2 * layer - 2](dy)
            return dy, d

        return x, backprop

    def _improved(
        self, latents: Array, x: Array, quality: int, worth: Array, iterations: int
    ) -> Array:
        """Latents that cost less for their images than those that analysis gives.

        worth: (n,) bits that a squared error of 1 is worth.

        Analysis is one function for all images. Each image's own optimum is found by descending the
        gradient of rate + lambda * squared error with momentum (Yang, Bamler, Mandt, "Improving
        inference for neural image compression", 2020, section 3), from the best point so far with
        half the rate where a step was too long. Rates grow otherwise: pixels at black or white have
        no gradient, so the error curves less than it would without them.
        """
        unit, p = np.float32(self._finer(quality)), self.parameters

        def cost(z: Array) -> tuple[Array, Callable[[], Array]]:
            """Of each image, and its gradient."""
            hidden1 = np.maximum(z @ p["synthesis.w1"] + p["synthesis.b1"], 0)
            hidden2 = np.maximum(hidden1 @ p["synthesis.w2"] + p["synthesis.b2"], 0)
            error = np.clip(hidden2 @ p["synthesis.w3"] + p["synthesis.b3"], 0, 1) - x

            def gradient() -> Array:
                # Not by backprop, which would give the parameters' gradients, too.
                d = (error * (2 * worth[:, None])) @ p["synthesis.w3"].T
                d = (d * (hidden2 > 0)) @ p["synthesis.w2"].T
                return (d * (hidden1 > 0)) @ p["synthesis.w1"].T + self._rate_slope(z, unit)

            return self._bits(z) + worth * np.square(error).sum(axis=1), gradient

        curvature = _curvature(worth[:, None], self._frozen_squares)
        rate = np.full((len(x), 1), 0.5, np.float32)
        z, velocity, best = latents, np.zeros_like(latents), latents
        least = np.full(len(x), np.inf, np.float32)
        for _ in range(iterations):
            found, gradient = cost(z)
            worse = ~(found <= least)[:, None]
            least, best = np.fmin(found, least), np.where(worse, best, z)
            velocity = _MOMENTUM * velocity - gradient() * (rate / curvature)
            rate = np.where(worse, rate / 2, rate * _GROWTH)
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
        samples, _ = self._synthesis(whole / self._finer(quality))
        return to_pixels(samples, shape, self.config["channels"])

    def _octaves_finer(self, quality: int) -> int:
        """In 1/32, how much finer latents are than those of the quality fitted for."""
        return log_step(self.config["quality"]) - log_step(quality)

    def _finer(self, quality: int) -> float:
        return float(2.0 ** (self._octaves_finer(quality) / 32))

    def _rows(self, quality: int) -> laplace.Rows:
        """The latents' frequencies, the same on every machine."""
        # Images come one by one: what is the same for all is not computed for each.
        prior = tuple(self.parameters[name].tobytes() for name in _PRIOR_GRIDS)
        return _frequencies(prior, self._octaves_finer(quality))


@lru_cache(maxsize=8)
def _frequencies(prior: tuple[bytes, ...], finer: int) -> laplace.Rows:
    """Of latents that are 2**(finer / 32) times as fine as their prior's (float32 arrays as bytes,
    in the order of `_PRIOR_GRIDS`): integers, and an exponential rounded correctly by `decimal`."""
    grid = laplace.to_grid(*(np.frombuffer(x, np.float32) for x in prior))
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


def _curvature(worth: Array | np.float32, squares: Array) -> Array:
    """Second derivatives by each latent, of the error at a worth, and about those of the rate."""
    return 1 + worth * squares


def _principal_axes(
    images: Sequence[Pixels], config: Mapping[str, Any], rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """A sample of the images (n, pixels), its mean (pixels,) and its axes (latents, pixels)."""
    size = config["height"] * config["width"] * config["channels"]
    count = min(len(images), _MOST_SAMPLED, max(_SAMPLED // size, config["latents"] + 1))
    chosen = rng.choice(len(images), count, replace=False)
    x = to_samples([images[i] for i in chosen], config["channels"])
    mean = x.mean(axis=0)
    # Fewer images than latents leave some axes without a direction: they stay zero.
    axes = np.zeros((config["latents"], x.shape[1]), np.float32)
    found = np.linalg.svd(x - mean, full_matrices=False)[2][: config["latents"]]
    axes[: len(found)] = found
    return x, mean, axes


def _coded(values: NDArray[np.int64], rows: laplace.Rows) -> bytes:
    encoder = Encoder()
    encoder.encode(values, rows)
    return encoder.finish() or b"\0"  # empty payloads mean something else


def _trimmed(
    values: NDArray[np.int64], rows: laplace.Rows, most: int, squares: Array
) -> NDArray[np.int64]:
    """Latents of at most so many bits, if any have as few: of all steps towards the likeliest
    values those are taken that save the most bits for the error they add. squares: (latents,) the
    error of one step of each."""
    likeliest = laplace.likeliest(rows)
    far = np.abs(values - likeliest)
    latent = np.repeat(np.arange(len(values)), far)
    step = np.arange(len(latent)) - np.repeat(np.cumsum(far) - far, far)  # 0, 1, ... of each
    direction = np.sign(likeliest - values)[latent]
    those = rows.take(latent)
    before = laplace.coded_bits(values[latent] + direction * step, those)
    saved = before - laplace.coded_bits(values[latent] + direction * (step + 1), those)
    order = np.argsort(-saved / (squares[latent] * (2 * step + 1) + 1e-12), kind="stable")
    excess = laplace.coded_bits(values, rows).sum() - most
    enough = int(np.searchsorted(np.cumsum(saved[order]), excess)) + 1
    moves = np.bincount(latent[order[:enough]], minlength=len(values))
    return values + np.sign(likeliest - values) * moves


def _tiled(values: NDArray[np.int64]) -> NDArray[np.intp]:
    """Which latent each of values (n, latents) is, flat."""
    return np.tile(np.arange(values.shape[1]), len(values))


def _paired(linear: Array, hidden: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Weights (inputs, hidden) of which the first 2 n units are `linear` (inputs, n) and its
    negative, the others random."""
    inputs, n = linear.shape
    others = rng.normal(size=(inputs, hidden - 2 * n)) * np.sqrt(2 / inputs)
    return np.concatenate([linear, -linear, others], axis=1).astype(np.float32)


def _passing(n: int, inputs: int, outputs: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Weights (inputs, outputs) of which the first n units pass on what they get, the others
    random."""
    weights = rng.normal(size=(inputs, outputs)) * np.sqrt(2 / inputs)
    weights[:, :n] = np.eye(inputs, n)
    return weights.astype(np.float32)
