from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aezip.entropy.coder import ESCAPE, Decoder, Encoder
from aezip.entropy.laplace import (
    RADIUS,
    SYMBOLS,
    GridParameters,
    Rows,
    coded_bits,
    frequency_rows,
)
from aezip.errors import ArchiveError

LARGEST = 2**24 - 1


def rows_of(*parameters) -> Rows:
    """centre, log_scale, spread and weight, in grid steps."""
    return frequency_rows(GridParameters(*map(np.asarray, parameters)))


def some_rows(count: int, seed: int, widest: int = 80) -> Rows:
    """Of all kinds; `widest` log_scale in eighths of an octave, above 16 with raw low bits."""
    rng = np.random.default_rng(seed)
    return rows_of(
        rng.integers(-100, 101, count),
        rng.integers(-32, widest + 1, count),
        rng.integers(0, 25, count),
        rng.integers(0, 17, count),
    )


def part(rows: Rows, which: slice | np.ndarray) -> Rows:
    return Rows(*(x[which] for x in rows))


def drawn(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """A latent from each of the distributions, now and then an escape."""
    below = np.cumsum(rows.frequencies, axis=1, dtype=np.float64)
    symbols = (below <= rng.random((len(below), 1)) * below[:, -1:]).sum(axis=1)
    offset = symbols - RADIUS
    far = rng.choice([-1, 1], len(below)) * (RADIUS + rng.geometric(0.1, len(below)))
    offset = np.where(symbols == ESCAPE, far, offset)
    return rows.base + (offset << rows.shift) + rng.integers(0, 1 << rows.shift)


def encoded(values: np.ndarray, rows: Rows) -> bytes:
    encoder = Encoder()
    encoder.encode(values, rows)
    return encoder.finish()


# --- what is encoded is decoded ---

LATENTS = st.one_of(
    st.integers(-12, 12), st.integers(-3000, 3000), st.integers(-LARGEST, LARGEST)
)


@given(st.lists(LATENTS, max_size=40), st.integers(0, 999), st.sampled_from([16, 80]))
def test_round_trip(values, seed, widest):
    values = np.array(values, np.int64)
    rows = some_rows(len(values), seed, widest)
    found = Decoder(encoded(values, rows)).decode(rows)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, values)


@given(st.lists(st.lists(LATENTS, max_size=8), max_size=6), st.integers(0, 99), st.booleans())
def test_several_calls(calls, seed, at_once):
    values = np.array([value for call in calls for value in call], np.int64)
    rows = some_rows(len(values), seed)
    steps = np.repeat(np.arange(len(calls)), [len(call) for call in calls])
    encoder = Encoder()
    if at_once:
        encoder.encode_steps(values, rows, steps)
    else:
        for step in range(len(calls)):
            encoder.encode(values[steps == step], part(rows, steps == step))
    payload = encoder.finish()
    decoder = Decoder(payload)
    for step, call in enumerate(calls):
        assert decoder.decode(part(rows, steps == step)).tolist() == call
    if not at_once:
        # The same bytes, however many steps one call encodes.
        encoder = Encoder()
        encoder.encode_steps(values, rows, steps)
        assert encoder.finish() == payload


def test_steps_encoded_in_parts():
    rows = some_rows(900, 1)
    values = drawn(rows, np.random.default_rng(1)).astype(np.int32)
    steps = np.sort(np.random.default_rng(2).integers(0, 50, 900))
    steps[400:600] = steps[400]  # the first call ends within a step without raw bits left over
    whole = Encoder()
    whole.encode_steps(values, rows, steps)
    decoder = Decoder(whole.finish())
    for step in np.unique(steps):
        here = steps == step
        np.testing.assert_array_equal(decoder.decode(part(rows, here)), values[here])


