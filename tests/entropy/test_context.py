from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import half_steps, integer_network, random_parameters

from aezip.entropy import context, laplace
from aezip.entropy.coder import Decoder, Encoder
from aezip.entropy.context import EXACT, FEATURES, NEIGHBOURS, IntegerNetwork
from aezip.entropy.parameters import on_grid
from aezip.errors import ArchiveError, ModelError

# levels, colours, height and width in units of 2**levels
SIZES = st.tuples(
    st.integers(1, 5), st.sampled_from([1, 3]), st.integers(1, 3), st.integers(1, 3)
).map(lambda x: (x[0], x[1], *(min(n, 8 >> x[0] or 1) for n in x[2:])))
LAYOUTS = [(1, 1, 1, 1), (1, 3, 3, 2), (2, 3, 1, 3), (3, 1, 2, 1), (3, 3, 2, 3), (5, 3, 1, 1)]


def layout_of(levels: int, colours: int, rows: int, columns: int) -> context.Layout:
    return context.layout(rows << levels, columns << levels, levels, colours)


def random_latents(
    where: context.Layout, rng: np.random.Generator, density: float = 0.3, largest: int = 20
) -> np.ndarray:
    """A buffer where about `density` of the latents are not zero, half of them below 4 steps."""
    coded = np.zeros(where.size, np.int32)
    n = len(where.position)
    values = np.where(
        rng.random(n) < 0.5, rng.integers(-3, 4, n), rng.integers(-largest, largest + 1, n)
    )
    coded[where.position] = np.where(rng.random(n) < density, values, 0)
    return half_steps(where, coded)


def predicted(network, where, buffer, log_step):
    return context.predict(network, where, buffer, context.symbols(where, buffer)[1], log_step)


def all_rows(parts) -> laplace.Rows:
    return laplace.Rows(*map(np.concatenate, zip(*(rows for _, rows in parts), strict=True)))


def assert_same_rows(actual: laplace.Rows, expected: laplace.Rows) -> None:
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


# --- layout ---


@pytest.mark.parametrize("size", LAYOUTS, ids=str)
def test_each_latent_has_one_place_and_one_turn(size):
    levels, colours, rows, columns = size
    where = layout_of(*size)
    pixels = (rows << levels) * (columns << levels) * colours
    assert len(where.position) == len(np.unique(where.position)) == pixels
    assert where.bounds[0] == 0 and where.bounds[-1] == pixels
    assert (np.diff(where.bounds) >= 0).all()
    # Every plane's elements are latents of that plane, and there are all planes.
    numbers = np.full(where.size, -1)
    numbers[where.position] = where.plane_of
    for number, plane in enumerate(where.planes):
        view = where.view(numbers, plane)
        assert view.shape == (rows << levels >> plane.level, columns << levels >> plane.level)
        assert (view == number).all()
    expected = {(k, o, c) for k in range(1, levels + 1) for o in (1, 2, 3) for c in range(colours)}
    expected |= {(levels, 0, c) for c in range(colours)}
    assert sorted(p[:3] for p in where.planes) == sorted(expected)


@pytest.mark.parametrize("size", LAYOUTS, ids=str)
def test_neighbours_are_decoded_in_earlier_steps(size):
    where = layout_of(*size)
    step_of = np.full(where.size, -1)  # margins and planes of zeros are there from the start
    step = np.repeat(np.arange(len(where.bounds) - 1), np.diff(where.bounds))
    step_of[where.position] = step
    inputs = where.inputs(slice(None))
    assert inputs.shape == (len(where.position), NEIGHBOURS)
    assert inputs.min() >= 0
    assert (step_of[inputs] < step[:, None]).all()


