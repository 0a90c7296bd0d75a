"""What training draws: parts of large images, several small ones, and transparency."""

import numpy as np
import pytest
from samples import photograph

from aezip.autoencoders import Pyramid
from aezip.autoencoders.crops import random_crop


def icons(side: int, channels: int, count: int = 40) -> list[np.ndarray]:
    """Each of one colour of its own, so that it can be told."""
    return [np.full((side, side, channels), 3 * i, np.uint8) for i in range(count)]


def crops(images: list[np.ndarray], count: int = 40):
    rng = np.random.default_rng(0)
    return [random_crop(images, rng) for _ in range(count)]


def test_of_a_large_image_a_part():
    pixels = photograph("lake")[:300, :400]
    places = set()
    for crop in crops([pixels]):
        assert crop.pixels.shape == (256, 256, 3) and crop.area == 256 * 256
        where = np.flatnonzero((pixels[:45, :145] == crop.pixels[0, 0]).all(axis=2))
        places |= {
            at for at in where.tolist()
            if np.array_equal(pixels[at // 145 :, at % 145 :][:256, :256], crop.pixels)
        }  # fmt: skip
    assert len(places) >= 40


def test_of_a_long_and_thin_image_a_part_too():
    image = np.zeros((20, 3000, 3), np.uint8)
    crop, *_ = crops([image])
    assert crop.pixels.shape == (256, 320, 3) and crop.area == 4 * 20 * 256


@pytest.mark.parametrize(("side", "cell"), [(24, 64), (56, 64), (57, 128), (64, 128), (100, 128)])
def test_small_images_share_a_crop(side, cell):
    drawn = set()
    for crop in crops(icons(side, 3)):
        assert crop.pixels.shape == (256, 256, 3)
        cells = crop.pixels.reshape(256 // cell, cell, 256 // cell, cell, 3).swapaxes(1, 2)
        assert crop.area == (256 // cell) ** 2 * side * side
        for one in cells.reshape(-1, cell, cell, 3):
            assert (one == one[0, 0]).all()  # whole, with what it is padded with
            drawn.add(int(one[0, 0, 0]))
    assert len(drawn) > 35


def test_images_that_share_a_crop_are_of_one_kind():
    images = icons(24, 1, 5) + icons(24, 3, 5) + icons(100, 3, 5)
    for crop in crops(images):
        assert crop.pixels.shape in {(256, 256, 1), (256, 256, 3)}
        sizes = {24 * 24: 16, 100 * 100: 4}
        # Where a small image was drawn first, no larger one fits in.
        assert crop.area in {side * n for side, n in sizes.items()} | {
            24 * 24 * n + 100 * 100 * (4 - n) for n in range(1, 4)
        }


def test_transparency_is_drawn_as_often_as_colours():
    images = [np.concatenate([x, x[..., :1] // 2], axis=2) for x in icons(24, 3)]
    kinds = [crop.pixels.shape[2] for crop in crops(images, 200)]
    assert 70 < kinds.count(1) < 130 and set(kinds) == {1, 4}
    opaque = [np.concatenate([x, np.full_like(x[..., :1], 255)], axis=2) for x in icons(24, 3)]
    assert {crop.pixels.shape[2] for crop in crops(opaque)} == {4}


def test_only_pixels_of_images_count():
    images = [photograph("lake")[i * 9 :, i * 12 :][:24, :24] for i in range(20)]
    config = {"levels": 6, "hidden": 4, "prediction": 3, "filter": 5}
    widths = {k: v for k, v in config.items() if k != "levels"}
    pyramid = Pyramid.start(images, 75, np.random.default_rng(0), widths)
    loss = pyramid.evaluate(images)
    assert loss.pixels == 4 * 16 * 24 * 24 and loss.samples == 3 * loss.pixels