def test_values_are_left_alone():
    rows = some_rows(100, 1)
    values = drawn(rows, np.random.default_rng(1))
    before = values.copy(), *(x.copy() for x in rows)
    payload = encoded(values, rows)
    Decoder(payload).decode(rows)
    for one, other in zip((values, *rows), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_integers_of_any_width(dtype):
    rows = some_rows(50, 3)
    values = np.arange(-25, 25).astype(dtype)
    np.testing.assert_array_equal(Decoder(encoded(values, rows)).decode(rows), values)


def test_the_largest_latents():
    for log_scale in (-32, 16, 17, 80):
        for centre in (-(1 << 19), 0, 1 << 19):
            rows = rows_of([centre] * 2, [log_scale] * 2, [0] * 2, [16] * 2)
            values = np.array([-LARGEST, LARGEST])
            np.testing.assert_array_equal(Decoder(encoded(values, rows)).decode(rows), values)


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, 2**40, -(2**62)])
@pytest.mark.parametrize("log_scale", [0, 80])
def test_larger_latents_are_refused(value, log_scale):
    encoder = Encoder()
    rows = rows_of([0], [log_scale], [0], [16])
    with pytest.raises(ValueError, match="out of the coder's range"):
        encoder.encode(np.array([value]), rows)
    assert encoder.finish() == b""


def test_nothing_takes_no_bytes():
    assert Encoder().finish() == b""
    nothing = some_rows(0, 1)
    assert encoded(np.zeros(0, np.int64), nothing) == b""
    assert Decoder(b"").decode(nothing).shape == (0,)
    assert Decoder(b"abc").decode(nothing).shape == (0,)


def test_the_likeliest_latents_take_next_to_nothing():
    rows = rows_of([0] * 1000, [-32] * 1000, [0] * 1000, [16] * 1000)
    assert len(encoded(np.zeros(1000, np.int64), rows)) <= 2


def test_payloads_never_change():
    # Another library version that gives other bytes cannot read the archives of this one.
    rng = np.random.default_rng(5)
    rows = part(some_rows(600, 4), np.argsort(rng.random(600)))
    payload = encoded(rng.integers(-2000, 2001, 600), rows)
    narrow = some_rows(3000, 5, widest=16)
    payload += encoded(drawn(narrow, rng), narrow)
    digest = hashlib.sha256(payload).hexdigest()
    assert digest == "1a9f3bb03af2dfa7d9557c38e9d63df8eb89d50b78c2591fd0866b68f4ce7b8c"


# --- how long the code is ---


@pytest.mark.parametrize("widest", [0, 16, 80])
def test_the_code_is_as_long_as_it_should_be(widest):
    rows = some_rows(20_000, 6, widest)
    values = drawn(rows, np.random.default_rng(7))
    ideal = coded_bits(values, rows).astype(np.float64).sum() / 8
    payload = encoded(values, rows)
    assert ideal - 1 <= len(payload) <= 1.01 * ideal + 3
    # Closer than that: the range coder itself wastes a few bytes in a hundred thousand.
    assert len(payload) <= 1.0005 * ideal + 3


def test_short_messages_waste_less_than_a_byte():
    rng = np.random.default_rng(8)
    every = some_rows(3000, 9, widest=16)
    waste = []
    for start in range(0, 3000, 15):
        rows = part(every, slice(start, start + 15))
        values = drawn(rows, rng)
        ideal = coded_bits(values, rows).astype(np.float64).sum() / 8
        waste.append(len(encoded(values, rows)) - ideal)
    assert max(waste) < 2.5 and np.mean(waste) < 0.8


def test_the_shortest_ending_is_decoded():
    rng = np.random.default_rng(10)
    narrow, wide = some_rows(400, 11, widest=16), some_rows(400, 12)
    for _ in range(3000):
        which = rng.integers(0, 400, rng.integers(1, 30))
        rows = part(narrow if rng.random() < 0.5 else wide, which)
        values = drawn(rows, rng)
        np.testing.assert_array_equal(Decoder(encoded(values, rows)).decode(rows), values)


def plain(values: np.ndarray, rows: Rows) -> bool:
    """Whether the values take no raw bits."""
    return not rows.shift.any() and bool((np.abs(values - rows.base) <= RADIUS).all())


