"""The step that each image is coded with."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import photograph

from aezip.autoencoders import Pyramid, stepping
from aezip.autoencoders.base import log_step, step_size
from aezip.coding import default_promise
from aezip.entropy.coder import Decoder, Encoder
from aezip.errors import ArchiveError
from aezip.metrics import psnr

UNITS = st.integers(-8, 6)


@cache
def images() -> list[np.ndarray]:
    """From quiet to busy."""
    rng = np.random.default_rng(0)
    lake = photograph("lake")[:192, :192]
    sky = np.linspace(90, 170, 192)[:, None, None] + rng.normal(size=(192, 192, 3))
    grass = np.clip(lake.astype(float) + rng.normal(scale=25, size=lake.shape), 0, 255)
    return [sky.astype(np.uint8), lake, grass.astype(np.uint8)]


@cache
def pyramid() -> Pyramid:
    started = Pyramid.start(images(), 75, np.random.default_rng(0))
    started.grids = started.finest_grids()
    return started.frozen()


def coded_with(payload: bytes) -> int:
    return stepping.decode(Decoder(payload))


@given(UNITS)
def test_units_come_back(units):
    encoder = Encoder()
    stepping.encode(units, encoder)
    assert coded_with(encoder.finish()) == units


@pytest.mark.parametrize("units", [-9, 7, 10, 400])
def test_units_that_no_encoder_chooses_are_damage(units):
    encoder = Encoder()
    stepping.encode(units, encoder)
    with pytest.raises(ArchiveError, match="damaged"):
        coded_with(encoder.finish())


@given(st.integers(0, 256), UNITS)
def test_a_step_is_that_of_some_quality(log, units):
    assert 32 <= stepping.own_step(log, units) <= 256
    assert stepping.own_step(128, units) == 128 + 4 * units


@pytest.mark.parametrize("quality", [25, 50, 75])
def test_quiet_images_get_finer_steps_and_busy_ones_coarser(quality):
    quiet, usual, busy = (coded_with(x) for x in pyramid().encode(images(), quality))
    assert quiet < usual == 0 < busy


def test_the_step_grows_with_the_root_of_the_error():
    typical = np.full(8, 3.0)
    assert stepping.coarser(8.0, typical, 192) == 0
    assert stepping.coarser(16.0, typical, 192) == 4  # half an octave, in eighths
    assert stepping.coarser(4.0, typical, 192) == -4
    assert stepping.coarser(0.1, typical, 192) == -8
    assert stepping.coarser(40.0, typical, 192) == 6


@pytest.mark.parametrize("error", [0.0, np.nan, np.inf])
def test_where_there_is_nothing_to_go_by_the_step_is_the_qualitys(error):
    assert stepping.coarser(error, np.full(8, 3.0), 192) == 0


@given(st.floats(0.02, 1e6), st.floats(-10, 20), st.integers(32, 256))
def test_a_coarser_step_leaves_room_for_the_promise(error, typical, log):
    units = stepping.coarser(error, np.full(8, typical), log)
    allowed = 2 * step_size(log) ** 2 / 12
    # Twice the expected error, which grows with the square of the step at most.
    assert units <= 0 or 2 * error * 2 ** (units / 4) <= allowed * 2 ** (1 / 8 + 1e-9)


@pytest.mark.parametrize("quality", [50, 75, 90, 97])
def test_a_busy_photograph_keeps_the_promise_at_its_step(quality):
    payload = pyramid().encode([photograph("stream")[100:292, 100:292]], quality)[0]
    decoded = pyramid().decode([payload], (192, 192, 3), quality)[0]
    assert psnr(photograph("stream")[100:292, 100:292], decoded) >= default_promise(quality)


def test_flat_images_and_odd_sizes_have_the_step_of_others():
    flat = np.full((1, 1, 3), 200, np.uint8)
    even, odd = images()[1][:128, :128], images()[1][:129, :129]
    one, two, three = (coded_with(x) for x in pyramid().encode([flat, even, odd], 75))
    assert one == 0 and abs(two - three) <= 1


def test_blank_pages_do_not_change_what_is_typical():
    blank = [np.full((64, 64, 3), 255, np.uint8)] * 9
    among = Pyramid.start([*blank, *images()], 75, np.random.default_rng(0))
    alone, among = (x.parameters["typical"] for x in (pyramid(), among))
    np.testing.assert_allclose(among, alone, atol=0.1)
    other = pyramid().adapted([images()[0]], 75)
    assert (other.parameters["typical"][4:] < alone[4:]).all()


@pytest.mark.parametrize("quality", [30, 60, 85])
def test_the_error_is_about_what_is_expected(quality):
    """About the same share of what is expected in every image that is not all noise."""
    ratios = []
    for pixels in images()[1:]:
        payload = pyramid().encode([pixels], quality)[0]
        decoded = pyramid().decode([payload], pixels.shape, quality)[0]
        log = stepping.own_step(log_step(quality), coded_with(payload))
        error = np.mean((pixels.astype(float) - decoded) ** 2)
        planes = pyramid()._to_planes(pixels, log)
        ratios.append(error / pyramid()._expected_errors(planes, [log])[0])
    assert max(ratios) < 1.5 * min(ratios)


def test_equal_bytes_bring_a_better_mean_psnr(monkeypatch):
    def point(quality: int) -> tuple[float, float]:
        """(mean PSNR, log of the bytes in all)."""
        payloads = pyramid().encode(images(), quality)
        decoded = pyramid().decode(payloads, images()[0].shape, quality)
        db = [psnr(a, b) for a, b in zip(images(), decoded, strict=True)]
        return float(np.mean(db)), float(np.log(sum(map(len, payloads))))

    db, size = point(50)
    monkeypatch.setattr(stepping, "coarser", lambda *_: 0)
    same = sorted(point(quality) for quality in (20, 35, 50, 65))
    assert same[0][0] < db < same[-1][0]
    assert size < np.interp(db, *zip(*same, strict=True)) - 0.02
