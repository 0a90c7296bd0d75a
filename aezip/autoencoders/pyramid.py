"""Photographs of any size: a wavelet pyramid with learned filters, one context model for all its
latents, and a small network that removes artefacts.

The transform is invertible by construction, so the analysis has no parameters of its own. It
starts where classical coding ends (CDF 9/7, colours by the collection's principal axes), and one
set of parameters serves every quality: the quantiser step is an input of both networks.
Grey images are the first of the three colour planes. Transparency is one more image of one plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aezip.autoencoders import lifting, postfilter
from aezip.autoencoders.base import (
    Autoencoder,
    Loss,
    Parameters,
    Pixels,
    Shapes,
    log_step,
    step_size,
    whole_numbers,
)
from aezip.autoencoders.lifting import Bands
from aezip.entropy import context, laplace, quantise
from aezip.entropy.coder import Decoder, Encoder
from aezip.entropy.context import COLOURS, ORIENTATIONS, IntegerNetwork, Layout, Plane
from aezip.entropy.rate import rate
from aezip.errors import ModelError

Array = NDArray[np.floating]

LAGRANGIAN = 7.0
"""Bits that a squared error of one quantiser step is worth. At high rates the optimum for uniform
quantisation is 6 / ln 2 = 8.7 (Sullivan, Wiegand, "Rate-distortion optimization for video
compression", 1998); at the usual ones measurement prefers less."""

_GREY = np.float32(np.sqrt(3))  # of a grey image in the plane that is the sum of R, G, B / sqrt 3
_CROP = 256  # side of the crops trained on
_SAMPLE = 8192  # latents per crop that the context network is trained on
_MIDDLE = 128
_OPAQUE = 255
_GROUPS = {1: (1,), 2: (1, 1), 3: (3,), 4: (3, 1)}  # colour planes coded together, by channels
_ROUNDING = np.float32(0.35)  # in training, in place of rate-distortion optimised quantisation
_EVALUATED = (25, 50, 75, 90)  # qualities
_TRANSFORM_FROM = 0.3  # of the training
_SMALL_GRIDS = {"colour": -10, "lifting": -10, "gain": -5, "shrink": -5}
_RATES = {"context": 1.0, "shrink": 0.3, "gain": 0.1, "filter": 0.2, "lifting": 0.02}
_COARSEST, _FINEST = 250, 64  # log steps trained on: qualities 5 to 96

layout = lru_cache(maxsize=2)(context.layout)


class Pyramid(Autoencoder):
    """config: levels, hidden (width of the context network), filter (of the post-filter), quality
    (that `compress` uses unless told otherwise)."""

    arch = "pyramid"
    default_quality = 75
    default_minutes = 12.0
    batch = 1

    @classmethod
    def start(cls, images: Sequence[Pixels], quality: int, rng: np.random.Generator) -> Self:
        config = {"levels": 5, "hidden": 32, "filter": 32, "quality": quality}
        parameters = {k: np.zeros(s, np.float32) for k, s in cls.shapes(config).items()}
        parameters["colour"][:] = _principal_colours(images)
        parameters["lifting"][:] = lifting.start(config["levels"])
        for name, shape in context.shape_of(config["hidden"], config["levels"]).items():
            if name in context.WEIGHTS:
                size = 0.02 if name == "w3" else np.sqrt(2 / shape[0])
                parameters["context." + name][:] = rng.normal(size=shape) * size
        parameters["context.b3"][:] = (0, -1, 1, 0.6)
        for name, value in postfilter.start(COLOURS, config["filter"], rng).items():
            parameters["filter." + name][:] = value
        return cls(config, parameters)

    @classmethod
    def shapes(cls, config: Mapping[str, Any]) -> Shapes:
        levels, hidden, width, _ = whole_numbers(
            config, levels=8, hidden=256, filter=256, quality=100
        )
        bands = (levels, ORIENTATIONS, COLOURS)
        return {
            "colour": (COLOURS, COLOURS),
            "lifting": (levels, 2, lifting.STEPS, lifting.TAPS),
            "gain": bands,
            "shrink": (*bands, 2),
            **{"context." + k: s for k, s in context.shape_of(hidden, levels).items()},
            **{"filter." + k: s for k, s in postfilter.shapes(COLOURS, width).items()},
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

    # --- training ---

    def rates(self, progress: float) -> Callable[[str], float]:
        scale = 0.5 * (1 + np.cos(np.pi * min(progress, 1))) * 5e-3 + 1e-6
        # A context model that knows nothing yet would teach the transform nonsense.
        rates = _RATES if progress >= _TRANSFORM_FROM else {"context": _RATES["context"]}
        return lambda name: scale * rates.get(name.partition(".")[0], 0.0)

    def sample_loss(
        self, images: Sequence[Pixels], progress: float, rng: np.random.Generator
    ) -> Loss:
        crop = _random_crop(images, rng)
        log = int(rng.integers(_FINEST, _COARSEST + 1))
        return self._loss(crop, log, sample=(_SAMPLE, rng), filtered=progress >= _TRANSFORM_FROM)

    def evaluate(self, images: Sequence[Pixels]) -> Loss:
        rng = np.random.default_rng(0)
        losses = [
            self._loss(_random_crop(images, rng), log_step(quality)) for quality in _EVALUATED
        ]
        return Loss(
            bits=sum(x.bits for x in losses),
            squared_error=sum(x.squared_error for x in losses),
            samples=sum(x.samples for x in losses),
            pixels=sum(x.pixels for x in losses),
            value=sum(x.value for x in losses) / len(losses),
        )

    def _loss(
        self,
        pixels: Pixels,
        log: int,
        sample: tuple[int, np.random.Generator] | None = None,
        filtered: bool = True,
    ) -> Loss:
        """Rate and distortion of a crop at a quantiser step; with `sample`, gradients too.

        Latents are rounded, and the gradient passes straight through the rounding: additive noise
        would never show the context model the zeros that most latents are.
        """
        p, step = self.parameters, np.float32(step_size(log))
        planes = self._to_planes(pixels)[0]
        where = layout(*planes.shape[1:], self.config["levels"], len(planes))
        bands, back_analysis = lifting.analyse(planes, p["lifting"])
        steps = self._band_steps(log)
        buffer, unrounded = np.zeros((2, where.size), np.float32)
        decoded, kept = _empty_like(bands), []
        for plane in where.planes:
            key = _key(plane)
            scaled = _band(bands, plane)[plane.colour] / steps[key]
            q = np.copysign(np.floor(np.abs(scaled) + _ROUNDING), scaled)
            where.view(buffer, plane)[:] = q
            where.view(unrounded, plane)[:] = scaled
            value = q - _shrink(q, p["shrink"][key])
            _band(decoded, plane)[plane.colour] = value * steps[key]
            kept.append((scaled, q, value))
        bits, back_rate = rate(
            _section(p, "context"), where, buffer, log, sample, unrounded if filtered else None
        )
        synthesised, back_synthesis = lifting.synthesise(decoded, p["lifting"])
        result = synthesised
        if filtered:
            result, back_filter = self._filter(synthesised, log)
        error = result - planes
        squared_error = float(np.vdot(error, error))
        worth = LAGRANGIAN / step**2
        pixel_count = planes[0].size
        value = (bits + worth * squared_error) / pixel_count
        loss = Loss(bits, squared_error, planes.size, pixel_count, value)
        if sample is None:
            return loss

        by_latent, d_context = back_rate()
        d: Parameters = {"context." + k: v for k, v in d_context.items()}
        derror = error * (2 * worth)
        if filtered:
            derror, d_filter = back_filter(derror)
            d.update({"filter." + k: v for k, v in d_filter.items()})
            d_decoded, d["lifting"] = back_synthesis(derror)
            d["gain"], d["shrink"] = np.zeros_like(p["gain"]), np.zeros_like(p["shrink"])
            d_bands = _empty_like(bands)
            for plane, (scaled, q, value) in zip(where.planes, kept, strict=True):
                key = _key(plane)
                by_value = _band(d_decoded, plane)[plane.colour]
                by_scaled = by_value * steps[key] + where.view(by_latent, plane)
                _band(d_bands, plane)[plane.colour] = by_scaled / steps[key]
                signed = np.sign(q) * by_value * steps[key]
                ones = np.abs(q) == 1
                d["shrink"][key] = -signed[ones].sum(), -signed[~ones].sum()
                by_step = np.vdot(by_value, value) - np.vdot(by_scaled, scaled) / steps[key]
                d["gain"][key] = by_step * steps[key] * np.float32(laplace.LN2)
            d["lifting"] += back_analysis(d_bands)[1]
        # The finest steps take ten times the bits of the coarsest; each should be heard.
        weight = np.float32(1 / np.sqrt(max(bits, 1) * pixel_count))
        loss.gradients = {k: v * weight for k, v in d.items()}
        return loss

    def finest_grids(self) -> dict[str, int]:
        exact = context.finest_grids(_section(self.parameters, "context"))
        grids = dict.fromkeys(self.travelling(), -8)
        grids.update({"context." + k: exact[k] for k in context.WEIGHTS})
        return {**grids, **_SMALL_GRIDS}

    # --- one image ---

    def encode(self, images: Sequence[Pixels], quality: int) -> list[bytes]:
        return [self._encode(pixels, log_step(quality)) for pixels in images]

    def _encode(self, pixels: Pixels, log: int) -> bytes:
        network, encoder = self._network, Encoder()
        steps = self._band_steps(log)
        worth = LAGRANGIAN / step_size(log) ** 2
        for planes in self._to_planes(pixels):
            where = layout(*planes.shape[1:], self.config["levels"], len(planes))
            scaled = np.zeros(where.size, np.float32)
            for colour in range(len(planes)):
                bands, _ = lifting.analyse(planes[colour], self.parameters["lifting"])
                for plane in where.of_colour(colour):
                    where.view(scaled, plane)[:] = _band(bands, plane) / steps[_key(plane)]
            values = np.array([worth * steps[_key(x)] ** 2 for x in where.planes], np.float32)
            buffer = quantise.optimise(network, where, scaled, log, values)
            context.encode(network, where, buffer, log, encoder)
        return encoder.finish()

    def decode(
        self, payloads: Sequence[bytes], shape: tuple[int, int, int], quality: int
    ) -> list[Pixels]:
        return [self._decode(payload, shape, log_step(quality)) for payload in payloads]

    def _decode(self, payload: bytes, shape: tuple[int, int, int], log: int) -> Pixels:
        height, width, channels = shape
        decoder, images = Decoder(payload), []
        unit = 1 << self.config["levels"]
        size = -(-height // unit) * unit, -(-width // unit) * unit
        for count in _GROUPS[channels]:
            where = layout(*size, self.config["levels"], count)
            buffer = context.decode(self._network, where, log, decoder)
            images.append(self._synthesise(where, buffer, log)[:, :height, :width])
        return self._to_pixels(images)

    def _synthesise(self, where: Layout, buffer: NDArray[np.int32], log: int) -> Array:
        """The colour planes (planes, h, w) float32 of an image's latents."""
        steps, images = self._band_steps(log), []
        for colour in range(1 + max(x.colour for x in where.planes)):
            bands = {}
            for plane in where.of_colour(colour):
                q = where.view(buffer, plane).astype(np.float32)
                q -= _shrink(q, self.parameters["shrink"][_key(plane)])
                bands[plane.level, plane.orientation] = q * steps[_key(plane)]
            levels = range(1, self.config["levels"] + 1)
            high = [(bands[x, 1], bands[x, 2], bands[x, 3]) for x in levels]
            whole = Bands(bands[self.config["levels"], 0], high)
            images.append(lifting.synthesise(whole, self.parameters["lifting"])[0])
        return self._filter(np.stack(images), log, in_strips=True)[0]

    def _filter(
        self, planes: Array, log: int, in_strips: bool = False
    ) -> tuple[Array, Callable[[Array], tuple[Array, Parameters]]]:
        parameters, count = _section(self.parameters, "filter"), len(planes)
        if count < COLOURS:
            missing = np.zeros((COLOURS - count, *planes.shape[1:]), planes.dtype)
            planes = np.concatenate([planes, missing])
        octaves = log / 32
        if in_strips:
            return postfilter.apply_in_strips(parameters, planes, octaves)[:count], _no_backprop
        result, back = postfilter.apply(parameters, planes, octaves)

        def backprop(d: Array) -> tuple[Array, Parameters]:
            whole = np.zeros_like(result)
            whole[:count] = d
            dplanes, dparameters = back(whole)
            return dplanes[:count], dparameters

        return result[:count], backprop

    @cached_property
    def _network(self) -> IntegerNetwork:
        return IntegerNetwork(
            _section(self.parameters, "context"),
            {k: self.grids["context." + k] for k in context.WEIGHTS},
        )

    def _band_steps(self, log: int) -> NDArray[np.float32]:
        """(levels, orientations, colours), in grey levels."""
        return np.float32(step_size(log)) * np.exp2(self.parameters["gain"])

    # --- pixels and planes ---

    def _to_planes(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        """The images to code: planes (1 or 3, h, w), the sides padded to what the levels need."""
        height, width, channels = pixels.shape
        unit = 1 << self.config["levels"]
        padded = np.pad(pixels, ((0, -height % unit), (0, -width % unit), (0, 0)), mode="edge")
        if channels >= 3:
            centred = padded[..., :3].astype(np.float32) - _MIDDLE
            planes = [(centred @ self.parameters["colour"]).transpose(2, 0, 1)]
        else:
            planes = [(padded[..., :1].astype(np.float32) - _MIDDLE).transpose(2, 0, 1) * _GREY]
        if channels in (2, 4):
            alpha = padded[..., -1:].astype(np.float32) - _OPAQUE
            planes.append(alpha.transpose(2, 0, 1) * _GREY)
        return [np.ascontiguousarray(x) for x in planes]

    def _to_pixels(self, images: list[Array]) -> Pixels:
        parts = []
        for number, planes in enumerate(images):
            if len(planes) == COLOURS:
                inverse = np.linalg.inv(self.parameters["colour"].astype(np.float64))
                rgb = planes.transpose(1, 2, 0) @ inverse.astype(np.float32)
                parts.append(rgb + np.float32(_MIDDLE))
            else:
                offset = np.float32(_OPAQUE if number else _MIDDLE)
                parts.append(planes.transpose(1, 2, 0) / _GREY + offset)
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return np.clip(np.rint(whole), 0, 255).astype(np.uint8)


def _principal_colours(images: Sequence[Pixels]) -> Array:
    """(3, 3): what RGB is multiplied by; columns are the principal axes of the collection's
    colours (the Karhunen-Loeve transform), or of typical photographs where all is grey."""
    total = np.zeros((3, 3))
    for pixels in images:
        if pixels.shape[2] >= 3:
            rgb = pixels[..., :3].reshape(-1, 3)
            rgb = rgb[:: max(1, len(rgb) // 20_000)].astype(np.float64)
            # About each image's own mean: what varies within it is what takes the bits.
            rgb -= rgb.mean(axis=0)
            total += rgb.T @ rgb / len(rgb)
    luma = np.ones((3, 3)) + np.array([[0.1, 0, 0], [0, 0.01, 0], [0, 0, 0.1]])
    # A trace of the typical axes settles the order where a collection has few colours.
    axes = np.linalg.eigh(total / max(np.trace(total), 1e-9) + 1e-3 * luma)[1][:, ::-1]
    return axes * np.where(axes.sum(axis=0) < 0, -1, 1)


def _random_crop(images: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    """Every pixel of the collection is as likely to be in it as any other."""
    areas = np.array([x.shape[0] * x.shape[1] for x in images], np.float64)
    pixels = images[int(rng.choice(len(images), p=areas / areas.sum()))]
    top, left = (int(rng.integers(max(n - _CROP, 0) + 1)) for n in pixels.shape[:2])
    return pixels[top : top + _CROP, left : left + _CROP]


def _key(plane: Plane) -> tuple[int, int, int]:
    return plane.level - 1, plane.orientation, plane.colour


def _band(bands: Bands, plane: Plane) -> Array:
    """The band of a plane: (h, w) or, of several colours, (colours, h, w)."""
    if plane.orientation == 0:
        return bands.low
    return bands.high[plane.level - 1][plane.orientation - 1]


def _empty_like(bands: Bands) -> Bands:
    high = [(np.empty_like(a), np.empty_like(b), np.empty_like(c)) for a, b, c in bands.high]
    return Bands(np.empty_like(bands.low), high)


def _shrink(q: Array, by: Array) -> Array:
    """What to take off latents so that each stands at the middle of what was rounded to it:
    `by` (2,) for a magnitude of one and for all others."""
    magnitude = np.abs(q)
    return np.sign(q) * np.where(magnitude == 1, by[0], by[1])


def _section(parameters: Parameters, name: str) -> Parameters:
    start = name + "."
    return {k[len(start) :]: v for k, v in parameters.items() if k.startswith(start)}


def _no_backprop(d: Array) -> tuple[Array, Parameters]:
    raise NotImplementedError("strips are for decoding")
