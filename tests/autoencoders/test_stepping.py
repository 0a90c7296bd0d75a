"""The step that each image is coded with."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import photograph

from aezip.autoencoders import Pyramid, stepping
from aezip.autoencoders.base import log_step
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
def test_a_step_stays_within_what_networks_know(log, units):
    assert 0 <= stepping.own(log, units) <= 256
    assert stepping.own(128, units) == 128 + 4 * units


@pytest.mark.parametrize("quality", [25, 50, 75])
def test_quiet_images_get_finer_steps_and_busy_ones_coarser(quality):
    quiet, usual, busy = (coded_with(x) for x in pyramid().encode(images(), quality))
    assert quiet < usual == 0 < busy


def test_the_step_grows_with_the_root_of_the_error():
    typical = np.full(8, 3.0)
    assert stepping.coarser(8.0, typical, 100) == 0
    assert stepping.coarser(16.0, typical, 100) == 4  # half an octave, in eighths
    assert stepping.coarser(4.0, typical, 100) == -4
    assert stepping.coarser(0.0, typical, 100) == -8
    assert stepping.coarser(1e6, typical, 100) == 6


@pytest.mark.parametrize("quality", [30, 60, 85])
def test_the_error_is_about_what_is_expected(quality):
    """The same share of what is expected in every image."""
    ratios = []
    for pixels in images()[1:]:
        payload = pyramid().encode([pixels], quality)[0]
        decoded = pyramid().decode([payload], pixels.shape, quality)[0]
        log = stepping.own(log_step(quality), coded_with(payload))
        error = np.mean((pixels.astype(float) - decoded) ** 2)
        ratios.append(error / pyramid()._expected_errors(pixels, [log])[0])
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
