import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from samples import LEVELS, photograph_latents

from aezip.entropy import median

planes = arrays.arrays(
    np.int32,
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    elements=st.integers(-(2**20), 2**20),
)


@given(planes)
def test_differences_are_undone(values):
    before = values.copy()
    differences = values - median.expected(values)
    np.testing.assert_array_equal(median.restore(differences), values)
    np.testing.assert_array_equal(values, before)


def test_the_median_of_three_neighbours():
    values = np.array([[5, 7, 1], [9, 4, 6], [2, 8, 3]])
    # left, above and left + above - corner; at the borders the one neighbour there is, or zero.
    expected = [[0, 5, 7], [5, 9, 1], [9, 4, 6]]
    expected[1][1] = 9  # of 9, 7 and 11
    expected[1][2] = 1  # of 4, 1 and -2
    expected[2][1] = 2  # of 2, 4 and -3
    expected[2][2] = 8  # of 8, 6 and 10
    np.testing.assert_array_equal(median.expected(values), expected)


def test_the_low_pass_band_of_a_photograph_gets_smaller():
    where, scaled = photograph_latents("lake", 150)
    low = np.rint(where.view(scaled, where.planes[0])).astype(int)
    assert where.planes[0].orientation == 0 and where.planes[0].level == LEVELS
    assert abs(low - median.expected(low)).sum() < 0.5 * abs(low).sum()