@pytest.mark.parametrize("size", LAYOUTS, ids=str)
def test_neighbours_are_those_of_the_bands(size):
    """Against a dictionary of all latents by band, colour, y and x: zero where there is none."""
    levels = size[0]
    where = layout_of(*size)
    buffer = np.zeros(where.size, np.int64)
    buffer[where.position] = 1 + np.arange(len(where.position))
    value, band_of = {}, {}
    for plane in where.planes:
        for (y, x), found in np.ndenumerate(where.view(buffer, plane)):
            value[(*plane[:3], y, x)] = found
            band_of[found] = (*plane[:3], y, x)
    square = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]

    def expected(level, orientation, colour, y, x):
        result = [value.get((level, orientation, colour, y + dy, x + dx), 0) for dy, dx in (
            (0, -1), (0, -2), (0, -3), (-1, -2), (-1, -1), (-1, 0), (-1, 1),
            (-2, -2), (-2, -1), (-2, 0), (-2, 1), (-2, 2),
        )]  # fmt: skip
        for back in (1, 2):
            other = orientation - back if orientation - back > 0 else None
            result += [value.get((level, other, colour, y + a, x + b), 0) for a, b in square]
        for back in (1, 2):
            result += [
                value.get((level, orientation, colour - back, y + a, x + b), 0) for a, b in square
            ]
        places = [(level + 1, o, colour, y // 2, x // 2) for o in (1, 2, 3, 1, 2)]
        places = places[orientation - 1 : orientation + 2]
        places.append((level + 2, orientation, colour, y // 4, x // 4))
        if orientation == 0:
            places = [(None, None, None, 0, 0)] * 4
        elif level == levels:
            places = [(level, 0, colour, y, x)] + [(None, None, None, 0, 0)] * 3
        return result + [
            value.get((*band, y + a, x + b), 0) for *band, y, x in places for a, b in square
        ]

    # Latents at all corners and borders are among so many.
    some = np.unique(np.linspace(0, len(where.position) - 1, 1500).astype(int))
    found = buffer[where.inputs(some)]
    for i, latent in enumerate(buffer[where.position[some]]):
        assert found[i].tolist() == expected(*band_of[latent])


def test_a_photograph_takes_about_half_its_width_plus_its_height_in_steps():
    where = context.layout(384, 512, 5, 3)
    assert len(where.bounds) - 1 < 384 + 512 / 2 + 80


# --- features ---


def test_features_are_logarithms_in_integer_arithmetic():
    values = np.concatenate([np.arange(3000), 1 + 2 ** np.arange(24), 2 ** np.arange(24) - 1])
    octave = [int(2 + v).bit_length() - 1 for v in values.tolist()]
    expected = [
        min(16 * (k - 1) + (16 * (2 + v - (1 << k)) >> k), 255)
        for v, k in zip(values.tolist(), octave, strict=True)
    ]
    for sign in (1, -1):
        found = context.integer_features((sign * values).astype(np.int32))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[:, 0], sign * np.array(expected))
        np.testing.assert_array_equal(found[:, 1], expected)


# --- two quantisers ---


@pytest.mark.parametrize("density", [0, 0.05, 0.5, 1])
@pytest.mark.parametrize("size", LAYOUTS, ids=str)
def test_symbols_are_what_latents_stand_for(size, density):
    rng = np.random.default_rng(12)
    where = layout_of(*size)
    coded = np.zeros(where.size, np.int32)
    n = len(where.position)
    coded[where.position] = np.where(rng.random(n) < density, rng.integers(-6, 7, n), 0)
    buffer = half_steps(where, coded)
    before = buffer.copy()
    found, second = context.symbols(where, buffer)
    np.testing.assert_array_equal(buffer, before)
    np.testing.assert_array_equal(found, coded)
    odd = buffer % 2 == 1
    assert second[odd].all()
    for plane in where.planes:
        assert not where.view(second, plane)[:, 0].any()  # each row begins with the first
        assert plane.orientation or not where.view(second, plane).any()
    if density == 1 and n > 50:
        assert odd.any() and second[~odd].any()


# --- coding ---


def round_trip(where, buffer, network, log_step) -> None:
    encoder = Encoder()
    before = buffer.copy()
    context.encode(network, where, buffer, log_step, encoder)
    np.testing.assert_array_equal(buffer, before)
    decoded = context.decode(network, where, log_step, Decoder(encoder.finish()))
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, buffer)


@settings(max_examples=60)
@given(
    size=SIZES,
    density=st.sampled_from([0, 0.01, 0.2, 1]),
    largest=st.sampled_from([1, 12, 500, 1 << 20]),
    log_step=st.integers(32, 256),
    seed=st.integers(0, 1 << 32),
)
def test_what_is_encoded_is_decoded(size, density, largest, log_step, seed):
    rng = np.random.default_rng(seed)
    where = layout_of(*size)
    network, _ = integer_network(random_parameters(rng, 8, size[0]))
    round_trip(where, random_latents(where, rng, density, largest), network, log_step)


def test_a_photographs_number_of_latents():
    """More than are held at once when encoding; the steps do not end where the parts would."""
    rng = np.random.default_rng(3)
    where = context.layout(160, 192, 5, 3)
    assert len(where.position) > 2 * context.CHUNK
    network, _ = integer_network(random_parameters(rng, 8, 5))
    round_trip(where, random_latents(where, rng, 0.1), network, 150)


def test_two_images_share_a_payload():
    rng = np.random.default_rng(4)
    colour, alpha = context.layout(16, 24, 3, 3), context.layout(16, 24, 3, 1)
    network, _ = integer_network(random_parameters(rng, 8, 3))
    first, second = random_latents(colour, rng, 0.5, 1000), random_latents(alpha, rng, 0.5, 1000)
    encoder = Encoder()
    context.encode(network, colour, first, 100, encoder)
    context.encode(network, alpha, second, 100, encoder)
    decoder = Decoder(encoder.finish())
    np.testing.assert_array_equal(context.decode(network, colour, 100, decoder), first)
    np.testing.assert_array_equal(context.decode(network, alpha, 100, decoder), second)


@settings(max_examples=50)
@given(payload=st.binary(max_size=60), seed=st.integers(0, 20))
@example(payload=b"\xff" * 40, seed=0)
def test_a_damaged_payload_is_an_archive_error_or_some_latents(payload, seed):
    where = layout_of(2, 3, 2, 2)
    network, _ = integer_network(random_parameters(np.random.default_rng(seed), 8, 2))
    try:
        buffer = context.decode(network, where, 100, Decoder(payload))
    except ArchiveError:
        return
    assert buffer.shape == (where.size,)
    assert not np.delete(buffer, where.position).any()


class Known:
    """In the place of a Decoder: gives latents that are known, and keeps the distributions."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.at = values, 0
        self.rows: list[laplace.Rows] = []

    def decode(self, rows: laplace.Rows) -> np.ndarray:
        self.rows.append(rows)
        self.at += len(rows.base)
        return self.values[self.at - len(rows.base) : self.at].astype(np.int64)


@pytest.mark.parametrize("density", [0, 0.01, 0.3, 1])
@pytest.mark.parametrize("size", LAYOUTS, ids=str)
def test_predict_gives_the_distributions_that_decoding_derives(size, density):
    rng = np.random.default_rng(5)
    where = layout_of(*size)
    network, _ = integer_network(random_parameters(rng, 8, size[0]))
    buffer = random_latents(where, rng, density)
    known = Known(context.symbols(where, buffer)[0][where.position])
    context.decode(network, where, 77, known)
    derived = laplace.Rows(*map(np.concatenate, zip(*known.rows, strict=True)))
    assert_same_rows(all_rows(predicted(network, where, buffer, 77)), derived)
    if density == 1 and len(where.position) > 20:
        assert len(np.unique(derived.frequencies, axis=0)) > len(where.planes)


@pytest.mark.parametrize("density", [0, 0.003, 0.05, 1])
@pytest.mark.parametrize("size", [*LAYOUTS, (4, 3, 2, 3)], ids=str)
def test_is_active_where_some_neighbour_is_not_zero(size, density):
    where = layout_of(*size)
    for seed in range(5):
        buffer = random_latents(where, np.random.default_rng(seed), density)
        near = where.inputs(slice(None))[:, context.NEAR]
        expected = (buffer[near] != 0).any(axis=1)
        np.testing.assert_array_equal(context.is_active(where, buffer), expected)


# --- the network, exactly ---


def exact(parameters, grids, features, bias_of) -> np.ndarray:
    """What the network means, in Python's integers: (n, 2, 4) grid parameters."""

    def whole(name, unit):
        return np.rint(parameters[name].astype(np.float64) * unit).astype(np.int64).astype(object)

    def scaled(x, by):  # floor(x * 2**by)
        return x >> -by if by < 0 else x << by

    def clipped(x):
        return np.minimum(np.maximum(x, 0), 255)

    steps = {k: -grids[k] for k in context.WEIGHTS}
    # 16 steps to an octave of a feature, 32 to one of a hidden unit.
    x = features.astype(np.int64).astype(object) @ whole("w1", 2.0 ** steps["w1"])
    x = clipped(scaled(x + bias_of(16 * 2.0 ** steps["w1"]), 5 - 4 - steps["w1"]))
    unit = 32 * 2.0 ** steps["w2"]
    x = clipped(scaled(x @ whole("w2", 2.0 ** steps["w2"]) + whole("b2", unit), -steps["w2"]))
    x = x @ whole("w3", 2.0 ** steps["w3"])
    unit = 32 * 2.0 ** steps["w3"]
    output = []
    for column, per in enumerate(2 * (8, 8, 8, 16)):
        half = 0.5 * unit / per
        bias = int(np.rint(float(parameters["b3"][column]) * unit + half))
        output.append(scaled(x[:, column] + bias, per.bit_length() - 1 - 5 - steps["w3"]))
    return np.stack(output, axis=1).astype(np.int64).reshape(-1, 2, 4)


def features_and_plane(where, buffer):
    features = context.gather(context.integer_features(buffer), where.inputs(slice(None)))
    return features, where.plane_of


@pytest.mark.parametrize("size", [0.3, 1, 12])
def test_outputs_are_those_of_integer_arithmetic(size):
    rng = np.random.default_rng(7)
    where = layout_of(3, 3, 1, 2)
    p = {k: v * np.float32(size) for k, v in random_parameters(rng, 16, 3).items()}
    grids = context.finest_grids(p)
    network, p = integer_network(p)
    features, plane = features_and_plane(where, random_latents(where, rng, 0.6, 300))
    found = network(features, network.bias(where.planes, 123)[plane])

    def bias_of(unit):
        total = [
            p["level"][k].astype(np.float64) + p["orientation"][o] + p["colour"][c]
            + p["quality"].astype(np.float64) * 123 / 32
            for k, o, c, *_ in where.planes
        ]  # fmt: skip
        return np.rint(np.array(total) * unit).astype(np.int64).astype(object)[plane]

    expected = exact(p, grids, features, bias_of)
    assert len(np.unique(expected.reshape(-1, 4), axis=0)) > 50
    assert (expected[:, 0] != expected[:, 1]).any()
    np.testing.assert_array_equal(found, expected)


def heavy_network(rng, hidden=16):
    """A network whose sums come close to what float32 can hold, and features that drive them
    there: (parameters, grids, features)."""
    p = random_parameters(rng, hidden, 2)
    for name in context.WEIGHTS:
        p[name] *= np.float32(60)
    grids = context.finest_grids(p)
    p = {k: on_grid(v, grids[k]) for k, v in p.items()}
    # Large terms first and their opposites last: what partial sums lose is seen in the total.
    toward = np.sign(p["w1"][:, rng.integers(hidden, size=400)]).T
    features = np.where(rng.random(toward.shape) < 0.98, 255 * toward, toward)
    half = FEATURES // 2
    features[::2, half:] *= -1
    return p, grids, features.astype(np.float32)


def test_sums_are_exact_at_the_worst_case():
    rng = np.random.default_rng(8)
    p, grids, features = heavy_network(rng)
    for name, largest in context.WEIGHTS.items():
        reach = np.abs(np.rint(p[name] * 2.0 ** -grids[name])).sum(axis=0).max() * largest
        assert EXACT / 4 < reach < EXACT, name
    network = IntegerNetwork(p, grids)
    bias = network.bias(layout_of(2, 3, 1, 1).planes, 0)[:1]
    found = network(features, np.repeat(bias, len(features), axis=0))

    def bias_of(unit):
        return bias.astype(np.int64).astype(object)

    np.testing.assert_array_equal(found, exact(p, grids, features, bias_of))


def test_the_order_of_summation_changes_nothing():
    rng = np.random.default_rng(9)
    p, grids, features = heavy_network(rng)
    features = np.concatenate([features, rng.integers(-255, 256, features.shape)], dtype=np.float32)
    planes = layout_of(2, 3, 1, 1).planes
    network = IntegerNetwork(p, grids)
    bias = np.repeat(network.bias(planes, 64)[:1], len(features), axis=0)
    expected = network(features, bias)
    for _ in range(5):
        inputs, first, second = (rng.permutation(n) for n in (FEATURES, 16, 16))
        q = dict(p)
        q["w1"] = p["w1"][inputs][:, first]
        for name in ("level", "orientation", "colour", "quality"):
            q[name] = p[name][..., first]
        q["w2"], q["b2"] = p["w2"][first][:, second], p["b2"][second]
        q["w3"] = p["w3"][second]
        shuffled = IntegerNetwork(q, grids)
        bias = np.repeat(shuffled.bias(planes, 64)[:1], len(features), axis=0)
        found = shuffled(np.ascontiguousarray(features[:, inputs]), bias)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_the_size_of_a_batch_changes_nothing(batch):
    p, grids, features = heavy_network(np.random.default_rng(10))
    network = IntegerNetwork(p, grids)
    bias = np.repeat(network.bias(layout_of(2, 3, 1, 1).planes, 64)[:1], len(features), axis=0)
    parts = [
        network(features[i : i + batch], bias[i : i + batch])
        for i in range(0, len(features), batch)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), network(features, bias))


def frequencies_hash() -> str:
    """Of all frequencies for a fixed network and fixed latents, of ordinary and heavy sums."""
    digest = hashlib.sha256()
    for size in (1, 40):
        rng = np.random.default_rng(11)
        where = context.layout(96, 128, 4, 3)
        p = random_parameters(rng, 32, 4)
        for name in context.WEIGHTS:
            p[name] *= np.float32(size)
        network, _ = integer_network(p)
        for part in all_rows(predicted(network, where, random_latents(where, rng), 140)):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_NUM_THREADS": "2"},
        {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Prescott"},  # other kernels, no FMA
    ],
    ids=lambda x: " ".join(x.values()),
)
def test_threads_and_kernels_of_the_blas_change_no_frequency(environment):
    here = Path(__file__).parent
    ran = subprocess.run(
        [sys.executable, "-c", "import test_context as t; print(t.frequencies_hash())"],
        env={**os.environ, **environment, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        cwd=here.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == frequencies_hash()


def with_large(name: str, value: float) -> dict[str, np.ndarray]:
    p = random_parameters(np.random.default_rng(12), 8, 2)
    p[name] = p[name].copy()
    p[name][..., -1] = value
    return p


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # On grids of 1/256 the inputs of a unit may weigh about 2**24 / 255 / 256 = 257 in all.
        ("w1", 300 / FEATURES),
        ("w2", 300 / 8),
        ("w3", 300 / 8),
        ("b2", 2100.0),
        ("b3", 2100.0),
        ("level", 4200.0),
        ("quality", -1100.0),
        ("w1", np.nan),
        ("b2", np.nan),
        ("colour", np.inf),
    ],
    ids=str,
)
def test_weights_too_large_for_exact_sums_are_refused(name, value):
    grids = dict.fromkeys(context.WEIGHTS, -8)
    planes = layout_of(2, 3, 1, 1).planes
    IntegerNetwork(with_large(name, 0.5), grids).bias(planes, 128)
    with pytest.raises(ModelError, match="too large"):
        IntegerNetwork(with_large(name, value), grids).bias(planes, 128)


