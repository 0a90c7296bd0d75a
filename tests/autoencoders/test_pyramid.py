from __future__ import annotations

import warnings
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from gradients import numeric_gradient, relative_error
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import digits, photograph, random_parameters

from aezip import metrics, nn
from aezip.autoencoders import Pyramid, lifting, postfilter, prediction, stepping
from aezip.autoencoders.base import log_step, step_size
from aezip.autoencoders.crops import Replay
from aezip.autoencoders.pyramid import LAGRANGIAN, layout
from aezip.entropy import context, median
from aezip.entropy.coder import Decoder
from aezip.entropy.rate import rate
from aezip.errors import ArchiveError, ModelError

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
CONFIG = {"levels": 2, "hidden": 4, "prediction": 3, "filter": 5, "quality": 75}


@cache
def started() -> Pyramid:
    """As at the start, frozen on its finest grids."""
    pyramid = Pyramid.start([photograph("lake")], 75, np.random.default_rng(0))
    pyramid.grids = pyramid.finest_grids()
    return pyramid.frozen()


@cache
def small(seed: int = 0, plain: bool = False) -> Pyramid:
    """Of few parameters, none of them at zero; `plain`: it predicts nothing and filters nothing."""
    rng = np.random.default_rng(seed)
    drawn = {k: s for k, s in Pyramid.shapes(CONFIG).items() if k != "typical"}
    p = {k: rng.normal(scale=0.1, size=s) for k, s in drawn.items()}
    p["typical"] = started().parameters["typical"]
    p["colour"] = started().parameters["colour"]
    p["lifting"] = lifting.start(2) + 0.02 * p["lifting"]
    p |= {"context." + k: v for k, v in random_parameters(rng, 4, 2).items()}
    p["context.w3"] = p["context.w3"] * 0.1
    p["context.b3"][:] = 2 * (0, 0, 1.5, 0.5)
    for name, value in prediction.start(3, 2, 3, np.random.default_rng(seed + 1)).items():
        if value.any():
            p["prediction." + name] = value
    p |= {"filter." + k: v for k, v in postfilter.start(3, 5, rng).items() if v.any()}
    p["filter.w2"] *= 0.1
    p["filter.mix"] *= 3
    if plain:
        p |= {k: 0 * p[k] for k in ("filter.w2", "filter.b2", "prediction.w3")}
    pyramid = Pyramid(CONFIG, {k: np.asarray(v, np.float32) for k, v in p.items()})
    pyramid.grids = pyramid.finest_grids()
    return pyramid


def picture(height: int, width: int, channels: int) -> np.ndarray:
    """A piece of a photograph; its alpha is another one's green, half of it opaque."""
    colour = photograph("fig")[100 : 100 + height, 60 : 60 + width]
    alpha = photograph("lake")[40 : 40 + height, 20 : 20 + width, 1:2].copy()
    alpha[: height // 2] = 255
    parts = [colour[..., 1:2] if channels < 3 else colour]
    return np.concatenate([*parts, alpha] if channels in (2, 4) else parts, axis=2)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * float(np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def coded(pyramid: Pyramid, pixels: np.ndarray, quality: int) -> tuple[bytes, np.ndarray]:
    payload = pyramid.encode([pixels], quality)[0]
    return payload, pyramid.decode([payload], pixels.shape, quality)[0]


def own_step(payload: bytes, quality: int) -> tuple[Decoder, int]:
    """The decoder where the latents begin, and the log step of the image."""
    decoder = Decoder(payload)
    return decoder, stepping.own_step(log_step(quality), stepping.decode(decoder))


# --- coding ---


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (31, 33), (64, 96)], ids=str)
def test_every_kind_and_size_of_image_comes_back(mode, size):
    pixels = picture(*size, MODES[mode])
    before = pixels.copy()
    found = []
    for quality in (1, 50, 100):
        _, image = coded(started(), pixels, quality)
        assert image.shape == pixels.shape and image.dtype == np.uint8
        found.append(psnr(pixels, image))
    np.testing.assert_array_equal(pixels, before)
    assert found[2] > 40
    assert found[1] > 20


