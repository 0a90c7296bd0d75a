from __future__ import annotations

import numpy as np
import pytest
from samples import photograph

from aezip import choosing, lossless, starting
from aezip.autoencoders import Pyramid
from aezip.autoencoders.base import LAGRANGIAN, log_step, step_size
from aezip.fitting import load_model
from aezip.storage.text import encode_bytes


@pytest.fixture
def pyramid() -> Pyramid:
    start = Pyramid.start([np.full((8, 8, 3), 90, np.uint8)], 60, np.random.default_rng(0))
    start.grids = start.finest_grids()
    return start.frozen()


def test_the_cost_is_that_of_text_errors_and_decoder(pyramid):
    """By hand, of photographs, which no lossless coding makes small."""
    images = [photograph(name)[100:148, 60:124] for name in ("fig", "lake")]
    bits = error = 0.0
    for image in images:
        payload = pyramid.encode([image], 60)[0]
        decoded = pyramid.decode([payload], image.shape, 60)[0]
        bits += 8 * len(encode_bytes(payload).encode())
        error += float(np.sum((decoded.astype(float) - image) ** 2))
    worth = LAGRANGIAN / step_size(log_step(60)) ** 2
    expected = bits + worth * error + 8 * len(pyramid.pack())
    assert choosing.cost(pyramid, images, 60) == pytest.approx(expected, rel=1e-5)
    assert worth * error > 0.05 * bits > 0


def test_what_will_be_exact_costs_its_exact_bytes(pyramid):
    """A drawing of two colours: its edges cost latents much more than lossless WebP takes."""
    image = np.zeros((48, 48, 3), np.uint8)
    image[np.add.outer(np.arange(48), np.arange(48)) % 7 < 3] = 255
    exact = len(encode_bytes(lossless.encode(image)).encode())
    assert 2 * exact < len(pyramid.encode([image], 60)[0])
    found = choosing.cost(pyramid, [image, image], 60)
    assert found == 2 * 8 * exact + 8 * len(pyramid.pack())


def test_few_photographs_start_from_the_model_of_few_parameters():
    large, small = (load_model(x)[0] for x in starting.models_for("pyramid"))
    image = photograph("fig")[100:196, 60:188]
    assert choosing.cheapest([large, small], [image]) is small
    assert choosing.cheapest([large], [image]) is large
    many = [np.broadcast_to(image[0, 0], (1 << 12, 1 << 12, 3))]
    assert choosing.cheapest([large, small], many) is large


def test_what_counts_of_a_start_is_the_decoder_and_the_loss():
    """One that cannot code at all is dearer, however few its parameters."""
    large, small = (load_model(x)[0] for x in starting.models_for("pyramid"))
    image = photograph("fig")[100:196, 60:188]
    small.parameters["context.b3"][:] = 20
    assert choosing.cheapest([large, small], [image]) is large
