from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from gradients import numeric_gradient, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import digits, photograph

from aezip import metrics, nn
from aezip.autoencoders import Dense
from aezip.autoencoders.base import LAGRANGIAN, log_step, step_size
from aezip.entropy.coder import Decoder
from aezip.entropy.parameters import on_grid
from aezip.errors import ArchiveError, ModelError

QUALITY = 50
CONFIG = {
    "height": 2, "width": 3, "channels": 1, "hidden": 7, "features": 5, "latents": 3, "quality": 25
}  # fmt: skip


def psnr(a, b) -> float:
    error = np.mean([(x.astype(float) - y) ** 2 for x, y in zip(a, b, strict=True)])
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))


def tiles(channels: int, count: int = 30, size: int = 8) -> list[np.ndarray]:
    """Pieces of a photograph; with a gradient for transparency where there is an even channel."""
    rng = np.random.default_rng(0)
    whole = photograph("fig")
    result = []
    for _ in range(count):
        y, x = rng.integers(0, 300, 2)
        piece = whole[y : y + size, x : x + size]
        alpha = np.clip(np.add.outer(np.arange(size), np.arange(size)) * x // 40, 0, 255)
        parts = [piece] if channels >= 3 else [piece[..., 1:2]]
        if channels in (2, 4):
            parts.append(alpha[..., None].astype(np.uint8))
        result.append(np.concatenate(parts, axis=2))
    return result


def ready(images, quality: int = QUALITY) -> Dense:
    """As at the start, on its finest grids."""
    autoencoder = Dense.start(images, quality, np.random.default_rng(0))
    autoencoder.grids = autoencoder.finest_grids()
    return autoencoder


@cache
def ready_once() -> Dense:
    return ready(digits()).frozen()


def principal_components(images, count: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients in whole steps, reconstructions) with NumPy's eigenvectors."""
    x = np.stack([i.ravel() for i in images]) / 255
    mean = x.mean(axis=0)
    axes = np.linalg.eigh(np.cov(x.T, bias=True))[1][:, ::-1][:, :count]
    whole = np.rint((x - mean) @ axes / step)
    return whole, np.clip(whole @ axes.T * step + mean, 0, 1)


@pytest.mark.parametrize("quality", [20, 60])
@pytest.mark.parametrize("collection", ["digits", "tiles"])
def test_starts_as_principal_component_analysis(collection, quality):
    images = digits() if collection == "digits" else tiles(3)
    dense = Dense.start(images, quality, np.random.default_rng(0))
    # No more axes than the images span: those beyond have no direction.
    count = min(dense.config["latents"], len(images) - 1)
    _, expected = principal_components(images, count, step_size(log_step(quality)) / 255)
    x = np.stack([i.ravel() for i in images]) / 255
    loss = dense.evaluate(images)
    squared = ((expected - x) ** 2).sum() * 255**2
    # Here and there float32 rounds a coefficient the other way.
    assert loss.squared_error == pytest.approx(squared, rel=1e-3)
    assert loss.samples == x.size and loss.pixels == len(images) * np.prod(images[0].shape[:2])

    # On fine enough grids encoding and decoding are no different.
    dense.grids = dict.fromkeys(dense.travelling(), -20) | {
        k: v for k, v in dense.finest_grids().items() if k.startswith("prior.")
    }
    frozen = dense.frozen()
    decoded = frozen.decode(frozen.encode(images, quality, 1), images[0].shape, quality)
    difference = np.stack([i.ravel() for i in decoded]) - expected * 255
    assert np.mean(abs(difference) <= 0.51) > 0.995


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_a_few_images_come_back_well_from_the_start(count):
    """All that differs between them fits into the latents."""
    images = digits()[:count]
    dense = ready(images, 75).frozen()
    payloads = dense.encode(images, 75)
    decoded = dense.decode(payloads, (28, 28, 1), 75)
    assert len(decoded) == count
    assert {(x.shape, x.dtype) for x in decoded} == {((28, 28, 1), np.dtype(np.uint8))}
    assert psnr(images, decoded) > 28


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_kinds_of_images(channels):
    images = tiles(channels)
    dense = ready(images, 80)
    assert dense.config["channels"] == channels
    assert dense.config["latents"] == min(29, 16 * channels)
    dense = dense.frozen()
    decoded = dense.decode(dense.encode(images, 80), (8, 8, channels), 80)
    assert {x.shape for x in decoded} == {(8, 8, channels)}
    # As it is seen: the colour of what is transparent is free.
    assert np.mean([metrics.psnr(a, b) for a, b in zip(images, decoded, strict=True)]) > 22


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (2, 1, 1), (1, 7, 3)], ids=str)
def test_tiny_images(shape):
    images = list(np.random.default_rng(1).integers(0, 256, (9, *shape), dtype=np.uint8))
    dense = ready(images, 90).frozen()
    decoded = dense.decode(dense.encode(images, 90), shape, 90)
    assert {x.shape for x in decoded} == {shape}