def test_several_images_at_once():
    images = [picture(20, 30, 3), picture(40, 10, 3), picture(5, 5, 1)]
    payloads = started().encode(images, 80)
    assert payloads == [started().encode([x], 80)[0] for x in images]
    alike = started().encode([images[0], images[0][::-1]], 80)
    first, second = started().decode(alike, (20, 30, 3), 80)
    assert psnr(images[0], first) > 30 and psnr(images[0][::-1], second) > 30


def test_effort_pays():
    """In what the encoder weighs: bits, and squared errors in pixels as decoded."""
    pixels = photograph("fig")[:128, :160]
    # A post-filter that is not the identity, as after training.
    pyramid = small()
    log = log_step(50)
    costs = []
    for effort in (5, 7, 9):
        payload = pyramid.encode([pixels], 50, effort)[0]
        image = pyramid.decode([payload], pixels.shape, 50)[0]
        squared_error = np.sum((image.astype(float) - pixels) ** 2)
        costs.append(8 * len(payload) + LAGRANGIAN / step_size(log) ** 2 * squared_error)
    assert all(after < before for before, after in pairwise(costs[:-1]))
    assert costs[-1] < 1.005 * costs[-2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["gain", "lifting", "filter.mix", "prediction.gain"])
def test_a_decoder_that_is_no_good_decodes_to_something(name):
    pixels = picture(64, 64, 3)
    payload = small().encode([pixels], 60)[0]
    p = {k: v.copy() for k, v in small().parameters.items()}
    p[name][:] = 1e30 if name == "filter.mix" else 300
    bad = Pyramid(small().config, p, small().grids)
    assert bad.decode([payload], pixels.shape, 60)[0].shape == pixels.shape


def test_starts_where_classical_coding_ends():
    pixels = photograph("lake")[:128, :192]
    payload, image = coded(started(), pixels, 95)
    assert psnr(pixels, image) > 40
    # Nothing is trained, but no worse than PNG by far.
    assert len(payload) < pixels.size


def test_quality_trades_bytes_for_psnr():
    pixels = photograph("fig")[64:160, 32:160]
    results = [coded(started(), pixels, quality) for quality in (1, 20, 50, 75, 90, 100)]
    sizes = [len(payload) for payload, _ in results]
    found = [psnr(pixels, image) for _, image in results]
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)
    assert found == sorted(found) and found[-1] > 45 and found[0] < 28


def test_a_copy_encodes_to_the_same_bytes_and_decodes_to_the_same_pixels():
    pixels = picture(50, 70, 4)
    payload, image = coded(started(), pixels, 70)
    copy = Pyramid(started().config, {k: v.copy() for k, v in started().parameters.items()},
                   started().grids)  # fmt: skip
    again, same = coded(copy, pixels, 70)
    assert again == payload
    np.testing.assert_array_equal(same, image)


@pytest.mark.parametrize("channels", [1, 4])
def test_what_the_frozen_encodes_the_packed_decodes(channels):
    pyramid = small()
    pixels = picture(30, 44, channels)
    payload, image = coded(pyramid.frozen(), pixels, 60)
    decoder = Pyramid.unpack(dict(CONFIG), pyramid.pack())
    np.testing.assert_array_equal(decoder.decode([payload], pixels.shape, 60)[0], image)
    assert psnr(pixels, image) > 15


def steps_of(pyramid: Pyramid, plane, log: int) -> float:
    gain = pyramid.parameters["gain"][plane.level - 1, plane.orientation, plane.colour]
    return step_size(log) * 2 ** float(gain)


def band_of(bands: lifting.Bands, plane) -> np.ndarray:
    if plane.orientation == 0:
        return bands.low[plane.colour]
    return bands.high[plane.level - 1][plane.orientation - 1][plane.colour]


