"""The decoder's parameters as entropy-coded bytes: they travel with every archive, so they are
rounded to grids no finer than the images need and coded like latents.

Each tensor has a grid of 2**grid and one distribution of `laplace`, chosen for the fewest bytes, or
where it leads to pixels a model of `pictures`. The layout of the bytes: for each tensor, in the
order of the names, the grid (int8), then log_scale, spread and weight (uint8 each, log_scale from
the lowest) or that model; then the range-coded values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from aezip.entropy import laplace, pictures
from aezip.entropy.coder import Decoder, Encoder
from aezip.errors import ArchiveError, ModelError

Array = NDArray[np.floating]
Grids = Mapping[str, int]

Pictures = Mapping[str, pictures.Shape]
"""The tensors (..., pixels) whose last axis is one of pixels: height, width, channels."""

_NONE: Pictures = MappingProxyType({})
_HEAD = 3  # bytes of a distribution
_LOWEST = laplace.LOG_SCALE_RANGE[0] * laplace.SCALE_STEPS
_CHUNK = 1 << 15
_LARGE = 200  # values in a tensor whose grid is worth a search of its own


def on_grid(tensor: Array, grid: int) -> Array:
    """`tensor` rounded to multiples of 2**grid, in its dtype."""
    step = tensor.dtype.type(2.0**grid)
    return np.rint(tensor / step) * step


def pack(tensors: Mapping[str, Array], grids: Grids, pixels: Pictures = _NONE) -> bytes:
    """All tensors, each rounded to its grid, as bytes that `unpack` reads."""
    heads, coder = [], Encoder()
    for name in sorted(tensors):
        values = _whole(tensors[name], grids[name])
        heads.append(bytes([grids[name] & 0xFF]))
        if name in pixels:
            shape = pixels[name]
            heads.append(pictures.encode(values.reshape(-1, _size(shape)), shape, coder))
            continue
        scale, spread, weight = _fit(values)
        heads.append(bytes([scale - _LOWEST, spread, weight]))
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            coder.encode(part, _rows(len(part), scale, spread, weight))
    return b"".join(heads) + coder.finish()


def unpack(
    data: bytes, shapes: Mapping[str, tuple[int, ...]], pixels: Pictures = _NONE
) -> tuple[dict[str, Array], Grids]:
    """(tensors, grids): what `pack` was given, rounded; tensors float32 of the given shapes.

    Raises ModelError where the bytes are not those of such tensors.
    """
    names = sorted(shapes)
    heads, at = {}, 0
    for name in names:
        end = at + 1 + (pictures.HEAD if name in pixels else _HEAD)
        heads[name], at = data[at:end], end
    if len(data) < at:
        raise ModelError("the decoder is damaged: its parameters end too early")
    coder = Decoder(data[at:])
    tensors, grids = {}, {}
    for name in names:
        head = heads[name]
        grids[name] = head[0] - 256 if head[0] > 127 else head[0]
        try:
            values = _values(head[1:], shapes[name], pixels.get(name), coder)
        except ArchiveError as error:
            raise ModelError("the decoder is damaged: its parameters cannot be decoded") from error
        flat = values.ravel() * 2.0 ** grids[name]
        with np.errstate(over="ignore"):  # only what is damaged is so large
            tensors[name] = flat.astype(np.float32).reshape(shapes[name])
    return tensors, grids


def _values(
    head: bytes, shape: tuple[int, ...], picture: pictures.Shape | None, coder: Decoder
) -> NDArray[np.int64]:
    size = _size(shape)
    if picture is not None:
        return pictures.decode(head, size // _size(picture), picture, coder)
    scale, spread, weight = head
    parts = [
        coder.decode(_rows(min(_CHUNK, size - start), scale + _LOWEST, spread, weight))
        for start in range(0, size, _CHUNK)
    ]
    return np.concatenate(parts)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def bits(tensor: Array, grid: int, picture: pictures.Shape | None = None) -> float:
    """What `pack` takes for one tensor on a grid."""
    values = _whole(tensor, grid)
    if picture is not None:
        return 8 + pictures.bits(values.reshape(-1, _size(picture)), picture)
    scale, spread, weight = _fit(values)
    return 8 * (1 + _HEAD) + _cost(*_histogram(values), scale, spread, weight)


def choose_grids(
    tensors: Mapping[str, Array],
    grids: Grids,
    loss: Callable[[dict[str, Array]], float],
    *,
    pixels: Pictures = _NONE,
    fixed: Collection[str] = (),
    recovered: float = 0.0,
) -> dict[str, int]:
    """The grids that cost the least in all: the bits of the tensors and what rounding them does
    to `loss(tensors)`, in bits too.

    grids: the finest grid of each tensor that is to be coded; those of the others are left as
    they are. Each large tensor's grid is coarsened while that pays, the largest first, then those
    of all small ones together, but for the `fixed` ones. recovered: the share of the loss that
    training with rounded parameters is expected to win back.
    """
    chosen = dict(grids)
    rounded = {k: on_grid(v, grids[k]) if k in grids else v for k, v in tensors.items()}
    least = loss(rounded)
    large = sorted(
        (k for k in grids if tensors[k].size >= _LARGE), key=lambda k: -tensors[k].size
    )
    small: dict[str, list[str]] = {}
    for k in sorted(grids.keys() - {*large, *fixed}):
        small.setdefault(k.partition(".")[0], []).append(k)
    for names in [*([k] for k in large), *small.values()]:
        cost = sum(bits(tensors[k], chosen[k], pixels.get(k)) for k in names)
        for stride in (2, 1, -1):
            while all(chosen[k] + stride >= grids[k] for k in names):
                trial = {k: chosen[k] + stride for k in names}
                tensors_on = {k: on_grid(tensors[k], grid) for k, grid in trial.items()}
                trial_cost = sum(
                    bits(tensors[k], grid, pixels.get(k)) for k, grid in trial.items()
                )
                found = loss({**rounded, **tensors_on})
                hoped = recovered * _kept(tensors, tensors_on)
                if (found - least) * (1 - hoped) + trial_cost >= cost:
                    break
                chosen.update(trial)
                rounded.update(tensors_on)
                least, cost = found, trial_cost
    return chosen


def _kept(tensors: Mapping[str, Array], rounded: Mapping[str, Array]) -> float:
    """The share of the tensors' energy that rounding leaves as it is, none if it is negative."""
    lost = sum(float(np.square(rounded[k] - tensors[k]).sum()) for k in rounded)
    whole = sum(float(np.square(tensors[k]).sum()) for k in rounded)
    return max(1 - lost / whole, 0.0) if lost else 1.0