def test_a_sample_stands_for_a_large_collection():
    rng = np.random.default_rng(2)
    images = list(rng.integers(0, 256, (2500, 4, 4, 1), dtype=np.uint8))
    dense = Dense.start(images, 50, rng)
    assert dense.config["features"] == 256
    assert dense.evaluate(images).samples == 1024 * 16


# --- training ---


def trained(steps: int, dense: Dense) -> Dense:
    rng, adam = np.random.default_rng(3), nn.Adam()
    for step in range(steps):
        progress = step / steps
        gradients = dense.sample_loss(digits(), progress, rng).gradients
        rate = dense.rates(progress)
        adam.update(dense.parameters, gradients, {k: rate(k) for k in gradients})
    dense.grids = dense.finest_grids()
    return dense


@pytest.fixture(scope="module")
def fitted() -> Dense:
    """250 steps on all digits."""
    return trained(250, Dense.start(digits(), QUALITY, np.random.default_rng(0)))


def test_training_lowers_the_loss(fitted):
    before = Dense.start(digits(), QUALITY, np.random.default_rng(0)).evaluate(digits())
    after = fitted.evaluate(digits())
    assert after.value < 0.75 * before.value
    assert after.bits < before.bits
    # Of what is really written and read, too.
    payloads = fitted.frozen().encode(digits(), QUALITY, 1)
    decoded = fitted.frozen().decode(payloads, (28, 28, 1), QUALITY)
    assert psnr(digits(), decoded) == pytest.approx(after.psnr, abs=0.5)
    # A byte for the end of each payload.
    excess = 8 * sum(map(len, payloads)) - after.bits
    assert -0.03 * after.bits < excess < 8 * len(payloads) + 0.03 * after.bits


@pytest.mark.parametrize("chosen", [False, True])
def test_what_one_decoder_encodes_its_copy_decodes(fitted, chosen):
    dense = Dense(fitted.config, fitted.parameters, fitted.grids)
    if chosen:
        dense.choose_grids(digits(), 40 * 28 * 28)
    frozen = dense.frozen()
    decoder = Dense.unpack(dict(dense.config), dense.pack())
    for quality in (QUALITY, 80):
        payloads = frozen.encode(digits(), quality)
        assert payloads == frozen.encode(digits(), quality)
        images = decoder.decode(payloads, (28, 28, 1), quality)
        for a, b in zip(images, frozen.decode(payloads, (28, 28, 1), quality), strict=True):
            np.testing.assert_array_equal(a, b)
    # One at a time as all together: each payload stands alone.
    for payload, image in zip(payloads[:5], images[:5], strict=True):
        alone = decoder.decode([payload], (28, 28, 1), quality)[0].astype(int)
        assert abs(alone - image).max() <= 1


def test_latents_come_back_exactly(fitted):
    """Decoded images can only be compared with a tolerance; payloads of latents cannot."""
    frozen = fitted.frozen()
    for quality in (1, 30, QUALITY, 77, 100):
        latents = frozen._analysed(frozen._samples(digits()))
        whole = np.rint(latents * np.float32(frozen._finer(quality)))
        for payload, values in zip(frozen.encode(digits(), quality, 1), whole, strict=True):
            np.testing.assert_array_equal(Decoder(payload).decode(frozen._rows(quality)), values)