@pytest.mark.parametrize("quality", [30, 80])
def test_decoding_step_by_step(quality):
    """As the format says it, in float64."""
    pyramid = small().frozen()
    p = {k: v.astype(np.float64) for k, v in pyramid.parameters.items()}
    payload, image = coded(pyramid, picture(70, 30, 3), quality)
    where = layout(72, 32, 2, 3)
    decoder, log = own_step(payload, quality)
    latents = context.decode(pyramid._network, where, log, decoder)
    bands, _ = lifting.analyse(np.zeros((3, 72, 32)), p["lifting"])  # of the right shapes
    finest = np.zeros((3, 3, 36, 16))
    for plane in where.planes:
        q = where.view(latents, plane) / 2
        if plane.orientation == 0:
            q = median.restore(where.view(latents, plane) // 2).astype(np.float64)
        if plane.level == 1:
            finest[plane.orientation - 1, plane.colour] = q
        half, one, more = p["shrink"][plane.level - 1, plane.orientation, plane.colour]
        q[q > 1] -= more
        q[q < -1] += more
        q = np.where(abs(q) == 1, q * (1 - one), q)
        q = np.where(abs(q) == 0.5, q * (1 - 2 * half), q)
        band_of(bands, plane)[:] = q * steps_of(pyramid, plane, log)
    octaves = np.log2(step_size(log))
    planes = bands.low
    for level in (2, 1):
        of_prediction = {k[11:]: v for k, v in p.items() if k.startswith("prediction.")}
        expected, _ = prediction.apply(of_prediction, planes, level, octaves)
        assert abs(expected).max() > 1
        details = np.stack(bands.high[level - 1]) + expected
        planes, _ = lifting.join(planes, details, p["lifting"][level - 1])
    parameters = {k[7:]: v for k, v in p.items() if k.startswith("filter.")}
    planes, _ = postfilter.apply(parameters, planes, finest, octaves)
    rgb = planes.transpose(1, 2, 0) @ np.linalg.inv(p["colour"]) + 128
    assert abs(image - np.clip(rgb[:70, :30], 0, 255)).max() < 0.51


def test_decoding_gives_what_training_measures():
    """Once parameters are rounded: the encoder then rounds the latents, with one pass."""
    pixels = picture(64, 96, 3) // 2 + 64  # nothing is clipped to black or white
    for seed in range(4):
        frozen = small(seed).frozen()
        payload = frozen.encode([pixels], 60, effort=2)[0]
        image = frozen.decode([payload], pixels.shape, 60)[0]
        loss = frozen._loss(pixels, own_step(payload, 60)[1])
        assert psnr(pixels, image) == pytest.approx(loss.psnr, abs=0.02)
        # The coder's distributions are those of a grid; at random parameters it shows.
        assert 8 * len(payload) == pytest.approx(loss.bits, rel=0.01)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(96, 160), (33, 200), (200, 7)], ids=str)