@pytest.mark.parametrize("name", context.WEIGHTS)
@pytest.mark.parametrize("grid", [25, 127, -25])
def test_grids_that_do_not_scale_exactly_are_refused(name, grid):
    p = {k: 0 * v for k, v in random_parameters(np.random.default_rng(0), 4, 1).items()}
    grids = dict.fromkeys(context.WEIGHTS, 24)
    IntegerNetwork(p, grids)
    with pytest.raises(ModelError, match="on no grid"):
        IntegerNetwork(p, {**grids, name: grid})


@pytest.mark.parametrize("size", [1e-3, 1, 30, 1e4])
def test_finest_grids_are_exact_and_no_coarser_than_that_needs(size):
    p = random_parameters(np.random.default_rng(13), 16, 3)
    p = {k: v * np.float32(size) if k in context.WEIGHTS else v for k, v in p.items()}
    grids = context.finest_grids(p)
    assert sorted(grids) == sorted(p)
    rounded = {k: on_grid(v, grids[k]) for k, v in p.items()}
    IntegerNetwork(rounded, grids).bias(layout_of(3, 3, 1, 1).planes, 256)
    for name, largest in context.WEIGHTS.items():
        reach = np.abs(rounded[name]).sum(axis=0).max() * 2.0 ** -grids[name] * largest
        assert reach < EXACT
        # The next finer grid would not do, or is not worth having.
        assert grids[name] == -8 or reach > EXACT * 0.37


def test_embedding_is_a_sum_by_plane_and_its_gradient_the_transpose():
    rng = np.random.default_rng(14)
    p = {k: v.astype(np.float64) for k, v in random_parameters(rng, 5, 3).items()}
    planes = layout_of(3, 3, 1, 1).planes
    result = context.embedding(p, planes)
    for row, (level, orientation, colour, *_) in zip(result, planes, strict=True):
        expected = p["level"][level] + p["orientation"][orientation] + p["colour"][colour]
        np.testing.assert_allclose(row, expected, rtol=1e-15)
    d = rng.normal(size=result.shape)
    gradients = context.embedding_gradient(d, planes, p)
    for name, gradient in gradients.items():
        assert gradient.shape == p[name].shape
    inner = sum(float((gradients[k] * p[k]).sum()) for k in gradients)
    assert inner == pytest.approx(float((d * result).sum()), rel=1e-12)
