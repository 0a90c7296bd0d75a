from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aezip.autoencoders.samples import common_kind, covers, to_pixels, to_samples
from aezip.metrics import psnr

KINDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


@pytest.mark.parametrize(
    ("model", "takes"),
    [("L", ["L"]), ("LA", ["L", "LA"]), ("RGB", ["L", "RGB"]), ("RGBA", list(KINDS))],
)
def test_which_kinds_cover_which(model, takes):
    assert [k for k in KINDS if covers(KINDS[model], KINDS[k])] == takes


@given(st.lists(st.integers(1, 4), min_size=1))
def test_the_common_kind_covers_all_and_no_smaller_one_does(kinds):
    common = common_kind(kinds)
    assert all(covers(common, x) for x in kinds)
    assert not any(all(covers(c, x) for x in kinds) for c in range(1, common))


@given(st.data(), st.integers(1, 4), st.integers(1, 4))
def test_images_come_back_as_they_are_seen(data, channels, own):
    if not covers(channels, own):
        return
    image = data.draw(arrays.arrays(np.uint8, (3, 2, own)))
    samples = to_samples([image], channels)
    assert samples.shape == (1, 3 * 2 * channels) and samples.dtype == np.float32
    back = to_pixels(samples, image.shape, channels)[0]
    assert back.shape == image.shape and back.dtype == np.uint8
    assert psnr(image, back) > 54
    if own % 2 == 0:
        np.testing.assert_array_equal(back[..., -1], image[..., -1])
        seen = image[..., -1] > 0
        np.testing.assert_array_equal(back[seen], image[seen])
        assert not back[~seen].any()
    else:
        np.testing.assert_array_equal(back, image)


def test_what_is_out_of_range_is_black_or_white():
    found = to_pixels(np.array([[-0.5, 1.5]], np.float32), (1, 2, 1), 1)[0]
    assert found.ravel().tolist() == [0, 255]