def test_a_preview_is_the_image_made_smaller(size, channels):
    pixels = picture(*size, channels)
    payload, image = coded(started(), pixels, 85)
    for side in (1, 16, 30, 60, 150, 1000):
        small = started().preview(payload, pixels.shape, 85, side)
        # Halved as often as leaves three quarters of the side, and not down to the last level.
        levels = range(started().config["levels"])
        halvings = max((h for h in levels if max(size) >> h >= side * 3 // 4), default=0)
        assert small.shape == (*(-(-n >> halvings) for n in size), channels)
        if not halvings:
            np.testing.assert_array_equal(small, image)
            continue
        unit = 1 << halvings
        h, w = (n // unit for n in size)  # whole blocks, without what lies at the border
        blocks = image[: h * unit, : w * unit].reshape(h, unit, w, unit, channels)
        expected = blocks.mean(axis=(1, 3))
        if h * w >= 24:  # of fewer, each is mostly border
            assert abs(float(np.mean(small[:h, :w] - expected))) < 10
            assert psnr(expected, small[:h, :w]) > 17


def test_a_preview_reads_the_coarser_latents_alone(monkeypatch):
    pixels = photograph("fig")[:192, :256]
    payload, _ = coded(started(), pixels, 85)
    where = layout(192, 256, started().config["levels"], 3)
    steps = where.steps_down_to(3)
    # No step after those decodes any of them, and the last one decodes one.
    coarse = np.array([plane.level >= 3 for plane in where.planes])[where.plane_of]
    assert not coarse[where.bounds[steps] :].any()
    assert coarse[where.bounds[steps - 1] : where.bounds[steps]].any()
    assert where.bounds[steps] < 0.4 * where.bounds[-1]
    read = []

    class Counting(Decoder):
        def decode(self, rows):
            values = super().decode(rows)
            read.append(len(values))
            return values

    monkeypatch.setattr("aezip.autoencoders.pyramid.Decoder", Counting)
    assert started().preview(payload, pixels.shape, 85, 64).shape == (48, 64, 3)
    assert sum(read) == 1 + where.bounds[steps]  # and the step


def test_opaque_images_stay_opaque_and_cost_no_more():
    pixels = picture(64, 64, 3)
    opaque = np.concatenate([pixels, np.full((64, 64, 1), 255, np.uint8)], axis=2)
    for quality in (5, 50, 100):
        payload, image = coded(started(), opaque, quality)
        assert (image[..., 3] == 255).all()
        plain, expected = coded(started(), pixels, quality)
        np.testing.assert_array_equal(image[..., :3], expected)
        # One plane of zeros, for which an untrained network expects a bit or so each.
        assert len(payload) - len(plain) < 64 * 64 * 1.5 / 8


def test_transparent_images_stay_transparent():
    clear = np.concatenate([picture(32, 32, 3), np.zeros((32, 32, 1), np.uint8)], axis=2)
    _, image = coded(started(), clear, 90)
    assert (image[..., 3] <= 2).all()


@pytest.mark.parametrize("channels", [2, 4])
def test_the_colour_of_what_is_transparent_changes_nothing(channels):
    pixels = picture(32, 32, channels)
    pixels[8:20, 4:30, -1] = 0
    other = pixels.copy()
    other[8:20, 4:30, :-1] = np.random.default_rng(0).integers(0, 256, (12, 26, channels - 1))
    payload = started().encode([other], 75)[0]
    assert started().encode([pixels], 75)[0] == payload
    assert metrics.psnr(other, started().decode([payload], other.shape, 75)[0]) > 30


@settings(max_examples=60)
@given(
    payload=st.binary(max_size=200),
    channels=st.integers(1, 4),
    quality=st.integers(1, 100),
    seed=st.integers(0, 3),
)
@example(payload=b"\xff" * 100, channels=3, quality=1, seed=0)
@example(payload=b"\x00" * 100, channels=3, quality=100, seed=1)
def test_a_damaged_payload_is_an_archive_error_or_an_image(payload, channels, quality, seed):
    """And no warning, which a person could do nothing with."""
    pyramid = small(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = pyramid.decode([payload], (9, 6, channels), quality)[0]
        except ArchiveError:
            return
    assert image.shape == (9, 6, channels) and image.dtype == np.uint8


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_byte_is_an_archive_error_or_an_image(at, change):
    pixels = picture(24, 24, 3)
    payload = bytearray(started().encode([pixels], 75)[0])
    payload[at % len(payload)] ^= change
    try:
        image = started().decode([bytes(payload)], pixels.shape, 75)[0]
    except ArchiveError:
        return
    assert image.shape == pixels.shape


# --- colours ---


@pytest.mark.parametrize("count", [1, 3])
def test_colours_are_the_principal_axes_within_images(count):
    images = [photograph(name) for name in ("fig", "lake", "stream")[:count]]
    colour = Pyramid.start(images, 75, np.random.default_rng(0)).parameters["colour"]
    np.testing.assert_allclose(colour.T @ colour, np.eye(3), atol=1e-6)
    # What the axes make of the images is uncorrelated, and its variance falls.
    spread = np.zeros((3, 3))
    for pixels in images:
        spread += np.cov((pixels.reshape(-1, 3) @ colour.astype(np.float64)).T)
    variances = np.diag(spread)
    assert (np.diff(variances) < 0).all()
    assert abs(spread - np.diag(variances)).max() < 0.01 * variances[0]
    assert (colour[:, 0] > 0).all() or count == 1


@pytest.mark.parametrize("collection", ["digits", "grey RGB", "one colour", "one pixel"])
def test_collections_without_colours_get_typical_axes(collection):
    images = {
        "digits": digits,
        "grey RGB": lambda: [np.repeat(picture(40, 40, 1), 3, axis=2)],
        "one colour": lambda: [np.full((8, 8, 3), (200, 30, 90), np.uint8)],
        "one pixel": lambda: [np.zeros((1, 1, 3), np.uint8)],
    }[collection]()
    colour = Pyramid.start(images, 75, np.random.default_rng(0)).parameters["colour"]
    np.testing.assert_allclose(colour.T @ colour, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(colour[:, 0], 3**-0.5, atol=0.1)


def test_rounded_parameters_still_make_orthonormal_colours():
    """The loss is measured in these colours, so that it would not see them shrink."""
    pyramid = Pyramid.start([picture(64, 64, 3)], 75, np.random.default_rng(0))
    pyramid.grids = pyramid.finest_grids()
    pyramid.choose_grids([picture(64, 64, 3)], 64 * 64 * 1000)
    colour = pyramid.frozen().parameters["colour"]
    np.testing.assert_allclose(colour.T @ colour, np.eye(3), atol=2e-3)


# --- training ---


def test_training_lowers_the_loss():
    images = [photograph("fig")[100:196, 60:188]]
    pyramid = Pyramid.start(images, 75, np.random.default_rng(0))
    before = pyramid.evaluate(images)
    rng, adam = np.random.default_rng(1), nn.Adam()
    steps = 60
    for step in range(steps):
        progress = step / steps
        gradients = pyramid.sample_loss(images, progress, rng).gradients
        rates = pyramid.rates(progress)
        adam.update(pyramid.parameters, gradients, {k: rates(k) for k in gradients})
    after = pyramid.evaluate(images)
    assert after.value < 0.8 * before.value
    assert after.bits < 0.8 * before.bits
    pyramid.grids = pyramid.finest_grids()
    # What is measured while training is near what is written, and better for being optimised.
    payload, image = coded(pyramid.frozen(), images[0], 75)
    loss = pyramid._loss(images[0], log_step(75))
    assert 0.7 * loss.bits < 8 * len(payload) < 1.05 * loss.bits
    assert loss.psnr - 1.5 < psnr(images[0], image) < loss.psnr + 0.5


def test_the_context_network_and_the_prediction_are_trained_first():
    pyramid, images = small(), [picture(40, 40, 3)]
    early = pyramid.sample_loss(images, 0.0, np.random.default_rng(0)).gradients
    late = pyramid.sample_loss(images, 0.9, np.random.default_rng(0)).gradients
    first = ("context.", "prediction.")
    assert early.keys() == {k for k in pyramid.parameters if k.startswith(first)}
    # Colours stay what the collection's covariance says.
    assert late.keys() == pyramid.parameters.keys() - {"colour", "typical"}
    assert {k: v.shape for k, v in late.items()} == {k: pyramid.parameters[k].shape for k in late}
    assert {v.dtype for v in late.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(v).all() for v in late.values())
    for progress, names in ((0.0, early), (0.9, late)):
        assert all(pyramid.rates(progress)(k) > 0 for k in names)
    assert pyramid.rates(0.0)("lifting") == 0
    assert pyramid.rates(0.99)("context.w1") < pyramid.rates(0.5)("context.w1")


def test_evaluation_is_of_a_fixed_sample():
    images = [picture(120, 100, 3), photograph("lake")[:20, :30], picture(30, 300, 1)]
    pyramid = small()
    first = pyramid.evaluate(images)
    pyramid.sample_loss(images, 0.5, np.random.default_rng())
    assert pyramid.evaluate(images) == first
    assert small(1).evaluate(images).value != first.value
    assert first.gradients is None


def test_every_quality_counts_alike_in_an_evaluation():
    images, pyramid = [picture(190, 160, 3)], small()
    each = [pyramid._loss(images[0], log_step(quality)).value for quality in (25, 50, 75, 90)]
    assert max(each) > 1.4 * min(each)
    assert pyramid.evaluate(images).value == pytest.approx(np.prod(each) ** 0.25, rel=1e-5)


@pytest.mark.parametrize("name", ["filter.mix", "prediction.w2", "lifting", "context.w2"])
def test_an_evaluator_computes_anew_what_a_change_may_change(name):
    images, pyramid = [picture(120, 100, 3)], small()
    evaluate = pyramid.evaluator(images)
    first = evaluate(pyramid)
    array = pyramid.parameters[name]
    changed = Pyramid(CONFIG, {**pyramid.parameters, name: 1.5 * array})
    found, whole = evaluate(changed), changed.evaluate(images)
    assert first != whole
    if name.startswith("context"):  # the latents are those that the first network chose
        assert found.squared_error == first.squared_error
        assert found.bits != first.bits
        assert found.value == pytest.approx(whole.value, rel=0.02)
    else:
        assert found == whole
    assert evaluate(Pyramid(CONFIG, dict(changed.parameters))) == found
    assert evaluate(pyramid) == first


def test_a_seed_settles_all():
    images = [photograph("fig"), photograph("lake")]
    a, b = (Pyramid.start(images, 75, np.random.default_rng(5)) for _ in range(2))
    for name, value in a.parameters.items():
        np.testing.assert_array_equal(value, b.parameters[name])
    x, y = (small().sample_loss(images, 0.5, np.random.default_rng(6)) for _ in range(2))
    assert x.value == y.value
    for name, value in x.gradients.items():
        np.testing.assert_array_equal(value, y.gradients[name])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_kinds_of_images_can_be_trained_on(channels):
    loss = small().sample_loss([picture(33, 50, channels)], 0.9, np.random.default_rng(0))
    assert np.isfinite(loss.value)
    # Of one with transparency, that alone is drawn as often.
    assert loss.samples / loss.pixels in ({1: {1}, 2: {1}, 3: {3}, 4: {1, 3}}[channels])


# --- gradients ---

LOG = 150
EVERYTHING = (1 << 30, np.random.default_rng(0))  # no latent is left to chance


def total(pyramid: Pyramid, pixels: np.ndarray, log: int = LOG) -> float:
    """What is minimised for one crop, in bits, before parameters are rounded."""
    loss = Pyramid(pyramid.config, pyramid.parameters)._loss(pixels, log)
    return loss.bits + LAGRANGIAN / step_size(log) ** 2 * loss.squared_error


def gradient(pyramid: Pyramid, pixels: np.ndarray, name: str) -> np.ndarray:
    """Of `total`: without the weight that a crop has among others."""
    exact = Pyramid(pyramid.config, pyramid.parameters)
    loss = exact._loss(pixels, LOG, sample=EVERYTHING)
    return loss.gradients[name].astype(np.float64) * (loss.bits * loss.pixels) ** 0.5


@pytest.mark.parametrize("name", ["shrink", "filter.w1", "filter.mix", "filter.b1",
                                  "filter.step1", "filter.w2", "filter.b2"])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_where_the_loss_is_smooth(name, channels):
    """By central differences. Not for the lifting filters and the gains: they move latents, and
    the loss is a step function of the latents. (The context's are checked with the rate.)"""
    pyramid = small(plain=name == "shrink")
    pixels = picture(16, 20, channels)
    expected = gradient(pyramid, pixels, name)
    flat = expected.ravel()
    rng = np.random.default_rng(1)
    # By shrink, w2 and b2 the loss is a parabola; by the others it has kinks a step away.
    step = 0.05 if name in ("shrink", "filter.w2", "filter.b2") else 0.003
    some = np.unique([*rng.choice(flat.size, min(flat.size, 12), replace=False),
                      *np.argsort(-abs(flat))[:4]])  # fmt: skip
    numeric = []
    for at in some:
        ends = []
        for sign in (1, -1):
            value = pyramid.parameters[name].copy()
            value.reshape(-1)[at] += np.float32(sign * step)
            ends.append(total(Pyramid(CONFIG, {**pyramid.parameters, name: value}), pixels))
        numeric.append((ends[0] - ends[1]) / (2 * step))
    assert abs(np.array(numeric)).max() > 0.3
    assert relative_error(flat[some], np.array(numeric)) < 0.02


@pytest.mark.parametrize("name", ["gain", "lifting"])
def test_gradients_that_pass_straight_through_the_rounding(name):
    """Against a loss in float64 in which the rounding adds a constant, as the gradient assumes,
    and a latent takes the bits that its slope says."""
    pyramid = small(plain=True)
    pixels = picture(16, 20, 3)
    p = {k: v.astype(np.float64) for k, v in pyramid.parameters.items()}
    planes = (pixels.astype(np.float64) - 128) @ p["colour"]
    planes = np.ascontiguousarray(planes.transpose(2, 0, 1))
    where = layout(16, 20, 2, 3)
    step = step_size(LOG)

    def latents(gain, filters) -> np.ndarray:
        bands, _ = lifting.analyse(planes, filters)
        scaled = np.zeros(where.size)
        for plane in where.planes:
            where.view(scaled, plane)[:] = band_of(bands, plane) / step_of(gain, plane)
        return scaled

    def step_of(gain, plane) -> float:
        return step * 2 ** gain[plane.level - 1, plane.orientation, plane.colour]

    unrounded = latents(p["gain"], p["lifting"])
    whole = np.zeros(where.size)
    differences = np.zeros(where.size)  # what is coded of the low-pass band
    for plane in where.planes[:3]:
        where.view(whole, plane)[:] = q = np.rint(where.view(unrounded, plane))
        where.view(differences, plane)[:] = -median.expected(q)
    bands, _ = lifting.analyse(planes.astype(np.float32), pyramid.parameters["lifting"])
    for level in (2, 1):
        before = (2 * (whole + differences)).astype(np.float32)
        chosen = Pyramid(CONFIG, pyramid.parameters)._round(
            np.stack(bands.high[level - 1]), level, range(1, 4), LOG, where, before
        )
        for at, plane in chosen.planes(where):
            where.view(whole, plane)[:] = chosen.q[at] / 2
    parameters = {k[8:]: v for k, v in p.items() if k.startswith("context.")}
    coded, exact = 2 * (whole + differences), unrounded + differences
    slope = rate(parameters, where, coded, LOG, unrounded=exact)[1]()[0]

    def loss(value) -> float:
        gain, filters = (value if k == name else p[k] for k in ("gain", "lifting"))
        scaled = latents(gain, filters)
        rounded = scaled + (whole - unrounded)
        bands, _ = lifting.analyse(planes, filters)  # of the right shapes; all is overwritten
        for plane in where.planes:
            half, one, more = p["shrink"][plane.level - 1, plane.orientation, plane.colour]
            at = where.view(whole, plane)
            by = np.select([abs(at) == 0.5, abs(at) == 1], [half, one], more)
            shrunk = where.view(rounded, plane) - np.sign(at) * by
            band_of(bands, plane)[:] = shrunk * step_of(gain, plane)
        image = bands.low
        for details, taps in reversed(list(zip(bands.high, filters, strict=True))):
            image, _ = lifting.join(image, details, taps)
        return slope @ scaled + LAGRANGIAN / step**2 * ((image - planes) ** 2).sum()

    expected = numeric_gradient(loss, p[name])
    assert relative_error(gradient(pyramid, pixels, name), expected) < 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_the_filter_learns_of_crops_decoded_before_what_it_learned_of_them_at_once(channels):
    pyramid, pixels = small(), picture(128, 124, channels)
    exact = Pyramid(CONFIG, pyramid.parameters, memory=[])
    rng = np.random.default_rng(0)
    whole = exact.sample_loss([pixels], 0.5, rng).gradients
    for _ in range(9):
        alone = exact.sample_loss([pixels], 0.5, rng).gradients
        assert all(name.startswith("filter.") for name in alone)
        assert {k for k in whole if k.startswith("filter.")} == set(alone)
        for name, value in alone.items():  # the crop is no larger than what parts are cut to
            assert relative_error(value, whole[name]) < 0.01  # it is kept in half precision
    assert exact.sample_loss([pixels], 0.5, rng).gradients.keys() == whole.keys()


def test_steps_of_the_filter_are_drawn_from_several_crops():
    pyramid = Pyramid(CONFIG, small().parameters, memory=[])
    images, rng = [picture(32, 40, 3), picture(160, 200, 3)], np.random.default_rng(1)
    for _ in range(21):
        pyramid.sample_loss(images, 0.5, rng)
    crops = pyramid.memory[0].crops
    assert len(crops) == 3 and len({crop.log for crop in crops}) > 1
    x, y = (pyramid._filter_loss(crops, np.random.default_rng(k)).squared_error for k in (0, 1))
    assert x != y
    again = pyramid._filter_loss(crops, np.random.default_rng(0))
    assert again.squared_error == x


def test_large_latents_keep_their_sign_when_a_crop_is_kept():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[np.indices((32, 32)).sum(axis=0) % 2 == 1] = 255
    pyramid = Pyramid(CONFIG, small(plain=True).parameters, memory=[Replay()])
    coded = pyramid._code(pixels, 64).details[-1].q
    assert np.abs(coded).max() > 127
    pyramid._loss(pixels, 64)
    (kept,) = pyramid.memory[0].crops
    np.testing.assert_array_equal(np.sign(kept.latents), np.sign(coded))


def test_before_the_transform_is_trained_every_step_is_whole():
    pyramid = Pyramid(CONFIG, small().parameters, memory=[])
    rng = np.random.default_rng(2)
    kinds = [set(pyramid.sample_loss([picture(32, 40, 3)], 0.1, rng).gradients) for _ in range(3)]
    assert kinds[0] == kinds[1] == kinds[2] and not pyramid.memory


def test_the_prediction_learns_to_leave_little():
    """Its gradient is that of about the bits of what it leaves, whatever the levels below do."""
    pyramid, pixels = small(), picture(32, 40, 3)
    found = pyramid._loss(pixels, LOG, sample=EVERYTHING)
    d = found.gradients["prediction.w3"] * np.float32((found.bits * found.pixels) ** 0.5)

    def left(change: float) -> float:
        """Of the coarsest level alone, on which nothing else depends."""
        p = pyramid.parameters
        w3 = p["prediction.w3"] + np.float32(change) * direction
        moved = Pyramid(CONFIG, {**p, "prediction.w3": w3})
        planes = moved._to_planes(pixels, 150)[0]
        bands, _ = lifting.analyse(planes, p["lifting"])
        where = layout(32, 40, 2, 3)
        before = np.zeros(where.size, np.float32)
        low = moved._round(bands.low[None], 2, range(1), LOG, where, before).decoded[0]
        residual = np.stack(bands.high[1]) - moved._predict(low, 2, LOG)[0]
        scaled = moved._round(residual, 2, range(1, 4), LOG, where, before).scaled
        return float(np.log2(1 + scaled.astype(np.float64) ** 2).sum() / 2)

    direction = np.random.default_rng(0).normal(size=d.shape).astype(np.float32)
    one_level = Pyramid(CONFIG, pyramid.parameters)
    real = one_level._predict

    def coarsest_alone(image, level, log, strips=False):
        expected, back = real(image, level, log, strips)
        return expected, back if level == 2 else lambda d: {}

    one_level._predict = coarsest_alone
    alone = one_level._loss(pixels, LOG, sample=EVERYTHING).gradients["prediction.w3"]
    expected = (left(1e-3) - left(-1e-3)) / 2e-3
    assert np.vdot(alone, direction) * (found.bits * found.pixels) ** 0.5 == pytest.approx(
        expected, rel=0.01
    )
    assert abs(d - alone * (found.bits * found.pixels) ** 0.5).max() > 0.1 * abs(d).max()


# --- configurations ---


@pytest.mark.parametrize("name", ["levels", "hidden", "prediction", "filter"])
@pytest.mark.parametrize("value", [0, -1, 1 << 20, 2.0, "3", None, [1]], ids=repr)
def test_a_config_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(ModelError, match="makes no sense"):
        Pyramid.shapes({**CONFIG, name: value})
    with pytest.raises(ModelError, match="makes no sense"):
        Pyramid.unpack({k: v for k, v in CONFIG.items() if k != name}, b"")


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_decoder_whose_colours_cannot_be_undone_is_damaged(rank):
    pyramid = small()
    colour = pyramid.parameters["colour"] * (np.arange(3) < rank)
    damaged = Pyramid(CONFIG, {**pyramid.parameters, "colour": colour}, pyramid.grids)
    with pytest.raises(ModelError, match="damaged"):
        Pyramid.unpack(CONFIG, damaged.pack())


def test_takes_any_image():
    started().check(np.zeros((1, 5000, 4), np.uint8))
