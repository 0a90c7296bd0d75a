import multiprocessing
import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aezip.shared import Shared, share

shapes = st.lists(st.integers(1, 5), max_size=3).map(tuple)
kinds = st.sampled_from(["u1", "<f4", "<i8"])


@given(st.lists(st.tuples(shapes, kinds), max_size=5))
def test_arrays_come_back_in_their_order(tmp_path_factory, wanted):
    rng = np.random.default_rng(0)
    arrays = [(100 * rng.random(shape)).astype(kind) for shape, kind in wanted]
    shared = share(tmp_path_factory.mktemp("shared") / "file", iter(arrays))
    again = shared.arrays()
    assert len(again) == len(arrays)
    for a, b in zip(arrays, again, strict=True):
        assert b.dtype == a.dtype and np.array_equal(a, b)
        assert b.ctypes.data % b.itemsize == 0


def doubled(shared: Shared) -> int:
    for array in shared.arrays():
        array *= 2
    return os.getpid()


def test_what_one_process_writes_the_others_see(tmp_path):
    shared = share(tmp_path / "file", [np.arange(6, dtype=np.float32), np.ones((2, 2), np.uint8)])
    seen = shared.named(["a", "b"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(doubled, (shared,)) != os.getpid()
    assert np.array_equal(seen["a"], 2 * np.arange(6))
    assert np.array_equal(seen["b"], np.full((2, 2), 2))