@pytest.mark.parametrize("quality", [20, QUALITY, 80])
def test_effort_pays(fitted, quality):
    """In what the encoder weighs, for every image; and none is worse than without."""
    frozen = fitted.frozen()
    worth = LAGRANGIAN / step_size(log_step(quality)) ** 2
    costs = []
    for effort in (1, 3, 5, 9):
        payloads = frozen.encode(digits(), quality, effort)
        decoded = frozen.decode(payloads, (28, 28, 1), quality)
        pairs = zip(digits(), decoded, strict=True)
        errors = [np.sum((a.astype(float) - b) ** 2) for a, b in pairs]
        costs.append([8 * len(x) + worth * e for x, e in zip(payloads, errors, strict=True)])
    totals = np.sum(costs, axis=1)
    # Payloads are whole bytes and images whole grey levels.
    assert 1.005 * totals[0] > totals[1] > 0.995 * totals[2] and totals[3] < 1.005 * totals[2]
    assert totals[2] < totals[0] + 2 * len(digits())  # a payload ends within a byte
    assert (np.array(costs[3]) < np.array(costs[0]) * 1.02 + 16).all()


def test_other_qualities_trade_bytes_for_psnr():
    """From the start, which is linear; a network fitted for one quality is best at that one."""
    frozen = ready_once()
    sizes, found = [], []
    for quality in (1, 20, QUALITY, 70):
        payloads = frozen.encode(digits(), quality)
        decoded = frozen.decode(payloads, (28, 28, 1), quality)
        sizes.append(sum(map(len, payloads)))
        found.append(psnr(digits(), decoded))
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    assert found == sorted(found) and len(set(found)) == 4


@pytest.mark.parametrize("quality", [20, 65])
def test_another_quality_costs_what_a_network_for_it_would(quality):
    other = ready(digits(), quality).frozen()
    expected = sum(map(len, other.encode(digits(), quality)))
    assert sum(map(len, ready_once().encode(digits(), quality))) < 1.05 * expected


@pytest.mark.parametrize("quality", [40, 60])
def test_qualities_nearby_serve_a_fitted_network(fitted, quality):
    frozen = fitted.frozen()
    decoded = frozen.decode(frozen.encode(digits(), quality), (28, 28, 1), quality)
    assert psnr(digits(), decoded) > 32


def test_a_seed_settles_all():
    a, b = (Dense.start(digits(), 50, np.random.default_rng(7)) for _ in range(2))
    for _ in range(2):
        x, y = (d.sample_loss(digits(), 0.1, np.random.default_rng(8)) for d in (a, b))
        assert x.value == y.value
        for name in x.gradients:
            np.testing.assert_array_equal(x.gradients[name], y.gradients[name])
    assert a.evaluate(digits()) == a.evaluate(digits())


def test_noise_gives_way_to_rounding():
    dense = Dense.start(digits(), 50, np.random.default_rng(7))

    def loss(progress, seed):
        return dense.sample_loss(digits()[:1], progress, np.random.default_rng(seed)).value

    assert loss(0.1, 1) != loss(0.1, 2)
    assert loss(0.9, 1) == loss(0.9, 2)


# --- gradients ---


def small(dtype=np.float64) -> tuple[Dense, np.ndarray, np.ndarray]:
    """(autoencoder, images, noise): a small network with nothing at zero, whose outputs stay
    between black and white."""
    rng = np.random.default_rng(4)
    config = CONFIG
    shapes = Dense.shapes(config) | {
        "analysis.w1": (6, 8), "analysis.b1": (8,), "analysis.w2": (8, 3), "analysis.b2": (3,)
    }  # fmt: skip
    p = {k: rng.normal(scale=0.3, size=s) for k, s in shapes.items()}
    p["synthesis.w3"] *= 0.1
    p["synthesis.b3"] += 0.5 - p["synthesis.b3"]
    p["prior.spread"] += 1.5
    p["prior.weight"] = rng.uniform(0.3, 0.7, 3)
    x = rng.uniform(0.3, 0.7, (10, 6))
    return Dense(config, p), x, rng.uniform(-0.5, 0.5, (10, 3))