def test_there_is_no_shorter_ending():
    # Bytes that decode to some values are an ending for these values. Those of few bits lie on
    # the boundaries of the coder's words, where it has to wait for a carry.
    rng = np.random.default_rng(13)
    every = some_rows(400, 14, widest=16)
    starts = [b"\x80", b"\x40", b"\0\0\0\1", b"\x80\0\0\0\x80", b"1234", b"\0" * 7 + b"\1"]
    lengths = []
    for count in range(2000):
        rows = part(every, rng.integers(0, 400, rng.integers(1, 60)))
        start = starts[count % 12] if count % 12 < len(starts) else rng.bytes(rng.integers(0, 12))
        try:
            values = Decoder(start).decode(rows)
        except ArchiveError:
            continue
        if plain(values, rows):
            payload = encoded(values, rows)
            assert len(payload) <= len(start.rstrip(b"\0"))
            np.testing.assert_array_equal(Decoder(payload).decode(rows), values)
            lengths.append(len(payload))
    assert len(lengths) > 500 and {0, 1, 4, 8} <= set(lengths)


def test_no_ending_disturbs_the_raw_bits_behind_it():
    # The same boundaries, with a raw byte of ones right behind.
    rng = np.random.default_rng(15)
    every = some_rows(400, 16, widest=16)
    last = rows_of([0], [80], [0], [16])
    ones = last.base + (1 << last.shift) - 1
    assert last.shift == 8
    checked = 0
    for count in range(2000):
        narrow = part(every, rng.integers(0, 400, rng.integers(1, 60)))
        start = (b"\x80", b"\0\0\0\1", b"\x80\0\0\0\x80", rng.bytes(9))[count % 4]
        try:
            values = np.append(Decoder(start).decode(narrow), ones)
        except ArchiveError:
            continue
        rows = Rows(*map(np.concatenate, zip(narrow, last, strict=True)))
        payload = encoded(values, rows)
        np.testing.assert_array_equal(Decoder(payload).decode(rows), values)
        checked += payload.endswith(b"\xff")
    assert checked > 500


# --- payloads that are none ---


@given(st.binary(max_size=60), st.integers(0, 999), st.integers(0, 60), st.sampled_from([16, 80]))
@settings(max_examples=300)
def test_any_bytes_decode_or_are_refused(payload, seed, count, widest):
    rows = some_rows(count, seed, widest)
    decoder = Decoder(payload)
    for half in (slice(count // 2), slice(count // 2, None)):
        try:
            values = decoder.decode(part(rows, half))
        except ArchiveError as error:
            assert str(error).startswith("the latents are damaged: ")
            return
        assert values.dtype == np.int64 and len(values) == len(rows.base[half])
        assert (np.abs(values) <= LARGEST).all()


def test_random_bytes_are_refused_for_different_reasons():
    rng = np.random.default_rng(17)
    # Nothing but escapes, nearly: the wide component alone.
    rows = rows_of([0] * 50, [16] * 50, [24] * 50, [0] * 50)
    said = set()
    for count in range(500):
        payload = rng.bytes(rng.integers(60)) + (bytes(12) if count % 2 else b"")
        try:
            Decoder(payload).decode(rows)
        except ArchiveError as error:
            said.add(str(error))
    assert {x.removeprefix("the latents are damaged: ") for x in said} == {
        "they end too early",
        "a value is out of range",
        "not a valid range code",
    }


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_payload_cut_short(cut):
    rows = some_rows(200, 18)
    values = drawn(rows, np.random.default_rng(19))
    payload = encoded(values, rows)
    try:
        found = Decoder(payload[:-cut]).decode(rows)
    except ArchiveError:
        return
    assert (found != values).any()


def test_values_beyond_the_encoders_are_refused():
    # 24 zeros and a one announce an escape of 2**24; raw bits are read from the end.
    rows = Rows(*(x[:1] for x in rows_of([0], [80], [0], [16])))
    certain = np.full((1, SYMBOLS), 1, np.float32)
    certain[0, ESCAPE] = 2**20 - SYMBOLS + 1
    rows = rows._replace(frequencies=certain)
    for zeros, message in ((24, "out of range"), (25, "out of range"), (60, "out of range")):
        bits = "0" + "0" * zeros + "1" + "0" * 40
        raw = int(bits.ljust(120, "0"), 2).to_bytes(15, "big")
        with pytest.raises(ArchiveError, match=message):
            Decoder(b"\x80" + bytes(12) + raw[::-1]).decode(rows)
