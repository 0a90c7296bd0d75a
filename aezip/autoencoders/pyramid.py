"""Photographs of any size: a wavelet pyramid with learned filters, a network that predicts each
level's details from the coarser image, trellis-coded latents with one context model for all, and a
small network that removes artefacts.

The transform is invertible by construction, so the analysis has no parameters of its own. It
starts where classical coding ends (CDF 9/7, colours by the collection's principal axes), and one
set of parameters serves every quality: the quantiser step is an input of all networks.
Grey images are the first of the three colour planes. Transparency is one more image of one plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aezip.autoencoders import colours, lifting, postfilter, prediction, stepping
from aezip.autoencoders.base import (
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
from aezip.autoencoders.crops import PART, Coded, Decoded, Replay, Rounded, random_crop
from aezip.autoencoders.lifting import Bands
from aezip.entropy import context, laplace, median, quantise
from aezip.entropy.coder import Decoder, Encoder
from aezip.entropy.context import COLOURS, ORIENTATIONS, IntegerNetwork, Layout, Plane
from aezip.entropy.rate import rate
from aezip.errors import ModelError
from aezip.nn import ops_of

Array = NDArray[np.floating]

_WIDTHS = {"hidden": 64, "prediction": 32, "filter": 64}
_MEASURED, _MEASURED_SIDE = 64, 512  # images from which the typical error is taken, of each a part
_MIDDLE_LOG = 128
_SAMPLE = 8192  # latents per crop that the context network is trained on
_REPLAYS = 10  # steps of the filter for one of all
_PARTS = 4  # of crops for a step of the filter
_GROUPS = {1: (1,), 2: (1, 1), 3: (3,), 4: (3, 1)}  # colour planes coded together, by channels
_PASSES = (0, 1, 1, 1, 1, 1, 2, 2, 2, 2)  # of the choice of latents, by effort
_TRAINING_PASSES = 1  # the second would take as long for hardly other latents
_GAIN = 0.2  # octaves by which the steps of two quantisers are wider than those of one
_REFINEMENTS = (0, 0, 0, 0, 0, 0, 0, 1, 2, 4)  # after them, by effort
_REFINED_LEVELS = 2
_REFINED_BY = 0.2  # steps, at most
_REFINED_SHARE = 0.5
_EVALUATED = (25, 50, 75, 90)  # qualities
_TRANSFORM_FROM = 0.3  # of the training
_RATES = {
    "context": 1.0, "prediction": 0.6, "filter": 1.6, "shrink": 0.3, "gain": 0.1, "lifting": 0.02,
}  # fmt: skip
_FIRST = {"context", "prediction"}
_COARSEST, _FINEST = 250, 64  # log steps trained on: qualities 5 to 96, those between more often

layout = lru_cache(maxsize=2)(context.layout)


class Pyramid(Autoencoder):
    """config: levels, hidden (width of the context network), prediction and filter (widths of the
    other two), quality (that `compress` uses unless told otherwise)."""

    arch = "pyramid"
    default_quality = 75
    default_minutes = 15.0
    batch = 1
    fixed_grids = {"colour": -10, "lifting": -10, "gain": -5, "shrink": -5, "typical": -3}  # noqa: RUF012

    @classmethod
    def start(
        cls,
        images: Sequence[Pixels],
        quality: int,
        rng: np.random.Generator,
        widths: Mapping[str, int] = _WIDTHS,
    ) -> Self:
        config = {"levels": 6, **widths, "quality": quality}
        parameters = {k: np.zeros(s, np.float32) for k, s in cls.shapes(config).items()}
        parameters["colour"][:] = colours.principal_axes(images)
        parameters["lifting"][:] = lifting.start(config["levels"])
        parameters["gain"][:] = _GAIN
        for name, shape in context.shape_of(config["hidden"], config["levels"]).items():
            if name in context.WEIGHTS:
                size = 0.02 if name == "w3" else np.sqrt(2 / shape[0])
                parameters["context." + name][:] = rng.normal(size=shape) * size
        parameters["context.b3"][:] = 2 * (0, -1, 1, 0.6)
        predictor = prediction.start(COLOURS, config["levels"], config["prediction"], rng)
        for name, value in predictor.items():
            parameters["prediction." + name][:] = value
        for name, value in postfilter.start(COLOURS, config["filter"], rng).items():
            parameters["filter." + name][:] = value
        started = cls(config, parameters)
        parameters["typical"][:] = started._typical_errors(images)
        return started

    def adapted(self, images: Sequence[Pixels], quality: int) -> Self:
        """All is what it was but for the colours and what error is typical, which are the
        collection's own."""
        parameters = {k: v.copy() for k, v in self.parameters.items()}
        parameters["colour"][:] = colours.principal_axes(images)
        adapted = type(self)({**self.config, "quality": quality}, parameters)
        parameters["typical"][:] = adapted._typical_errors(images)
        return adapted

    @classmethod
    def shapes(cls, config: Mapping[str, Any]) -> Shapes:
        levels, hidden, predictor, width, _ = whole_numbers(
            config, levels=8, hidden=256, prediction=256, filter=256, quality=100
        )
        bands = (levels, ORIENTATIONS, COLOURS)
        parts = {
            "context": context.shape_of(hidden, levels),
            "prediction": prediction.shapes(COLOURS, levels, predictor),
            "filter": postfilter.shapes(COLOURS, width),
        }
        return {
            "colour": (COLOURS, COLOURS),
            "lifting": (levels, 2, lifting.STEPS, lifting.TAPS),
            "gain": bands,
            "shrink": (*bands, 3),
            "typical": (len(stepping.STEPS),),
            **{f"{part}.{k}": s for part, shapes in parts.items() for k, s in shapes.items()},
        }

    @classmethod
    def unpack(cls, config: Mapping[str, Any], data: bytes) -> Self:
        decoder = super().unpack(config, data)
        # Of axes at right angles it is 1 or -1; without an inverse no image could be rebuilt.
        if abs(np.linalg.det(decoder.parameters["colour"].astype(np.float64))) < 0.1:
            raise ModelError("the decoder is damaged: its colours are none")
        return decoder

    def check(self, pixels: Pixels) -> None:
        """Takes any image."""

    def computed_pixels(self, height: int, width: int) -> int:
        unit = 1 << self.config["levels"]
        return (-(-height // unit) * unit) * (-(-width // unit) * unit)

    # --- training ---

    def rates(self, progress: float) -> Callable[[str], float]:
        scale = 0.5 * (1 + np.cos(np.pi * min(progress, 1))) * 5e-3 + 1e-6
        # A context model that knows nothing yet would teach the transform nonsense.
        trained = _RATES if progress >= _TRANSFORM_FROM else _FIRST

        def rate_of(name: str) -> float:
            part = name.partition(".")[0]
            return scale * _RATES.get(part, 0.0) if part in trained else 0.0

        return rate_of

    def sample_loss(
        self, images: Sequence[Pixels], progress: float, rng: np.random.Generator
    ) -> Loss:
        filtered = progress >= _TRANSFORM_FROM
        if filtered and self.memory is not None:
            # What takes the time is to decode a crop. The filter learns from it several times.
            if not self.memory:
                self.memory.append(Replay())
            (replay,) = self.memory
            replay.turn += 1
            if replay.turn % _REPLAYS:
                return self._filter_loss(replay.crops, rng)
        crop = random_crop(images, rng)
        log = round(_FINEST + (_COARSEST - _FINEST) * float(rng.beta(2, 2)))
        return self._loss(crop.pixels, log, crop.area, (_SAMPLE, rng), filtered)

    def _filter_loss(self, crops: Sequence[Decoded], rng: np.random.Generator) -> Loss:
        """Of parts of crops decoded before, with the gradients of the filter alone."""
        parameters = _section(self.parameters, "filter")
        d: Parameters = {k: np.zeros_like(v) for k, v in parameters.items()}
        squared_error, samples = 0.0, 0
        for number in rng.integers(len(crops), size=_PARTS):
            crop = crops[number]
            top, left = (
                postfilter.BLOCK * int(rng.integers(max(n - PART, 0) // postfilter.BLOCK + 1))
                for n in crop.error.shape[1:]
            )
            part = crop.pixels[top : top + PART, left : left + PART]
            planes = self._to_planes(part, crop.log)[0]
            error, q = (ops_of(planes).asarray(x) for x in crop.part(top, left))
            image, back = self._filter(planes + error, q, crop.log)
            error = image - planes
            squared_error += float(np.vdot(error, error))
            samples += error.size
            share = np.float32(2 * crop.worth * crop.error.size / error.size / _PARTS)
            for name, value in back(error * share)[1].items():
                d[name] += value
        gradients = {"filter." + k: v for k, v in d.items()}
        return Loss(0.0, squared_error, samples, samples, 0.0, gradients)

    def evaluate(self, images: Sequence[Pixels]) -> Loss:
        return self.evaluator(images)(self)

    def evaluator(self, images: Sequence[Pixels]) -> Callable[[Self], Loss]:
        """Latents are chosen anew where what they stand for has changed. Where only the context
        network has, others would be hardly better, and to choose them takes most of the time."""
        rng = np.random.default_rng(0)
        crops = [(random_crop(images, rng), log_step(quality)) for quality in _EVALUATED]
        before: Parameters = {}
        coded: list[Coded] = []
        bits: list[float] = []
        errors: list[Array] = []

        def evaluate(model: Self) -> Loss:
            p = model.parameters
            changed = {k.partition(".")[0] for k, v in p.items() if before.get(k) is not v}
            before.update(p)
            if changed - {"context", "filter"}:
                found = [model._code(crop.pixels, log, crop.area) for crop, log in crops]
                coded[:] = [replace(x, undo=[]) for x in found]
            if changed - {"filter"}:
                bits[:] = [model._rate(x)[0] for x in coded]
            if changed - {"context"}:
                errors[:] = [model._filter(*x.unfiltered)[0] - x.planes for x in coded]
            losses = [x.loss(b, e) for x, b, e in zip(coded, bits, errors, strict=True)]
            return Loss(
                bits=sum(x.bits for x in losses),
                squared_error=sum(x.squared_error for x in losses),
                samples=sum(x.samples for x in losses),
                pixels=sum(x.pixels for x in losses),
                # The finest quality takes ten times the bits of the coarsest; each counts alike.
                value=float(np.exp(np.mean([np.log(max(x.value, 1e-9)) for x in losses]))),
            )

        return evaluate

    def _code(self, pixels: Pixels, log: int, area: int | None = None) -> Coded:
        """A crop with the latents that the encoder would choose. area: as of `Crop`; all of it by
        default."""
        area = area or pixels.shape[0] * pixels.shape[1]
        planes = self._to_planes(pixels, log)[0]
        where = layout(*planes.shape[1:], self.config["levels"], len(planes))
        bands, back_analysis = lifting.analyse(planes, self.parameters["lifting"])
        buffer, unrounded = ops_of(planes).xp.zeros((2, where.size), np.float32)

        def put(group: Rounded) -> None:
            for at, plane in group.planes(where):
                q = group.q[at]
                known = 2 * median.expected(q / 2) if plane.orientation == 0 else np.float32(0)
                where.view(buffer, plane)[:] = q - known
                where.view(unrounded, plane)[:] = group.scaled[at] - known / 2

        low = self._round(bands.low[None], self.config["levels"], range(1), log, where, buffer)
        put(low)
        image, details, undo = low.decoded[0], [], []
        for level in range(self.config["levels"], 0, -1):
            expected, back_prediction = self._predict(image, level, log)
            residual = np.stack(bands.high[level - 1]) - expected
            group = self._round(residual, level, range(1, ORIENTATIONS), log, where, buffer)
            put(group)
            details.append(group)
            taps = self.parameters["lifting"][level - 1]
            image, back_join = lifting.join(image, group.decoded + expected, taps)
            undo.append((back_join, back_prediction))
        return Coded(
            log, area, planes, where, buffer, unrounded, low, details, image, undo, back_analysis
        )

    def _rate(
        self,
        coded: Coded,
        sample: tuple[int, np.random.Generator] | None = None,
        unrounded: Array | None = None,
    ) -> tuple[float, Callable[[], tuple[Array, Parameters]]]:
        parameters = _section(self.parameters, "context")
        return rate(parameters, coded.where, coded.buffer, coded.log, sample, unrounded)

    def _loss(
        self,
        pixels: Pixels,
        log: int,
        area: int | None = None,
        sample: tuple[int, np.random.Generator] | None = None,
        filtered: bool = True,
    ) -> Loss:
        """Rate and distortion of a crop at a quantiser step, with gradients; area: as for `_code`,
        sample: as for `rate`.

        Latents are rounded as the encoder does it, and the gradient passes straight through the
        rounding: additive noise would never show the context model the zeros that most latents
        are.
        """
        p, coded = self.parameters, self._code(pixels, log, area)
        planes, where, low, details = coded.planes, coded.where, coded.low, coded.details
        bits, back_rate = self._rate(coded, sample, coded.unrounded if filtered else None)
        image = coded.image
        if filtered:
            image, back_filter = self._filter(*coded.unfiltered)
        error = image - planes
        loss, worth = coded.loss(bits, error), coded.worth
        by_latent, d_context = back_rate()
        d: Parameters = {"context." + k: v for k, v in d_context.items()}

        def add(name: str, gradients: Parameters) -> None:
            for key, value in gradients.items():
                d[f"{name}.{key}"] = d.get(f"{name}.{key}", 0) + value

        for group, (_, back_prediction) in zip(details, coded.undo, strict=True):
            add("prediction", back_prediction(-_slope(group.scaled) / group.steps))
        if filtered:
            dimage, d_filter = back_filter(error * (2 * worth))
            add("filter", d_filter)
            for name in ("lifting", "gain", "shrink"):
                d[name] = np.zeros_like(p[name])

            def back_group(group: Rounded, by_decoded: Array) -> Array:
                by_rate = np.empty_like(group.q)
                for at, plane in group.planes(where):
                    by_rate[at] = where.view(by_latent, plane)
                return group.backprop(by_decoded, by_rate, d)

            high = []
            for group, (back_join, _) in zip(reversed(details), reversed(coded.undo), strict=True):
                dimage, ddetails, dtaps = back_join(dimage)
                d["lifting"][group.level - 1] = dtaps
                high.append(tuple(back_group(group, np.stack(ddetails))))
            d_bands = Bands(back_group(low, dimage[None])[0], high)
            d["lifting"] += coded.back_analysis(d_bands)[1]
        # The finest steps take ten times the bits of the coarsest; each should be heard.
        weight = np.float32(1 / np.sqrt(max(bits, 1) * loss.pixels))
        loss.gradients = {k: v * weight for k, v in d.items()}
        if filtered and self.memory:
            self.memory[0].crops.append(
                Decoded(
                    pixels,
                    ops_of(image).to_host(coded.image - planes).astype(np.float16),
                    # What is larger is the same to the filter.
                    ops_of(image).to_host(details[-1].q).clip(-127, 127).astype(np.int8),
                    log,
                    float(worth * weight),
                )
            )
        return loss

    def _round(
        self, bands: Array, level: int, orientations: range, log: int, where: Layout, buffer: Array
    ) -> Rounded:
        """Bands (orientations, colours, h, w) as the encoder rounds them, given the latents before
        them in `buffer`."""
        key = level - 1, slice(orientations.start, orientations.stop), slice(bands.shape[1])
        steps = self._band_steps(log)[key][..., None, None]
        scaled = bands / steps
        if orientations.start:
            q = self._as_encoded(scaled, level, log, where, buffer)
        else:
            q = 2 * np.rint(scaled)
        value = q / 2 - _shrink(q, self.parameters["shrink"][key])
        return Rounded(level, orientations, steps, scaled, q, value)

    def _as_encoded(
        self, scaled: Array, level: int, log: int, where: Layout, buffer: Array
    ) -> Array:
        """Details of a level (3, colours, h, w), in steps, as half steps."""
        ops = ops_of(buffer)
        whole = ops.to_host(buffer).astype(np.int32)
        targets = np.zeros(where.size, np.float32)
        group, details = where.bands(level)[-1], ops.to_host(scaled)
        planes = [where.planes[number] for number in group]
        for plane in planes:
            where.view(targets, plane)[:] = details[plane.orientation - 1, plane.colour]
        values = self._values(where, log)
        quantise.optimise(
            self._network, where, whole, targets, log, values, group, _TRAINING_PASSES
        )
        q = np.stack([where.view(whole, plane) for plane in planes]).astype(np.float32)
        return ops.asarray(q.reshape(scaled.shape))

    def _values(self, where: Layout, log: int) -> NDArray[np.float32]:
        """Of each plane, the bits that a squared error of one of its steps is worth."""
        steps = self._band_steps(log) / np.float32(step_size(log))
        return np.array([LAGRANGIAN * float(steps[_key(x)]) ** 2 for x in where.planes], np.float32)

    def finest_grids(self) -> dict[str, int]:
        exact = context.finest_grids(_section(self.parameters, "context"))
        grids = dict.fromkeys(self.travelling(), -8)
        grids.update({"context." + k: exact[k] for k in context.WEIGHTS})
        return {**grids, **self.fixed_grids}

    # --- one image ---

    def encode(
        self, images: Sequence[Pixels], quality: int, effort: int = DEFAULT_EFFORT
    ) -> list[bytes]:
        return [self._encode(pixels, log_step(quality), effort) for pixels in images]

    def _encode(self, pixels: Pixels, log: int, effort: int) -> bytes:
        encoder = Encoder()
        groups = self._to_planes(pixels, log)
        error = self._expected_errors(groups, [log])[0]
        units = stepping.coarser(error, self.parameters["typical"], log)
        stepping.encode(units, encoder)
        log = stepping.own_step(log, units)
        for planes in groups:
            where = layout(*planes.shape[1:], self.config["levels"], len(planes))
            buffer = self._latents(planes, where, log, effort)
            context.encode(self._network, where, buffer, log, encoder)
        return encoder.finish()

    def _expected_errors(self, groups: Sequence[Array], logs: Sequence[int]) -> Array:
        """About the squared error of a sample at each step, in squared grey levels, of an image's
        planes that were not coded yet: that of the details that will be zero is their energy."""
        total = np.zeros(len(logs))
        for planes in groups:
            for colour, plane in enumerate(planes):
                bands = lifting.analyse(plane - plane.mean(), self.parameters["lifting"])[0]
                for level, details in enumerate(bands.high):
                    for number, log in enumerate(logs):
                        steps = self._band_steps(log)[level, 1:, colour]
                        total[number] += sum(map(stepping.expected_error, details, steps))
        return total / (COLOURS * groups[0][0].size)

    def _typical_errors(self, images: Sequence[Pixels]) -> Array:
        """log2 of what `_expected_errors` says at `stepping.STEPS`: the median over some of a
        collection, without those in which there is nothing."""
        rng = np.random.default_rng(0)
        found = []
        for i in rng.permutation(len(images))[:_MEASURED]:
            side = _MEASURED_SIDE
            top, left = (int(rng.integers(max(n - side, 0) + 1)) for n in images[i].shape[:2])
            planes = self._to_planes(images[i][top : top + side, left : left + side], _MIDDLE_LOG)
            found.append(self._expected_errors(planes, stepping.STEPS))
        some = [x for x in found if x.max() > stepping.NOTHING] or found
        return np.log2(np.maximum(np.median(some, axis=0), 1e-3))

    def _latents(
        self, planes: Array, where: Layout, log: int, effort: int
    ) -> NDArray[np.int32]:
        """The integers to code for colour planes: the layout's flat buffer."""
        passes, refinements = _PASSES[effort], _REFINEMENTS[effort]
        steps = self._band_steps(log)
        values = self._values(where, log)
        bands = [lifting.analyse(x, self.parameters["lifting"])[0] for x in planes]
        scaled, aside = np.zeros((2, where.size), np.float32)
        buffer = np.zeros(where.size, np.int32)

        def choose(group: range, expected: Array | None) -> None:
            for number in group:
                plane = where.planes[number]
                band = _band(bands[plane.colour], plane)
                if expected is None:
                    q = np.rint(band / steps[_key(plane)])
                    where.view(buffer, plane)[:] = 2 * (q - median.expected(q))
                else:
                    band = band - expected[plane.orientation - 1, plane.colour]
                    where.view(scaled, plane)[:] = band / steps[_key(plane)]
            if expected is not None:
                aim = scaled + aside
                quantise.optimise(self._network, where, buffer, aim, log, values, group, passes)

        image = self._join_levels(where, buffer, log, choose)
        for _ in range(refinements):
            aside = self._aside(planes, image, where, buffer, scaled, log)
            image = self._join_levels(where, buffer, log, choose)
        return buffer

    def _aside(
        self,
        planes: Array,
        image: Array,
        where: Layout,
        buffer: NDArray[np.int32],
        scaled: NDArray[np.float32],
        log: int,
    ) -> NDArray[np.float32]:
        """How far from what they stand for, in steps, latents should aim: (where.size,).

        `quantise.optimise` takes bands for orthonormal and knows of no post-filter: by a latent of
        value v that stands for t, it takes the squared error's gradient to be 2 (v - t). What the
        gradient through the decoder is instead, an aim beside t makes up for: a part of it, since
        all latents move at once, and none for coarse levels, from which the rest is predicted.

        image: (planes, h, w), what the latents in `buffer` synthesise, not yet filtered.
        """
        steps, shrink = self._band_steps(log), self.parameters["shrink"]
        aside = np.zeros(where.size, np.float32)
        gradient = postfilter.error_gradient(
            _section(self.parameters, "filter"),
            colours.with_all(image),
            colours.with_all(_finest(where, buffer), axis=1),
            log / 32,
            colours.with_all(planes),
        )[: len(planes)]
        for level in range(1, min(_REFINED_LEVELS, self.config["levels"]) + 1):
            taps = self.parameters["lifting"][level - 1]
            # Colour by colour: it takes several times the memory of what it takes apart.
            parts = [lifting.join_transposed(of_colour, taps) for of_colour in gradient]
            gradient = np.stack([low for low, _ in parts])
            for number in where.bands(level)[-1]:
                plane = where.planes[number]
                by_band = parts[plane.colour][1][plane.orientation - 1]
                q = where.view(buffer, plane).astype(np.float32)
                off = q / 2 - _shrink(q, shrink[_key(plane)]) - where.view(scaled, plane)
                off -= by_band / (2 * steps[_key(plane)])
                where.view(aside, plane)[:] = np.clip(off, -_REFINED_BY, _REFINED_BY)
        aside *= np.float32(_REFINED_SHARE)
        return aside

    def decode(
        self, payloads: Sequence[bytes], shape: tuple[int, int, int], quality: int
    ) -> list[Pixels]:
        return [self._decode(payload, shape, log_step(quality)) for payload in payloads]

    @np.errstate(over="ignore", invalid="ignore")  # only in a decoder that is no good
    def _decode(
        self, payload: bytes, shape: tuple[int, int, int], log: int, halvings: int = 0
    ) -> Pixels:
        height, width, channels = shape
        decoder, images = Decoder(payload), []
        log = stepping.own_step(log, stepping.decode(decoder))
        unit = 1 << self.config["levels"]
        size = -(-height // unit) * unit, -(-width // unit) * unit
        groups = _GROUPS[channels]
        for number, count in enumerate(groups, 1):
            where = layout(*size, self.config["levels"], count)
            # What comes after the coarser levels is needed where another image follows it.
            part = halvings and number == len(groups)
            steps = where.steps_down_to(halvings + 1) if part else None
            buffer = context.decode(self._network, where, log, decoder, steps)
            planes = self._join_levels(where, buffer, log, halvings=halvings)
            if halvings:
                planes /= self._low_pass_gain(halvings)
            else:
                planes = self._filter(planes, _finest(where, buffer), log, strips=True)[0]
            images.append(planes[:, : -(-height >> halvings), : -(-width >> halvings)])
        return colours.to_pixels(images, self.parameters["colour"])

    def _low_pass_gain(self, levels: int) -> np.float32:
        """What a constant image is multiplied by in its low-pass band after so many levels."""
        ones = np.ones((1 << levels, 1 << levels), np.float32)
        low = lifting.analyse(ones, self.parameters["lifting"][:levels])[0].low
        return np.float32(low.item())

    def preview(
        self, payload: bytes, shape: tuple[int, int, int], quality: int, side: int
    ) -> Pixels:
        """From the latents of the coarser levels alone: the low-pass image of some level."""
        halvings = self.config["levels"] - 1
        while halvings and max(shape[:2]) >> halvings < side * 3 // 4:
            halvings -= 1
        return self._decode(payload, shape, log_step(quality), halvings)

    def _join_levels(
        self,
        where: Layout,
        buffer: NDArray[np.int32],
        log: int,
        choose: Callable[[range, Array | None], None] | None = None,
        halvings: int = 0,
    ) -> Array:
        """The colour planes (planes, h, w) float32 of an image's latents, not yet filtered; with
        `halvings` its low-pass band after so many levels.

        choose: an encoder's: called with a group of planes and what is predicted for them, it sets
        their latents in the buffer, which are decoded only then.
        """
        steps, shrink = self._band_steps(log), self.parameters["shrink"]
        image = np.empty(0, np.float32)
        for level in range(self.config["levels"], halvings, -1):
            for group in where.bands(level):
                low = where.planes[group.start].orientation == 0
                expected = None if low else self._predict(image, level, log, strips=True)[0]
                if choose is not None:
                    choose(group, expected)
                values = []
                for number in group:
                    plane = where.planes[number]
                    latents = where.view(buffer, plane)
                    q = (2 * median.restore(latents >> 1) if low else latents).astype(np.float32)
                    taken_off = _shrink(q, shrink[_key(plane)])
                    q /= 2
                    q -= taken_off
                    q *= steps[_key(plane)]
                    values.append(q)
                if expected is None:
                    image = np.stack(values)
                    continue
                details = np.stack(values).reshape(expected.shape)
                details += expected
                taps = self.parameters["lifting"][level - 1]
                # Colour by colour: it takes several times the memory of what it joins.
                image = np.stack(
                    [lifting.join(image[c], details[:, c], taps)[0] for c in range(len(image))]
                )
        return image

    def _predict(
        self, image: Array, level: int, log: int, strips: bool = False
    ) -> tuple[Array, Callable[[Array], Parameters]]:
        """Of the details of a level, (3, planes, h, w), from its low-pass image (planes, h, w).
        In strips it takes little memory, and has no backprop."""
        parameters, count, octaves = _section(self.parameters, "prediction"), len(image), log / 32
        image = colours.with_all(image)
        if strips:
            expected = prediction.apply_in_strips(parameters, image, level, octaves)
            return expected[:, :count], _for_decoding
        expected, back = prediction.apply(parameters, image, level, octaves)
        return expected[:, :count], lambda d: back(colours.with_all(d, axis=1))

    def _filter(
        self, planes: Array, latents: Array, log: int, strips: bool = False
    ) -> tuple[Array, Callable[[Array], tuple[Array, Parameters]]]:
        """The planes (planes, h, w) without artefacts, given the latents of the finest level
        (3, planes, h / 2, w / 2). In strips it takes little memory, and has no backprop."""
        parameters, count, octaves = _section(self.parameters, "filter"), len(planes), log / 32
        planes, latents = colours.with_all(planes), colours.with_all(latents, axis=1)
        if strips:
            result = postfilter.apply_in_strips(parameters, planes, latents, octaves)
            return result[:count], _for_decoding
        result, back = postfilter.apply(parameters, planes, latents, octaves)

        def backprop(d: Array) -> tuple[Array, Parameters]:
            dplanes, dparameters = back(colours.with_all(d))
            return dplanes[:count], dparameters

        return result[:count], backprop

    @cached_property
    def _network(self) -> IntegerNetwork:
        section = _section(self.parameters, "context")
        parameters = {k: ops_of(v).to_host(v) for k, v in section.items()}
        if not self.grids:  # nothing is rounded yet
            return IntegerNetwork(parameters, context.finest_grids(parameters))
        return IntegerNetwork(parameters, {k: self.grids["context." + k] for k in context.WEIGHTS})

    def _band_steps(self, log: int) -> NDArray[np.float32]:
        """(levels, orientations, colours), in grey levels."""
        return np.float32(step_size(log)) * np.exp2(self.parameters["gain"])

    def _to_planes(self, pixels: Pixels, log: int) -> list[NDArray[np.float32]]:
        unit, step = 1 << self.config["levels"], step_size(log)
        return colours.to_planes(pixels, self.parameters["colour"], unit, step)


def _key(plane: Plane) -> tuple[int, int, int]:
    return plane.level - 1, plane.orientation, plane.colour


def _band(bands: Bands, plane: Plane) -> Array:
    """The band (h, w) of a plane, of the bands of its colour."""
    if plane.orientation == 0:
        return bands.low
    return bands.high[plane.level - 1][plane.orientation - 1]


def _finest(where: Layout, buffer: NDArray[np.int32]) -> Array:
    """The latents of the finest level: (3, colours, h, w) float32."""
    planes = [where.planes[number] for number in where.bands(1)[-1]]
    bands = np.stack([where.view(buffer, plane) for plane in planes]).astype(np.float32) / 2
    return bands.reshape(ORIENTATIONS - 1, -1, *bands.shape[1:])


def _shrink(q: Array, by: Array) -> Array:
    """What to take off latents so that each stands at the middle of what was rounded to it: by
    magnitude in half steps, `by` (..., 3) for 1, 2 and more; q has two axes more."""
    by = by[..., None, None, :]
    magnitude = np.abs(q)
    more = np.where(magnitude == 2, by[..., 1], by[..., 2])
    return np.sign(q) * np.where(magnitude == 1, by[..., 0], more)


def _slope(residual: Array) -> Array:
    """By residuals in steps, the derivative of about the bits that they take, log2(1 + r^2) / 2:
    what the prediction is trained on. The context network's own rate is known of a sample only."""
    return residual / ((1 + residual * residual) * np.float32(laplace.LN2))


def _section(parameters: Parameters, name: str) -> Parameters:
    start = name + "."
    return {k[len(start) :]: v for k, v in parameters.items() if k.startswith(start)}


def _for_decoding(d: Array) -> Any:
    raise NotImplementedError("what is evaluated in strips is not trained")
