from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aezip.entropy import parameters as coded
from aezip.errors import ModelError


def tensor(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values of the kinds that networks have, and of some they had better not have."""
    values = {
        "normal": lambda: rng.normal(size=shape),
        "small": lambda: rng.normal(size=shape) * 1e-3,
        "wide": lambda: rng.normal(size=shape) * 10 ** rng.uniform(0, 3),
        "heavy tails": lambda: rng.standard_cauchy(shape).clip(-2000, 2000),
        "zeros": lambda: np.zeros(shape),
        "one far out": lambda: np.where(np.arange(np.prod(shape)) == 0, 3e4, 0.0).reshape(shape),
        "all one": lambda: np.full(shape, -0.75),
    }[kind]()
    return values.astype(np.float32)


KINDS = st.sampled_from(
    ["normal", "small", "wide", "heavy tails", "zeros", "one far out", "all one"]
)
TENSORS = st.lists(
    st.tuples(
        KINDS,
        st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple),
        st.integers(-9, 6),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60)
@given(TENSORS, st.integers(0, 1 << 32))
def test_unpack_gives_what_pack_was_given_rounded(kinds, seed):
    rng = np.random.default_rng(seed)
    tensors = {f"t{i}": tensor(rng, kind, shape) for i, (kind, shape, _) in enumerate(kinds)}
    grids = {f"t{i}": grid for i, (*_, grid) in enumerate(kinds)}
    # The order in which names come must not matter: HDF5 keeps none.
    data = coded.pack({k: tensors[k] for k in reversed(tensors)}, grids)
    shapes = {k: v.shape for k, v in tensors.items()}
    found, found_grids = coded.unpack(data, shapes)
    assert found_grids == grids
    for name, values in tensors.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], coded.on_grid(values, grids[name]))
        assert abs(found[name] - values).max() <= 2.0 ** grids[name] / 2
    assert coded.pack(found, grids) == data


@pytest.mark.parametrize("grid", [-128, -40, 100, 127])
def test_grids_at_the_ends_of_their_byte(grid):
    whole = np.array([[1, 0, -1], [0, 0, 1]])
    values = (whole * 2.0**grid).astype(np.float32)
    found, grids = coded.unpack(coded.pack({"w": values}, {"w": grid}), {"w": (2, 3)})
    assert grids == {"w": grid}
    np.testing.assert_array_equal(found["w"], values)


def test_many_values():
    """More than are coded at once."""
    rng = np.random.default_rng(0)
    tensors = {"a": rng.normal(size=(300, 301)).astype(np.float32), "b": np.ones(3, np.float32)}
    grids = {"a": -3, "b": 0}
    found, _ = coded.unpack(coded.pack(tensors, grids), {k: v.shape for k, v in tensors.items()})
    for name in tensors:
        np.testing.assert_array_equal(found[name], coded.on_grid(tensors[name], grids[name]))


def test_on_grid():
    x = np.array([0.24, 0.26, -0.8, 3], np.float32)
    rounded = coded.on_grid(x, -1)
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, [0, 0.5, -1, 3])
    np.testing.assert_array_equal(coded.on_grid(x, 2), [0, 0, 0, 4])
    assert coded.on_grid(x.astype(np.float64), -20).dtype == np.float64


@pytest.mark.parametrize("grid", [-9, -6, -3, 0])
@pytest.mark.parametrize("kind", ["normal", "small", "wide", "heavy tails", "zeros", "all one"])
def test_bits_are_those_of_the_bytes(kind, grid):
    values = tensor(np.random.default_rng(1), kind, (40, 50))
    data = coded.pack({"w": values}, {"w": grid})
    assert len(data) == pytest.approx(coded.bits(values, grid) / 8, rel=1e-3, abs=2)


@pytest.mark.parametrize("grid", [-9, -5, -1])
def test_packing_is_close_to_the_entropy(grid):
    """Of a normal distribution, which no mixture of two Laplace distributions quite is."""
    values = np.random.default_rng(2).normal(size=20_000).astype(np.float32)
    entropy = np.log2(np.sqrt(2 * np.pi * np.e)) - grid
    assert len(coded.pack({"w": values}, {"w": grid})) * 8 < 20_000 * (entropy + 0.1)


def test_zeros_cost_next_to_nothing():
    assert len(coded.pack({"w": np.zeros((100, 100), np.float32)}, {"w": -8})) < 12


# --- damaged bytes ---

SHAPES = {"a": (5, 7), "b": (3,)}


def packed() -> bytes:
    rng = np.random.default_rng(3)
    tensors = {k: rng.normal(size=s).astype(np.float32) * 9 for k, s in SHAPES.items()}
    return coded.pack(tensors, {"a": -5, "b": -8})


def unpack_quietly(data: bytes):
    """Values or a ModelError; also no warning, which a person could do nothing with."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            tensors, grids = coded.unpack(data, SHAPES)
        except ModelError:
            return
    assert {k: v.shape for k, v in tensors.items()} == SHAPES
    assert grids.keys() == SHAPES.keys()


@settings(max_examples=200)
@given(st.binary(max_size=80))
@example(b"")
@example(b"\x7f\xff\xff\xff" * 2 + b"\xff" * 60)
@example(b"\x7f\x70\x18\x10" * 2 + b"\x12\x34" * 30)
def test_any_bytes_are_a_model_error_or_values(data):
    unpack_quietly(data)


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_byte_is_a_model_error_or_values(at, change):
    data = bytearray(packed())
    data[at % len(data)] ^= change
    unpack_quietly(bytes(data))


def test_too_few_bytes_for_the_heads_are_a_model_error():
    with pytest.raises(ModelError, match="too early"):
        coded.unpack(packed()[:7], SHAPES)


def test_what_cannot_be_decoded_is_a_model_error():
    # A narrow distribution with raw bits that are not there.
    with pytest.raises(ModelError, match="cannot be decoded"):
        coded.unpack(b"\x00\x70\x00\x10" * 2, SHAPES)


# --- choosing grids ---


def needs_precision(name: str, weight: float = 1e9):
    """A loss in bits that grows with the error of one tensor alone."""
    rng = np.random.default_rng(4)
    tensors = {k: rng.normal(size=(40, 50)).astype(np.float32) for k in ("idle", "fine", "never")}

    def loss(candidate: dict[str, np.ndarray]) -> float:
        return weight * float(((candidate[name] - tensors[name]) ** 2).sum(dtype=np.float64))

    return tensors, loss


def test_grids_are_coarsened_where_the_loss_does_not_mind_and_nowhere_else():
    tensors, loss = needs_precision("fine")
    finest = {"idle": -8, "fine": -8}
    chosen = coded.choose_grids(tensors, finest, loss)
    assert chosen.keys() == finest.keys()
    assert chosen["fine"] == -8
    # Nothing needs it: it becomes all zeros.
    assert not coded.on_grid(tensors["idle"], chosen["idle"]).any()
    assert finest == {"idle": -8, "fine": -8}


@pytest.mark.parametrize("weight", [10.0, 1e3, 1e5])
def test_a_grid_is_where_a_bit_saved_costs_a_bit(weight):
    tensors, loss = needs_precision("fine", weight)
    grid = coded.choose_grids(tensors, {"fine": -10}, loss)["fine"]

    def cost(g: int) -> float:
        rounded = coded.on_grid(tensors["fine"], g)
        return loss({"fine": rounded}) + coded.bits(tensors["fine"], g)

    assert cost(grid) <= min(cost(grid - 1), cost(grid + 1)) and grid > -10


def test_tensors_that_do_not_travel_are_not_rounded():
    tensors, loss = needs_precision("never")
    seen = []

    def watch(candidate):
        seen.append(candidate["never"])
        return loss(candidate)

    assert "never" not in coded.choose_grids(tensors, {"idle": -8}, watch)
    assert all(x is tensors["never"] for x in seen)


def test_fixed_tensors_stay_on_their_finest_grids():
    """The loss of a part may not see what rounding does to them."""
    tensors, loss = needs_precision("fine")
    tensors["axes"] = np.eye(3, dtype=np.float32)
    chosen = coded.choose_grids(tensors, {"idle": -8, "axes": -10}, loss, fixed={"axes"})
    assert chosen["axes"] == -10
    assert coded.choose_grids(tensors, {"idle": -8, "axes": -10}, loss)["axes"] > -10


def test_small_tensors_of_a_part_are_coarsened_together():
    rng = np.random.default_rng(0)
    names = ("part.a", "part.b", "other.c")
    tensors = {k: rng.normal(size=20).astype(np.float32) for k in names}

    def loss(candidate):  # one alone needs precision
        error = candidate["part.a"] - tensors["part.a"]
        return 1e5 * float((error**2).sum(dtype=np.float64))

    chosen = coded.choose_grids(tensors, {"part.a": -12, "part.b": -10, "other.c": -10}, loss)
    assert -12 < chosen["part.a"] < -2
    assert chosen["part.b"] - chosen["part.a"] == 2
    assert chosen["other.c"] > chosen["part.b"]


def test_what_training_wins_back_allows_coarser_grids():
    tensors, loss = needs_precision("fine", weight=1e3)
    found = [
        coded.choose_grids(tensors, {"fine": -12}, loss, recovered=recovered)["fine"]
        for recovered in (0.0, 0.5, 0.95)
    ]
    assert -12 < found[0] <= found[1] < found[2]


def test_what_rounds_to_zeros_is_not_won_back():
    """A tensor that is worth twice its bits stays, however much training may win back."""
    tensors = {"some": np.random.default_rng(0).normal(size=5000).astype(np.float32)}
    worth = 2 * coded.bits(tensors["some"], -2) / np.square(tensors["some"]).sum()

    def loss(candidate):
        return worth * float(np.square(candidate["some"] - tensors["some"]).sum())

    for recovered in (0.0, 0.9):
        grid = coded.choose_grids(tensors, {"some": -8}, loss, recovered=recovered)["some"]
        assert coded.on_grid(tensors["some"], grid).any()


@pytest.mark.parametrize("scale", [0.001, 0.3, 20.0])
def test_the_slope_of_the_bits(scale):
    """Of all values together, when they all shrink: a bit for each halving."""
    tensor = np.random.default_rng(2).laplace(size=4000) * scale
    grid = int(np.floor(np.log2(scale))) - 5
    slope = coded.bits_slope(tensor, grid)
    assert (np.sign(slope) == np.sign(tensor)).all()
    shrinking = np.vdot(slope, tensor) * 0.02
    expected = coded.bits(tensor, grid) - coded.bits(tensor * 0.98, grid)
    assert shrinking == pytest.approx(expected, rel=0.15)