def bits_slope(tensor: Array, grid: int) -> Array:
    """About the derivative of `bits` by each value: that of the code length of a Laplace
    distribution of the tensor's own scale, rounded off within one grid step of zero."""
    step = tensor.dtype.type(2.0**grid)
    magnitude = np.abs(tensor)
    scale = max(float(magnitude.mean()), float(step))
    return tensor / (np.maximum(magnitude, step) * tensor.dtype.type(scale * laplace.LN2))


def _whole(tensor: Array, grid: int) -> NDArray[np.int64]:
    return np.rint(tensor.ravel().astype(np.float64) / 2.0**grid).astype(np.int64)


def _rows(count: int, scale: int, spread: int, weight: int) -> laplace.Rows:
    one = laplace.frequency_rows(
        laplace.GridParameters(*(np.array([x]) for x in (0, scale, spread, weight)))
    )
    return one.take(np.zeros(count, np.intp))


def _histogram(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array]:
    distinct, counts = np.unique(values, return_counts=True)
    return distinct, counts.astype(np.float64)


def _cost(
    distinct: NDArray[np.int64], counts: Array, scale: int, spread: int, weight: int
) -> float:
    rows = _rows(len(distinct), scale, spread, weight)
    return float(laplace.coded_bits(distinct, rows) @ counts)


def _fit(values: NDArray[np.int64]) -> tuple[int, int, int]:
    """(log_scale, spread, weight) on the coder's grids that code the values in the fewest bits,
    by descent along one coordinate at a time."""
    distinct, counts = _histogram(values)
    mean = max(float(np.abs(values).mean()), 2.0 ** laplace.LOG_SCALE_RANGE[0])
    unit = laplace.SCALE_STEPS
    low, high = (x * unit for x in laplace.LOG_SCALE_RANGE)
    limits = ((low, high), (0, laplace.SPREAD_RANGE[1] * unit), (0, laplace.WEIGHT_STEPS))
    best = [int(np.clip(round(np.log2(mean) * unit), low, high)), unit, laplace.WEIGHT_STEPS // 2]
    cost = _cost(distinct, counts, *best)
    for stride in (8, 4, 2, 1):
        moved = True
        while moved:
            moved = False
            for axis, (least, most) in enumerate(limits):
                for direction in (-stride, stride):
                    trial = list(best)
                    trial[axis] = min(max(trial[axis] + direction, least), most)
                    found = _cost(distinct, counts, *trial)
                    if found < cost - 1e-9:
                        best, cost, moved = trial, found, True
    return best[0], best[1], best[2]
