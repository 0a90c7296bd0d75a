"""The images of `tests/data`, and latents and a context network made of them, for any test."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from aezip import nn
from aezip.autoencoders import lifting
from aezip.entropy import context
from aezip.entropy.context import IntegerNetwork, Layout, Parameters
from aezip.entropy.parameters import on_grid
from aezip.entropy.rate import rate

DATA = Path(__file__).parent / "data"
LEVELS = 4
_STEPS = 60
# Rows: luma, orange, green. Orthonormal, so that an error in latents is one in pixels.
COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


@cache
def photograph(name: str) -> np.ndarray:
    """One of `data/photos` by its stem: (height, width, 3) uint8, not to be written to."""
    pixels = np.asarray(Image.open(DATA / "photos" / f"{name}.jpg").convert("RGB"))
    pixels.flags.writeable = False
    return pixels


@cache
def digits() -> list[np.ndarray]:
    """All of `data/digits`: 40 arrays (28, 28, 1) uint8."""
    paths = sorted((DATA / "digits").glob("*.png"))
    return [np.asarray(Image.open(path))[..., None] for path in paths]


@cache
def photograph_latents(name: str, log_step: int) -> tuple[Layout, np.ndarray]:
    """The CDF 9/7 wavelet's coefficients of a photograph in steps, in their flat order."""
    planes = (COLOURS @ (photograph(name).reshape(-1, 3).T - 128.0)).astype(np.float32)
    planes = planes.reshape(3, *photograph(name).shape[:2])
    bands, _ = lifting.analyse(planes, lifting.start(LEVELS))
    where = context.layout(*planes.shape[1:], LEVELS, 3)
    scaled = np.zeros(where.size, np.float32)
    for plane in where.planes:
        band = bands.low
        if plane.orientation:
            band = bands.high[plane.level - 1][plane.orientation - 1]
        where.view(scaled, plane)[:] = band[plane.colour] / np.float32(2 ** (log_step / 32))
    return where, scaled


def half_steps(where: Layout, coded: np.ndarray) -> np.ndarray:
    """The latents, in half steps, that coded whole numbers stand for, latent by latent: both
    (where.size,)."""
    after = [(0, 2), (2, 0), (1, 3), (3, 1)]
    buffer = np.zeros(where.size, np.int32)
    for plane in where.planes:
        values, found = where.view(coded, plane).tolist(), where.view(buffer, plane)
        for y, row in enumerate(values):
            state = 0
            for x, k in enumerate(row):
                if plane.orientation == 0:
                    found[y, x] = 2 * k
                    continue
                nearer = 1 if state >= 2 else 0
                found[y, x] = 0 if k == 0 else 2 * k - nearer if k > 0 else 2 * k + nearer
                state = after[state][k % 2]
    return buffer


def random_parameters(rng: np.random.Generator, hidden: int, levels: int) -> Parameters:
    """A context network that reacts to its inputs, untrained: float32."""
    p = {}
    for name, shape in context.shape_of(hidden, levels).items():
        size = (2 / shape[0]) ** 0.5 if name in context.WEIGHTS else 0.3
        p[name] = rng.normal(scale=size, size=shape).astype(np.float32)
    p["b3"] += np.tile(np.float32([0, 0, 1, 0.5]), 2)
    return p


def integer_network(parameters: Parameters) -> tuple[IntegerNetwork, Parameters]:
    """The network on the finest exact grids, and its parameters on them."""
    grids = context.finest_grids(parameters)
    rounded = {k: on_grid(v, grids[k]) for k, v in parameters.items()}
    return IntegerNetwork(rounded, grids), rounded


@cache
def trained_network() -> tuple[IntegerNetwork, Parameters]:
    """A context network that a second of training on two photographs has made useful."""
    rng = np.random.default_rng(0)
    p = random_parameters(rng, 16, LEVELS)
    p["w3"] *= np.float32(0.1)
    adam = nn.Adam()
    for step in range(_STEPS):
        log_step = (130, 190)[step % 2]
        where, scaled = photograph_latents(("lake", "fig")[step // 2 % 2], log_step)
        coded = np.copysign(np.floor(np.abs(scaled) + 0.4), scaled).astype(np.int32)
        buffer = half_steps(where, coded).astype(np.float32)
        bits, backprop = rate(p, where, buffer, log_step, sample=(1024, rng))
        gradients = {k: v / np.float32(bits) for k, v in backprop()[1].items()}
        adam.update(p, gradients, 0.03 * (1 - step / _STEPS))
    return integer_network(p)
