"""The context model: which latents a latent is predicted from, in what order they are decoded,
and the small network that turns them into a distribution.

Order. Latents are wavelet-like bands: for each level an (h, w) plane per orientation and colour.
All planes are decoded in one wavefront: plane by plane a latent at (y, x) belongs to step
x + 2 y + lag, where the lag keeps every plane behind those it is predicted from. A photograph of
W x H pixels thus takes about W/2 + H steps whatever its number of latents, each step one vector
operation, and yet every latent sees its full raster-causal neighbourhood.

Network. Inputs are logarithms of neighbouring latents' magnitudes, with and without sign; two
hidden layers of clipped linear units; for each quantiser four outputs, the parameters of a
`laplace` mixture.
For coding it runs on integers held in float32: weights, activations and biases are integers, and
every sum stays below 2**24, so that each partial sum is exact and neither the order of summation
nor the BLAS, its threads or the processor can change a frequency (the idea of Balle, Johnston,
Minnen, "Integer networks for data compression with latent-variable models", 2019).
Where the few neighbours that tell the most are zero (most of a photograph) all inputs are taken as
zero: the outputs depend on the plane alone, and the network does not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aezip.entropy import laplace
from aezip.entropy.coder import Decoder, Encoder
from aezip.errors import ModelError

Integers = NDArray[np.integer]
Array = NDArray[np.floating]
Parameters = dict[str, Array]

MARGIN = 3  # zeros around each plane in the flat buffer: the reach of the neighbourhood
OWN = (
    (0, -1), (0, -2), (0, -3),
    (-1, -2), (-1, -1), (-1, 0), (-1, 1),
    (-2, -2), (-2, -1), (-2, 0), (-2, 1), (-2, 2),
)  # fmt: skip
SQUARE = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
CROSS = tuple((dy, dx) for dy, dx in SQUARE if not dy or not dx)
SAME_LEVEL = len(OWN) + 4 * len(SQUARE)  # own, 2 orientations, 2 colours
NEIGHBOURS = SAME_LEVEL + 4 * len(SQUARE)  # and 3 orientations of the parent, and the grandparent
NEAR = (  # the telling ones: where these are zero, all inputs are taken as zero
    *(OWN.index(offset) for offset in ((0, -1), (0, -2), (-1, -1), (-1, 0), (-1, 1), (-2, 0))),
    *range(len(OWN) + len(SQUARE) // 2, SAME_LEVEL, len(SQUARE)),  # the middle of each square
    *(SAME_LEVEL + SQUARE.index(offset) for offset in CROSS),  # of the parent
)
FEATURES = 2 * NEIGHBOURS
ORIENTATIONS = 4  # 0 is the low-pass band, which only the coarsest level has
COLOURS = 3
LAG = 4  # steps by which a plane follows those of its level that it reads a 3x3 square from
LEVEL_LAG = 3 * LAG  # and those of the coarser one, whose orientations it reads all

FEATURE_STEPS = 16  # integer features: 1/16 octave
LOG_STEP_UNITS = 32  # of the quantiser step's logarithm: 1/32 octave
LARGEST_FEATURE = 255
HIDDEN_STEPS = 32  # integer activations: 1/32
LARGEST_HIDDEN = 255
HIDDEN_LIMIT = LARGEST_HIDDEN / HIDDEN_STEPS
EXACT = 1 << 24  # float32 holds every integer up to here
WEIGHTS = {"w1": LARGEST_FEATURE, "w2": LARGEST_HIDDEN, "w3": LARGEST_HIDDEN}  # and their inputs
OUTPUT_STEPS = np.array(
    [laplace.CENTRE_STEPS, laplace.SCALE_STEPS, laplace.SCALE_STEPS, laplace.WEIGHT_STEPS]
)
_FINEST_GRID = 24  # powers of two on either side of one, which scale float32 exactly
OUTPUTS = 4  # of the network, for each quantiser: the parameters of a mixture
NEXT = np.array([[0, 2], [2, 0], [1, 3], [3, 1]], np.uint8)
"""The state after a latent, by the state before and the parity of what is coded of it. In states 2
and 3 the second quantiser is used."""
CHUNK = 1 << 12  # latents predicted at once when encoding: their inputs stay in the cache


class Plane(NamedTuple):
    """One band of one colour within the flat buffer."""

    level: int
    orientation: int
    colour: int
    height: int
    width: int
    start: int  # index of element (0, 0)
    stride: int


@dataclass(frozen=True)
class Layout:
    """Where the latents of an image of one size lie in a flat buffer, and their decoding order.

    `position`, `parent`, `grandparent` and `plane_of` have one entry per latent, in decoding
    order; step t decodes the latents `bounds[t]:bounds[t + 1]`.
    """

    planes: tuple[Plane, ...]
    size: int
    position: NDArray[np.int32]
    parent: NDArray[np.int32]
    grandparent: NDArray[np.int32]
    plane_of: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    offsets: NDArray[np.int32]  # (planes, SAME_LEVEL), added to position
    parent_offsets: NDArray[np.int32]  # (planes, 27), added to parent
    grandparent_offsets: NDArray[np.int32]  # (planes, 9), added to grandparent
    reached: NDArray[np.int32]  # (planes, m): of which a latent is a telling neighbour of the same
    # level, added to position
    crosses: NDArray[np.int32]  # (planes, 5): the cross around a latent

    def view(self, buffer: NDArray, plane: Plane) -> NDArray:
        """The (height, width) plane inside a flat buffer of shape (size,)."""
        whole = buffer[plane.start : plane.start + plane.height * plane.stride]
        return whole.reshape(plane.height, plane.stride)[:, : plane.width]

    def of_planes(self, planes: range) -> NDArray[np.intp]:
        """The latents of some planes, by their numbers in decoding order."""
        return np.flatnonzero((self.plane_of >= planes.start) & (self.plane_of < planes.stop))

    def bands(self, level: int) -> list[range]:
        """The planes of a level in the groups in which they are quantised: its low-pass band if
        it has one, then its details."""
        numbers = [i for i, plane in enumerate(self.planes) if plane.level == level]
        low = sum(self.planes[i].orientation == 0 for i in numbers)
        first, middle, last = numbers[0], numbers[0] + low, numbers[-1] + 1
        return [range(first, middle), range(middle, last)] if low else [range(first, last)]

    def steps_down_to(self, level: int) -> int:
        """How many steps decode all latents of `level` and of those that are coarser. Planes
        lie in the order from coarse to fine, and a coarse one is small, so its last step comes
        early."""
        count = sum(plane.level >= level for plane in self.planes)
        last = np.flatnonzero(self.plane_of < count)[-1]
        return int(np.searchsorted(self.bounds, last, side="right"))

    def inputs(self, part: slice | Integers) -> Integers:
        """Buffer indices of the neighbours of some latents: (n, NEIGHBOURS) int32."""
        plane = self.plane_of[part]
        index = self._all_offsets.take(plane, axis=0)
        at = 0
        for origin, offsets in (
            (self.position, self.offsets),
            (self.parent, self.parent_offsets),
            (self.grandparent, self.grandparent_offsets),
        ):
            index[:, at : at + offsets.shape[1]] += origin[part][:, None]
            at += offsets.shape[1]
        return index

    @cached_property
    def _all_offsets(self) -> NDArray[np.int32]:
        return np.concatenate([self.offsets, self.parent_offsets, self.grandparent_offsets], axis=1)


def layout(height: int, width: int, levels: int, colours: int) -> Layout:
    """The layout of an image whose sides are multiples of 2**levels, with 1 or 3 colours."""
    planes: list[Plane] = []
    nothing: dict[int, int] = {}  # per level: the start of a plane of zeros
    at = 0

    def reserve(h: int, w: int) -> int:
        nonlocal at
        stride = w + MARGIN
        start = at + MARGIN * stride + MARGIN
        at = start + (h + MARGIN) * stride + MARGIN
        return start

    for level in range(levels, 0, -1):
        h, w = height >> level, width >> level
        nothing[level] = reserve(h, w)
        for orientation in range(0 if level == levels else 1, ORIENTATIONS):
            for colour in range(colours):
                planes.append(
                    Plane(level, orientation, colour, h, w, reserve(h, w), w + MARGIN)
                )
    index = {p[:3]: p for p in planes}

    def plane_at(level: int, orientation: int, colour: int) -> Plane | None:
        return index.get((level, orientation, colour))

    offsets = np.zeros((len(planes), SAME_LEVEL), np.int32)
    parent_offsets = np.zeros((len(planes), 3 * len(SQUARE)), np.int32)
    grandparent_offsets = np.zeros((len(planes), len(SQUARE)), np.int32)
    positions, parents, grandparents, plane_ids, steps = [], [], [], [], []
    for number, p in enumerate(planes):
        zero = nothing[p.level]

        def square(start: int, stride: int) -> list[int]:
            return [start + dy * stride + dx for dy, dx in SQUARE]

        def start_of(found: Plane | None, zero: int = zero) -> int:
            return found.start if found else zero

        def above(levels_up: int, p: Plane = p) -> tuple[Plane | None, int]:
            """What lies so many levels above, and by how many powers of two it is smaller."""
            if p.orientation == 0:
                return None, 0
            if p.level == levels and levels_up == 1:
                return plane_at(levels, 0, p.colour), 0
            return plane_at(p.level + levels_up, p.orientation, p.colour), levels_up

        row = [dy * p.stride + dx for dy, dx in OWN]
        for back in (1, 2):
            # The low-pass band is a parent, not an earlier orientation.
            earlier = p.orientation - back
            found = plane_at(p.level, earlier, p.colour) if earlier >= 1 else None
            row += square(start_of(found) - p.start, p.stride)
        for back in (1, 2):
            found = plane_at(p.level, p.orientation, p.colour - back)
            row += square(start_of(found) - p.start, p.stride)
        offsets[number] = row
        y, x = np.mgrid[: p.height, : p.width].astype(np.int32)

        parent, halvings = above(1)
        start, stride = (parent.start, parent.stride) if parent else (zero, p.stride)
        parents.append((start + (y >> halvings) * stride + (x >> halvings)).ravel())
        row = square(0, stride)
        for further in (1, 2):
            # Of the low-pass band and of what has no parent there are no other orientations;
            # then the parent is of a plane's own size, and so is the plane of zeros.
            other = (p.orientation - 1 + further) % 3 + 1
            found = plane_at(p.level + 1, other, p.colour) if halvings else None
            if parent and found:
                row += square(found.start - parent.start, parent.stride)
            else:
                row += square(zero - start, stride)
        parent_offsets[number] = row
        grandparent, halvings = above(2)
        start, stride = (grandparent.start, grandparent.stride) if grandparent else (zero, p.stride)
        grandparents.append((start + (y >> halvings) * stride + (x >> halvings)).ravel())
        grandparent_offsets[number] = square(0, stride)
        positions.append((p.start + y * p.stride + x).ravel())
        plane_ids.append(np.full(p.height * p.width, number, np.uint8))
        lag = LAG * (p.orientation + p.colour) + LEVEL_LAG * (levels - p.level)
        steps.append((x + 2 * y + lag).ravel())
    step = np.concatenate(steps)
    order = np.argsort(step.astype(np.uint16 if step.max() < 1 << 16 else np.uint32), kind="stable")
    telling = offsets[:, [i for i in NEAR if i < SAME_LEVEL]]
    own = sum(i < len(OWN) for i in NEAR)
    crosses = np.array([[dy * p.stride + dx for dy, dx in CROSS] for p in planes], np.int32)
    reached = np.zeros(telling.shape, np.int32)
    for number, p in enumerate(planes):
        readers = [
            -int(shift)
            for shifts, reader in zip(telling[:, own:], planes, strict=True)
            for shift in shifts
            if reader.start + shift == p.start
        ]
        row = [-offset for offset in telling[number, :own].tolist()] + readers
        reached[number, : len(row)] = row
    return Layout(
        planes=tuple(planes),
        size=at,
        position=np.concatenate(positions)[order].astype(np.int32),
        parent=np.concatenate(parents)[order].astype(np.int32),
        grandparent=np.concatenate(grandparents)[order].astype(np.int32),
        plane_of=np.concatenate(plane_ids)[order],
        bounds=np.concatenate([[0], np.cumsum(np.bincount(step))]).astype(np.int64),
        offsets=offsets,
        parent_offsets=parent_offsets,
        grandparent_offsets=grandparent_offsets,
        reached=reached,
        crosses=crosses,
    )


def integer_features(values: NDArray) -> NDArray[np.float32]:
    """log2(1 + |v| / 2) in 1/16 octaves, linear within an octave, as whole numbers in float32:
    (n, 2), first with the sign of v, then without. Exact for whole |v| < 2**24."""
    mantissa, exponent = np.frexp(1 + np.abs(values.astype(np.float64)) / 2)
    octaves = (exponent - 1) + (2 * mantissa - 1)
    feature = np.minimum(np.floor(octaves * FEATURE_STEPS), LARGEST_FEATURE)
    return np.stack([np.sign(values) * feature, feature], axis=-1).astype(np.float32)


def shape_of(hidden: int, levels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's parameters."""
    return {
        "w1": (FEATURES, hidden),
        "level": (levels + 1, hidden),
        "orientation": (ORIENTATIONS, hidden),
        "colour": (COLOURS, hidden),
        "quality": (hidden,),
        "w2": (hidden, hidden),
        "b2": (hidden,),
        "w3": (hidden, 2 * OUTPUTS),
        "b3": (2 * OUTPUTS,),
    }