@pytest.mark.parametrize("name", list(small()[0].parameters))
def test_gradients(name):
    dense, x, noise = small()
    gradient = dense._loss(x, noise).gradients[name]

    def loss(value):
        changed = Dense(dense.config, {**dense.parameters, name: value})
        return changed._loss(x, noise).value

    numeric = numeric_gradient(loss, dense.parameters[name])
    # The loss per pixel is scaled by a float32.
    assert relative_error(gradient, numeric) < 1e-5


def test_all_stays_float32():
    dense = Dense.start(digits(), 50, np.random.default_rng(0))
    for progress in (0.1, 0.9):
        loss = dense.sample_loss(digits(), progress, np.random.default_rng(1))
        assert {v.dtype for v in loss.gradients.values()} == {np.dtype(np.float32)}
        assert {k: v.shape for k, v in loss.gradients.items()} == {
            k: v.shape for k, v in dense.parameters.items()
        }


# --- what it refuses ---


def test_collections_of_several_sizes_are_refused():
    with pytest.raises(ModelError, match="here are 2 sizes"):
        Dense.start([*digits(), tiles(1)[0]], 50, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ((28, 27, 1), "27x28 L"),
        ((14, 56, 1), "56x14 L"),
        ((28, 28, 3), "28x28 RGB"),
        ((1, 2, 4), "2x1 RGBA"),
    ],
)
def test_images_of_another_size_are_refused_and_both_sizes_named(shape, named):
    dense = ready(digits())
    dense.check(digits()[0])
    with pytest.raises(ModelError, match=f"images of 28x28 L, and this is {named}$"):
        dense.check(np.zeros(shape, np.uint8))
    with pytest.raises(ModelError, match=f"images of 28x28 L, and this is {named}$"):
        dense.frozen().decode([b""], shape, 50)




@pytest.mark.parametrize("name", list(CONFIG))
@pytest.mark.parametrize("value", [0, -1, 1 << 20, 2.0, "3", None, [1]], ids=repr)
def test_a_config_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(ModelError, match="makes no sense"):
        Dense.shapes({**CONFIG, name: value})
    with pytest.raises(ModelError, match="makes no sense"):
        Dense.unpack({k: v for k, v in CONFIG.items() if k != name}, b"")


@pytest.mark.parametrize("change", [{"channels": 5}, {"quality": 101}], ids=str)
def test_other_channels_and_qualities_are_refused(change):
    with pytest.raises(ModelError, match="makes no sense"):
        Dense.shapes({**CONFIG, **change})


def test_a_config_of_too_many_parameters_is_refused():
    Dense.shapes({**CONFIG, "features": 1 << 13, "width": 1 << 13})
    with pytest.raises(ModelError, match="too many parameters"):
        Dense.shapes({**CONFIG, "features": 1 << 14, "width": 1 << 14})


@settings(max_examples=100)
@given(st.binary(max_size=60), st.integers(1, 100))
def test_a_damaged_payload_is_an_archive_error_or_an_image(payload, quality):
    try:
        image = ready_once().decode([payload], (28, 28, 1), quality)[0]
    except ArchiveError:
        return
    assert image.shape == (28, 28, 1) and image.dtype == np.uint8


def test_no_images_are_no_payloads():
    """A batch of which every image could not be read."""
    assert ready_once().encode([], 50) == []


@pytest.mark.parametrize("quality", [20, 50, 75, 90])
def test_the_finest_grids_are_fine_enough(quality):
    """Also for steps far below the weights that an image in grey levels would suggest."""
    dense = ready(digits(), quality)
    before, after = dense.evaluate(digits()), dense.frozen().evaluate(digits())
    assert after.value < 1.03 * before.value
    assert after.psnr > before.psnr - 2


def test_a_prior_is_coded_on_the_coders_own_grids(fitted):
    """So that rounding it as parameters loses nothing that the coder would have kept."""
    for name, grid in fitted.finest_grids().items():
        if name.startswith("prior."):
            steps = 16 if name == "prior.weight" else 8
            assert 2.0**-grid == steps
            on = on_grid(fitted.parameters[name], grid) * steps
            np.testing.assert_array_equal(on, np.rint(on))


