"""Which architecture, and which starting model, serve a collection in the fewest bytes: all are
tried.

`dense` is trained for a moment, `pyramid` taken as it starts, and a sample of the images is coded
by both as it will be. What counts is all that an archive would hold, latents as text, with errors
at their price in bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aezip import lossless, nn
from aezip.autoencoders import Autoencoder, Dense, Pixels
from aezip.autoencoders.base import LAGRANGIAN, log_step, step_size
from aezip.autoencoders.samples import to_samples
from aezip.coding import default_promise
from aezip.metrics import psnr
from aezip.storage.text import encode_bytes

_LARGEST = 64 * 64 * 4  # samples: larger images are never better with a weight for each
_TRIED = 2000  # images that the trial trains on
_CODED = 24  # images that are coded
_STEPS = 150  # of training, of images of _SMALL samples: fewer where each takes longer
_SMALL = 28 * 28
_FROM = 0.5  # of the schedule that the trial goes through
_FEW = 1 << 23  # pixels: in more a decoder of most parameters always pays
_COARSER = (2, 3, 4)  # octaves by which the grids tried are coarser than the finest


def may_be_dense(images: Sequence[Pixels]) -> bool:
    """Whether the trial is worth its time: several images, small and of one size."""
    sizes = {x.shape[:2] for x in images}
    return len(sizes) == 1 and len(images) > 1 and images[0].size <= _LARGEST


def trained_briefly(
    images: Sequence[Pixels], quality: int, rng: np.random.Generator
) -> Autoencoder:
    """What `dense` would be for a collection, about: frozen."""
    part = images[:: -(-len(images) // _TRIED)]
    dense, optimizer = Dense.start(images, quality, rng), nn.Adam()
    steps = max(_STEPS * _SMALL // max(images[0].size, _SMALL), 30)
    for step in range(steps):
        progress = _FROM + (1 - _FROM) * step / steps
        gradients = dense.sample_loss(part, progress, rng).gradients or {}
        rate = dense.rates(progress)
        optimizer.update(dense.parameters, gradients, {k: rate(k) for k in gradients})
    dense.grids = dense.finest_grids()
    dense.choose_grids(part, sum(x.shape[0] * x.shape[1] for x in images))
    return dense.frozen()


def cost(autoencoder: Autoencoder, images: Sequence[Pixels], quality: int) -> float:
    """In bits, about all that an archive of the images would cost with a frozen autoencoder."""
    chosen = np.unique(np.linspace(0, len(images) - 1, _CODED).round().astype(int))
    sample = [images[i] for i in chosen]
    worth = LAGRANGIAN / step_size(log_step(quality)) ** 2  # of a squared grey level
    total = 0.0
    for image in sample:
        payload, decoded = autoencoder.encode([image], quality)[0], image
        exact = lossless.encode(image)
        if len(payload) < len(exact):  # otherwise the exact one is what the archive will hold
            decoded = autoencoder.decode([payload], image.shape, quality)[0]
            if psnr(image, decoded) < default_promise(quality):  # and here, most often
                payload, decoded = exact, image
        both = to_samples([image, decoded], image.shape[2]) * 255
        bits = 8 * len(encode_bytes(min(payload, exact, key=len)).encode())
        total += bits + worth * float(np.square(both[0] - both[1]).sum())
    return total * len(images) / len(sample) + 8 * len(autoencoder.pack())


def cheapest(starts: Sequence[Autoencoder], images: Sequence[Pixels]) -> Autoencoder:
    """Of models to start from, that of most parameters first, the one with which a collection would
    cost the least, rounded to grids of about what its size allows."""
    pixels = sum(x.shape[0] * x.shape[1] for x in images)
    if len(starts) == 1 or pixels > _FEW:
        return starts[0]

    def bits(start: Autoencoder, coarser: int) -> float:
        finest, fixed = start.finest_grids(), start.fixed_grids
        grids = {k: grid + coarser * (k not in fixed) for k, grid in finest.items()}
        tried = type(start)(start.config, start.parameters, grids).frozen()
        return tried.evaluate(images).value * pixels + 8 * len(tried.pack())

    return min(starts, key=lambda start: min(bits(start, octaves) for octaves in _COARSER))