def embedding(parameters: Parameters, planes: tuple[Plane, ...]) -> NDArray[np.floating]:
    """First-layer bias of each plane: (planes, hidden)."""
    level = [p.level for p in planes]
    orientation = [p.orientation for p in planes]
    colour = [p.colour for p in planes]
    return (
        parameters["level"][level]
        + parameters["orientation"][orientation]
        + parameters["colour"][colour]
    )


def embedding_gradient(
    dbias: Array, planes: tuple[Plane, ...], parameters: Parameters
) -> Parameters:
    """What `embedding` makes of the gradients (planes, hidden) of its result."""
    gradients = {}
    for name in ("level", "orientation", "colour"):
        gradients[name] = np.zeros_like(parameters[name])
        np.add.at(gradients[name], [getattr(p, name) for p in planes], dbias)
    return gradients


class IntegerNetwork:
    """The context network in exact arithmetic.

    `parameters` are floats, those of w1, w2 and w3 multiples of 2**`grids[name]`; the biases are
    rounded to their layer's accumulator.
    Raises ModelError if some sum could leave the range in which float32 is exact.
    """

    def __init__(self, parameters: Parameters, grids: Mapping[str, int]) -> None:
        self._parameters = parameters
        if not all(-_FINEST_GRID <= grids[name] <= _FINEST_GRID for name in WEIGHTS):
            raise ModelError("the context network's weights are on no grid to be evaluated exactly")
        steps = {name: 2.0 ** -grids[name] for name in WEIGHTS}
        self._steps = steps

        def whole(name: str) -> NDArray[np.float32]:
            return np.rint(parameters[name] * steps[name]).astype(np.float32)

        self._w1, self._w2, self._w3 = whole("w1"), whole("w2"), whole("w3")
        unit = HIDDEN_STEPS * steps["w2"]
        self._b2 = np.rint(parameters["b2"] * unit).astype(np.float32)
        unit = HIDDEN_STEPS * steps["w3"]
        self._scale3 = (np.tile(OUTPUT_STEPS, 2) / unit).astype(np.float32)
        # Half a grid step, so that the final floor rounds to nearest.
        half = 0.5 / self._scale3
        self._b3 = np.rint(parameters["b3"] * unit + half).astype(np.float32)
        for weights, bias, largest in (
            (self._w2, self._b2, LARGEST_HIDDEN),
            (self._w3, self._b3, LARGEST_HIDDEN),
        ):
            _check_exact(weights, np.abs(bias), largest)

    def bias(self, planes: tuple[Plane, ...], log_step: int) -> NDArray[np.float32]:
        """First-layer biases for the planes of an image whose quantiser step has the base-2
        logarithm `log_step` / 32: (planes, hidden) float32 of whole numbers."""
        unit = FEATURE_STEPS * self._steps["w1"]
        quality = self._parameters["quality"] * (log_step / LOG_STEP_UNITS)
        exact = embedding(self._parameters, planes).astype(np.float64) + quality
        rounded = np.rint(exact * unit).astype(np.float32)
        _check_exact(self._w1, np.abs(rounded).max(axis=0), LARGEST_FEATURE)
        return rounded

    def __call__(
        self, features: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Grid parameters of n latents for either quantiser: (n, 2, OUTPUTS), of features
        (n, FEATURES) and bias (n, hidden)."""
        hidden = features @ self._w1
        hidden += bias
        hidden = _activate(hidden, HIDDEN_STEPS / (FEATURE_STEPS * self._steps["w1"]))
        hidden = hidden @ self._w2
        hidden += self._b2
        hidden = _activate(hidden, 1 / self._steps["w2"])
        output = hidden @ self._w3
        output += self._b3
        output *= self._scale3
        return np.floor(output, out=output).astype(np.int64).reshape(-1, 2, OUTPUTS)

    def quiet(self, bias: NDArray[np.float32]) -> NDArray[np.int64]:
        """The same where all inputs are zero: (planes, 2, OUTPUTS)."""
        return self(np.zeros((len(bias), FEATURES), np.float32), bias)


def _activate(x: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    # A power of two scales exactly; floor then drops the fraction alike on every machine.
    x *= np.float32(scale)
    np.floor(x, out=x)
    np.maximum(x, 0, out=x)
    return np.minimum(x, LARGEST_HIDDEN, out=x)


def _check_exact(
    weights: NDArray[np.float32], bias: NDArray[np.float32], largest: int
) -> None:
    reach = np.abs(weights).astype(np.float64).sum(axis=0) * largest + bias
    if not reach.max() < EXACT:
        raise ModelError("the context network's weights are too large to be evaluated exactly")


def finest_grids(parameters: Parameters) -> dict[str, int]:
    """For each parameter the finest grid worth having, as a power of two, on which every sum of
    `IntegerNetwork` is exact."""
    grids = dict.fromkeys(parameters, -6)
    for name, largest in WEIGHTS.items():
        grids[name] = -8
        while True:
            whole = np.abs(np.rint(parameters[name] * 2.0 ** -grids[name]))
            if whole.sum(axis=0).max() * largest < EXACT * 0.75:  # the rest is for the bias
                break
            grids[name] += 1
    return grids


def is_active(
    where: Layout, buffer: NDArray, planes: range | None = None
) -> NDArray[np.bool_]:
    """Whether any of the telling neighbours is not zero, for each latent in decoding order; of
    some `planes` where they are given."""
    present = buffer != 0
    near = np.zeros(where.size, bool)
    by_cross = np.zeros(where.size, bool)
    planes = planes or range(len(where.planes))
    parents = {where.planes[number].level + 1 for number in planes}
    telling = [i for i in NEAR if i < SAME_LEVEL]
    for number, plane in enumerate(where.planes):
        # Offsets of up to MARGIN rows stay inside the buffer: every plane has its margin.
        start, stop = plane.start, plane.start + plane.height * plane.stride
        if plane.level in parents or plane.orientation == 0:
            for dy, dx in CROSS:
                shift = dy * plane.stride + dx
                by_cross[start:stop] |= present[start + shift : stop + shift]
        if number in planes:
            for shift in where.offsets[number, telling]:
                near[start:stop] |= present[start + shift : stop + shift]
    latents = slice(None) if len(planes) == len(where.planes) else where.of_planes(planes)
    return near[where.position[latents]] | by_cross[where.parent[latents]]


def predict(
    network: IntegerNetwork,
    where: Layout,
    buffer: Integers,
    second: NDArray[np.uint8],
    log_step: int,
) -> Iterator[tuple[slice, laplace.Rows]]:
    """The distributions of all latents, a part of the decoding order at a time.

    buffer: (where.size,) int32, the latents, zeros elsewhere. second: (where.size,) which of them
    the second quantiser has.
    """
    bias = network.bias(where.planes, log_step)
    quiet = network.quiet(bias)
    active = is_active(where, buffer)
    features = all_features(buffer)
    for part in _parts(where.bounds):
        plane, chosen = where.plane_of[part], second[where.position[part]]
        grid = quiet[plane, chosen]
        some = np.flatnonzero(active[part])
        if len(some):
            inputs = gather(features, where.inputs(some + part.start))
            result = network(inputs, bias[plane[some]])
            grid[some] = result[np.arange(len(some)), chosen[some]]
        yield part, laplace.frequency_rows(laplace.GridParameters(*grid.T))


def all_features(buffer: Integers) -> NDArray[np.float32]:
    """The features of each latent of a buffer: (size, 2)."""
    present = buffer != 0
    features = np.zeros((buffer.size, 2), np.float32)
    features[present] = integer_features(buffer[present])
    return features


def symbols(where: Layout, buffer: Integers) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """What is coded of each latent of a buffer, and which the second quantiser has: (size,)."""
    coded, second = buffer >> 1, np.zeros(where.size, np.uint8)  # of the low-pass band
    for level in {plane.level for plane in where.planes}:
        planes = [where.planes[number] for number in where.bands(level)[-1]]
        latents = np.concatenate([where.view(buffer, plane) for plane in planes])
        which = np.empty(latents.shape[::-1], np.uint8)
        state = np.zeros(len(latents), np.uint8)
        for x, half_steps in enumerate(np.abs(latents.T)):
            which[x] = state >> 1
            state = NEXT[state, (half_steps + which[x] >> 1) & 1]
        values = np.copysign(np.abs(latents) + which.T >> 1, latents).astype(np.int32)
        for number, plane in enumerate(planes):
            rows = slice(number * plane.height, (number + 1) * plane.height)
            where.view(coded, plane)[:] = values[rows]
            where.view(second, plane)[:] = which.T[rows]
    return coded, second


def _parts(bounds: NDArray[np.int64]) -> Iterator[slice]:
    """The decoding order in parts of about `CHUNK` latents. A step is never divided: the raw
    bits of its latents lie together in the payload."""
    begin = 0
    while begin < bounds[-1]:
        end = bounds[np.searchsorted(bounds, begin + CHUNK, side="right") - 1]
        if end == begin:  # one step is larger
            end = bounds[np.searchsorted(bounds, begin, side="right")]
        yield slice(begin, int(end))
        begin = int(end)


def encode(
    network: IntegerNetwork, where: Layout, buffer: Integers, log_step: int, encoder: Encoder
) -> None:
    """Code all latents of an image; `buffer` (where.size,) int32 holds them, zeros elsewhere."""
    done = 0
    coded, second = symbols(where, buffer)
    for part, rows in predict(network, where, buffer, second, log_step):
        values = coded[where.position[part]]
        order = np.arange(done, done + len(values))
        steps = np.searchsorted(where.bounds, order, side="right")
        encoder.encode_steps(values, rows, steps)
        done += len(values)


def gather(features: Array, index: Integers) -> Array:
    """(n, FEATURES): the signed and the plain feature of each neighbour; features (size, 2)."""
    # One element holds both features of a latent, so that one gather fetches them together.
    both = np.complex64 if features.dtype == np.float32 else np.complex128
    return features.view(both).ravel().take(index).view(features.dtype)


def decode(
    network: IntegerNetwork,
    where: Layout,
    log_step: int,
    decoder: Decoder,
    steps: int | None = None,
) -> NDArray[np.int32]:
    """The inverse of `encode`: the flat buffer of latents, (where.size,) int32. Of the first
    `steps` of the order only, where given; all later latents are then zero."""
    bias = network.bias(where.planes, log_step)
    quiet = laplace.frequency_rows(
        laplace.GridParameters(*network.quiet(bias).reshape(-1, OUTPUTS).T)
    )
    buffer = np.zeros(where.size, np.int32)
    features = np.zeros((where.size, 2), np.float32)
    near = np.zeros(where.size, bool)  # some telling neighbour of the same level is not zero
    by_cross = np.zeros(where.size, bool)  # the cross around here is not all zero
    state = np.zeros(where.size, np.uint8)  # after a latent; zero in the margin, before each row
    details = np.array([plane.orientation > 0 for plane in where.planes])
    bounds = where.bounds if steps is None else where.bounds[: steps + 1]
    for begin, end in pairwise(bounds.tolist()):
        if begin == end:
            continue
        position = where.position[begin:end]
        plane = where.plane_of[begin:end]
        before = state[position - 1]
        second = before >> 1
        rows = quiet.take(2 * plane.astype(np.intp) + second)
        some = np.flatnonzero(near[position] | by_cross[where.parent[begin:end]])
        if len(some):
            inputs = gather(features, where.inputs(some + begin))
            result = network(inputs, bias[plane[some]])
            grid = result[np.arange(len(some)), second[some]]
            fresh = laplace.frequency_rows(laplace.GridParameters(*grid.T))
            rows.frequencies[some] = fresh.frequencies
            rows.base[some] = fresh.base
            rows.shift[some] = fresh.shift
        values = decoder.decode(rows)
        state[position] = NEXT[before, values & details[plane]]
        found = np.flatnonzero(values)
        if len(found):
            values, at = values[found], position[found]
            values = 2 * values - np.sign(values) * second[found]
            buffer[at] = values
            features[at] = integer_features(values)
            plane = plane[found]
            near[where.reached.take(plane, axis=0) + at[:, None]] = True
            by_cross[where.crosses.take(plane, axis=0) + at[:, None]] = True
    return buffer
