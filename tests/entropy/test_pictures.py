from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from samples import digits

from aezip.entropy import pictures
from aezip.entropy.coder import Decoder, Encoder
from aezip.entropy.parameters import bits, pack, unpack
from aezip.errors import ArchiveError, ModelError

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))


def coded(values, shape) -> tuple[bytes, bytes]:
    coder = Encoder()
    head = pictures.encode(values, shape, coder)
    return head, coder.finish()


@settings(max_examples=60)
@given(st.data(), shapes, st.integers(1, 5), st.sampled_from([1, 8, 1000, 200_000]))
def test_any_values_come_back(data, shape, units, most):
    size = (units, int(np.prod(shape)))
    values = data.draw(arrays.arrays(np.int64, size, elements=st.integers(-most, most)))
    head, payload = coded(values, shape)
    assert len(head) == pictures.HEAD
    found = pictures.decode(head, units, shape, Decoder(payload))
    np.testing.assert_array_equal(found, values)


@settings(max_examples=60)
@given(st.binary(min_size=pictures.HEAD, max_size=pictures.HEAD), st.binary(max_size=80), shapes)
def test_damage_is_an_archive_error_or_values(head, payload, shape):
    try:
        found = pictures.decode(head, 3, shape, Decoder(payload))
    except ArchiveError:
        return
    assert found.shape == (3, np.prod(shape))


def principal_axes() -> np.ndarray:
    x = np.stack([i.ravel() for i in digits()]) / 255
    return np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:30].astype(np.float32)


def test_weights_of_pictures_take_fewer_bytes_than_any_weights():
    axes = principal_axes()
    plain, better = bits(axes, -6), bits(axes, -6, (28, 28, 1))
    assert better < 0.75 * plain
    # It is what packing takes.
    size = len(pack({"w": axes}, {"w": -6}, {"w": (28, 28, 1)}))
    assert abs(8 * size - better) < 0.01 * better + 64


def test_a_channel_like_the_one_before_is_nearly_free():
    axes = principal_axes()
    three = np.repeat(axes[..., None], 3, axis=2).reshape(30, -1)
    assert bits(three, -6, (28, 28, 3)) < 1.35 * bits(axes, -6, (28, 28, 1))


def test_pictures_among_other_parameters():
    rng = np.random.default_rng(0)
    tensors = {
        "a": rng.normal(size=(7, 3)), "b": rng.normal(size=(4, 24)), "c": rng.normal(size=24)
    }  # fmt: skip
    tensors = {k: v.astype(np.float32) for k, v in tensors.items()}
    grids, pixels = {"a": -5, "b": -6, "c": -4}, {"b": (2, 4, 3), "c": (2, 4, 3)}
    data = pack(tensors, grids, pixels)
    found, same = unpack(data, {k: v.shape for k, v in tensors.items()}, pixels)
    assert same == grids
    for name, tensor in tensors.items():
        step = 2.0 ** grids[name]
        np.testing.assert_array_equal(found[name], np.rint(tensor / step) * step)
    with pytest.raises(ModelError, match="end too early"):
        unpack(data[:20], {k: v.shape for k, v in tensors.items()}, pixels)
