"""Weights that lead from hidden units to pixels, coded as the pictures that they are.

A unit's weights change little from pixel to pixel, and hardly at all where nothing happens in any
image, such as in the corners. So each is predicted from its neighbours and from the channel before,
and its scale from how well the neighbours were predicted, of the same unit and of all. That is
integer arithmetic, as everything that decides a frequency.

Values are decoded in steps, each of all units and of all places with the same column + 2 row +
channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aezip.entropy import laplace
from aezip.entropy.coder import Decoder, Encoder

Integers = NDArray[np.int64]
Shape = tuple[int, int, int]
"""Height, width, channels."""

COEFFICIENT_STEPS = 64
BINS = 16
_OWN, _ALL = 2, 1  # how much the errors of the same unit and of all count, in a value's scale
_SPREAD, _WEIGHT = laplace.SCALE_STEPS, laplace.WEIGHT_STEPS // 2
_LOWEST = laplace.LOG_SCALE_RANGE[0] * laplace.SCALE_STEPS
_HIGHEST = laplace.LOG_SCALE_RANGE[1] * laplace.SCALE_STEPS
_FIRST, _LATER = 4, 7  # coefficients of the first channel and of each later one
HEAD = _FIRST + _LATER + BINS  # bytes


class _Model(NamedTuple):
    """What is stored beside the values: coefficients in 1/64, and a scale for each bin."""

    first: Integers  # (4,)
    later: Integers  # (7,)
    log_scale: Integers  # (BINS,)

    def to_bytes(self) -> bytes:
        return (
            np.concatenate([self.first, self.later]).astype(np.int8).tobytes()
            + (self.log_scale - _LOWEST).astype(np.uint8).tobytes()
        )

    @staticmethod
    def from_bytes(data: bytes) -> _Model:
        coefficients = np.frombuffer(data[: _FIRST + _LATER], np.int8).astype(np.int64)
        scales = np.frombuffer(data[_FIRST + _LATER :], np.uint8).astype(np.int64) + _LOWEST
        return _Model(coefficients[:_FIRST], coefficients[_FIRST:], scales)


class _Field:
    """Values of all units with a margin of zeros around them, flat, so that a neighbour is an
    offset; and the errors of their prediction, in 1/8."""

    def __init__(self, units: int, shape: Shape) -> None:
        height, width, channels = shape
        self.units = units
        # (place, unit): what a step needs lies together.
        self.padded = channels + 1, height + 1, width + 2
        size = int(np.prod(self.padded))
        self.values = np.zeros((size, units), np.int64)
        self.errors = np.zeros((size, units), np.int64)
        self.sums = np.zeros(size, np.int64)  # of the errors of all units
        row, channel = self.padded[2], self.padded[1] * self.padded[2]
        left, up, before = -1, -row, -channel
        self.near = (left, up, up - 1, up + 1)
        self.all_near = (*self.near, before, before + left, before + up)
        places = np.arange(size).reshape(self.padded)[1:, 1:, 1:-1]
        self.places = places.transpose(1, 2, 0)  # (height, width, channels)
        y, x, c = np.indices(shape)
        step = (x + 2 * y + c).ravel()
        order = np.argsort(step, kind="stable")
        ends = np.flatnonzero(np.diff(step[order])) + 1
        self._steps = np.split(self.places.ravel()[order], ends)
        self._later = channel * 2

    def steps(self) -> Iterator[Integers]:
        """The places of each step."""
        yield from self._steps

    def centre(self, places: Integers, model: _Model) -> Integers:
        """Of the distributions of all units at some places, (places, units), in 1/8."""
        total = np.zeros((len(places), self.units), np.int64)
        later = places >= self._later
        for there, coefficients in ((~later, model.first), (later, model.later)):
            if there.any():
                some = places[there]
                offsets = self.all_near[: len(coefficients)]
                total[there] = sum(
                    c * self.values[some + o] for c, o in zip(coefficients, offsets, strict=True)
                )
        return total * laplace.CENTRE_STEPS // COEFFICIENT_STEPS

    def bins(self, places: Integers) -> Integers:
        """Which of the scales they have, (places, units)."""
        left, up, _, right = self.near
        own = sum(self.errors[places + o] for o in (left, up, left + up, right))
        every = sum(self.sums[places + o] for o in (left, up))
        activity = _OWN * self.units * own + 2 * _ALL * np.asarray(every)[:, None]
        return np.searchsorted(_THRESHOLDS * self.units, activity, side="right")

    def put(self, places: Integers, values: Integers, centre: Integers) -> None:
        self.values[places] = values
        self.errors[places] = np.abs(values * laplace.CENTRE_STEPS - centre)
        self.sums[places] = self.errors[places].sum(axis=1)


# Activities at which the scale is twice as large are two apart.
_THRESHOLDS = np.array([int(4 * 2 ** (k / 2)) for k in range(BINS - 1)]) * (_OWN + _ALL)


def _known(values: Integers, shape: Shape) -> tuple[_Field, _Model, Integers, Integers, Integers]:
    """(field, model, places, centres, bins) of values (units, pixels) that are all known."""
    field = _Field(len(values), shape)
    places = field.places.ravel()
    field.values[places] = values.T
    found = []
    channel = np.arange(len(places)) % shape[2]
    for some, count in ((channel == 0, _FIRST), (channel > 0, _LATER)):
        here = places[some]
        if not len(here):
            found.append(np.zeros(count, np.int64))
            continue
        x = np.stack([field.values[here + o].ravel() for o in field.all_near[:count]])
        y = field.values[here].ravel().astype(np.float64)
        normal = x @ x.T.astype(np.float64) + 1e-3 * np.eye(count)
        best = np.rint(np.linalg.solve(normal, x @ y) * COEFFICIENT_STEPS)
        found.append(np.clip(best, -128, 127).astype(np.int64))
    model = _Model(found[0], found[1], np.zeros(BINS, np.int64))
    centre = field.centre(places, model)
    field.put(places, field.values[places].copy(), centre)
    bins = field.bins(places)
    log_scale = np.zeros(BINS, np.int64)
    for k in range(BINS):
        errors = field.errors[places][bins == k]
        mean = errors.mean() / laplace.CENTRE_STEPS if len(errors) else 1.0
        # Of a mixture whose wide half has twice the scale: the narrow one's is below the mean.
        guess = laplace.SCALE_STEPS * (np.log2(max(mean, 0.04)) - 0.5)
        log_scale[k] = np.clip(np.rint(guess), _LOWEST, _HIGHEST)
    return field, model._replace(log_scale=log_scale), places, centre, bins


def _rows(centre: Integers, bins: Integers, model: _Model) -> laplace.Rows:
    flat = centre.ravel()
    fill = np.full_like(flat, 1)
    return laplace.frequency_rows(
        laplace.GridParameters(
            flat, model.log_scale[bins.ravel()], fill * _SPREAD, fill * _WEIGHT
        )
    )


def bits(values: Integers, shape: Shape) -> float:
    """About what coding values (units, pixels) takes."""
    field, model, places, centre, bins = _known(values, shape)
    total = 8.0 * HEAD
    for start in range(0, len(places), 256):
        part = slice(start, start + 256)
        rows = _rows(centre[part], bins[part], model)
        total += float(laplace.coded_bits(field.values[places[part]].ravel(), rows).sum())
    return total


def encode(values: Integers, shape: Shape, coder: Encoder) -> bytes:
    """Code values (units, height * width * channels), and give the head that decoding needs."""
    field, model, _, _, _ = _known(values, shape)
    for places in field.steps():
        centre, bins = field.centre(places, model), field.bins(places)
        coder.encode(field.values[places].ravel(), _rows(centre, bins, model))
    return model.to_bytes()


def decode(head: bytes, units: int, shape: Shape, coder: Decoder) -> Integers:
    """The values that were encoded, (units, pixels). Raises ArchiveError."""
    field, model = _Field(units, shape), _Model.from_bytes(head)
    for places in field.steps():
        centre, bins = field.centre(places, model), field.bins(places)
        found = np.reshape(coder.decode(_rows(centre, bins, model)), centre.shape).astype(np.int64)
        field.put(places, found, centre)
    return field.values[field.places.ravel()].T