# --- kinds of images ---


def test_one_model_takes_grey_and_colour_with_and_without_transparency():
    images = [tiles(1 + i % 4)[i] for i in range(30)]
    dense = ready(images, 85).frozen()
    assert dense.config["channels"] == 4
    for image in images:
        decoded = dense.decode(dense.encode([image], 85), image.shape, 85)[0]
        assert decoded.shape == image.shape and metrics.psnr(image, decoded) > 20


def test_the_colour_of_what_is_transparent_changes_nothing():
    rng = np.random.default_rng(5)
    images = tiles(4)
    others = [x.copy() for x in images]
    for a, b in zip(images, others, strict=True):
        a[:4, :, 3] = b[:4, :, 3] = 0
        b[:4, :, :3] = rng.integers(0, 256, (4, 8, 3))
    a, b = ready(images), ready(others)
    assert a.evaluate(images) == b.evaluate(others)
    assert a.pack() == b.pack()
    assert a.frozen().encode(images, 50) == b.frozen().encode(others, 50)


def test_transparency_costs_nothing_where_there_is_none():
    images = tiles(3)
    opaque = [np.concatenate([x, np.full_like(x[..., :1], 255)], axis=2) for x in images]
    without, dense = ready(images), ready(opaque)
    pairs = (without, images), (dense, opaque)
    plain, more = ([len(x) for x in d.frozen().encode(i, 50)] for d, i in pairs)
    assert sum(more) <= sum(plain) + len(plain) // 4  # it has more latents to be zero
    decoded = dense.frozen().decode(dense.frozen().encode(opaque, 50), (8, 8, 4), 50)
    assert all((x[..., 3] == 255).all() for x in decoded)


# --- a budget of bytes ---


@cache
def budgeted(budget: int) -> Dense:
    return trained(40, Dense.start_within(budget, digits(), np.random.default_rng(0)))


@pytest.mark.parametrize("budget", [1, 12])
def test_every_image_keeps_the_budget(budget):
    rng, frozen = np.random.default_rng(6), budgeted(budget).frozen()
    noise = list(rng.integers(0, 256, (5, 28, 28, 1), dtype=np.uint8))
    extremes = [np.full((28, 28, 1), x, np.uint8) for x in (0, 128, 255)]
    for quality in (frozen.config["quality"], 95):
        for effort in (1, 3):
            payloads = frozen.encode([*digits(), *noise, *extremes], quality, effort)
            assert max(map(len, payloads)) <= budget
            decoded = frozen.decode(payloads, (28, 28, 1), quality)
            assert len(decoded) == len(payloads)


def test_a_budget_is_spent_and_more_of_it_is_better():
    found = []
    for budget in (4, 12, 30):
        frozen = budgeted(budget).frozen()
        quality = frozen.config["quality"]
        payloads = frozen.encode(digits(), quality)
        assert 0.75 * budget < np.mean([len(x) for x in payloads]) <= budget
        found.append(psnr(digits(), frozen.decode(payloads, (28, 28, 1), quality)))
    assert found[0] + 1 < found[1] < found[2] - 1


@pytest.mark.parametrize("budget", [0, -1, 1 << 17])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(ModelError, match="a budget is 1 to"):
        Dense.start_within(budget, digits(), np.random.default_rng(0))


def test_an_empty_payload_is_all_likeliest_values():
    frozen = ready_once()
    assert frozen.decode([b""], (28, 28, 1), 50)[0].max() < 255
    assert all(frozen.encode(digits(), 50))


def test_what_a_step_of_a_latent_costs_is_found_once(monkeypatch):
    """It takes as long as to decode some images."""
    found = []
    squares = Dense._squares
    monkeypatch.setattr(Dense, "_squares", lambda self: found.append(1) or squares(self))
    dense = ready_once().frozen()
    for image in digits()[:3]:
        dense.encode([image], 50)
    assert len(found) == 1
