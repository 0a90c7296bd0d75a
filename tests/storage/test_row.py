import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aezip.errors import AezipError, ArchiveError
from aezip.storage.limits import limit
from aezip.storage.row import (
    EXACT,
    MODES,
    Row,
    checksum,
    default_cells,
    expanded,
    from_cells,
    pack,
    time_of,
    to_cells,
    unpack,
)

DECODER = "0123456789abcdef"
ROW = Row("a/b.png", 3, 2, "LA", EXACT, b"latents", -5, "0a1b2c3d", zlib.compress(b"MM\0*"))
ROWS = st.builds(
    Row, st.text(min_size=1), st.integers(1, 9_999_999), st.integers(1, 9_999_999),
    st.sampled_from(MODES), st.integers(0, 999), st.binary(max_size=60),
    st.none() | st.integers(-(10**12), 10**12),
    st.just("") | st.from_regex("[0-9a-f]{8}", fullmatch=True), st.binary(max_size=40),
)  # fmt: skip


def test_a_row_as_bytes_is_what_the_docs_say():
    name, exif = b"a/b.png", ROW.exif
    head = struct.pack("<I", 7) + struct.pack("<II", 3, 2) + struct.pack("<H", 101) + b"\1"
    head += struct.pack("<q", -5) + b"\x08" + struct.pack("<I", len(exif))
    assert pack(ROW) == head + name + b"0a1b2c3d" + exif + b"latents"
    assert checksum(pack(ROW), DECODER) == zlib.crc32(DECODER.encode() + pack(ROW)).to_bytes(4)


@given(ROWS)
def test_bytes_and_back(row):
    assert unpack(pack(row)) == row


@given(ROWS, st.sampled_from([{}, default_cells(3, 2, "LA", EXACT, 77, "0a1b2c3d"),
                              default_cells(1, 1, "L", 50)]))  # fmt: skip
def test_cells_and_back(row, defaults):
    cells, check = to_cells(row, DECODER, defaults)
    assert all(cells.values()) and check == checksum(pack(row), DECODER)
    assert from_cells(lambda title: cells.get(title, ""), DECODER, defaults) == row


def test_cells_as_they_are():
    cells, _ = to_cells(ROW, DECODER, default_cells(9, 9, "L", 50, 100))
    assert (cells["size"], cells["mode"], cells["quality"]) == ("3x2", "LA", "exact")
    assert (cells["time"], cells["profile"]) == ("t-105", "icc_0a1b2c3d")
    alike = default_cells(3, 2, "LA", EXACT, -5, "0a1b2c3d")
    assert set(to_cells(ROW, DECODER, alike)[0]) == {"name", "checksum", "latents", "exif"}
    cells, _ = to_cells(replace(ROW, modified=None, profile=""), DECODER, alike)
    assert (cells["time"], cells["profile"]) == ("t", "icc_none")


@pytest.mark.parametrize(
    "changed",
    [{"modified": -6}, {"modified": None}, {"profile": "0a1b2c3e"}, {"profile": ""},
     {"exif": b""}, {"quality": 100}, {"latents": b"latent"}, {"name": "a/b.pn"}],
)  # fmt: skip
def test_everything_is_covered_by_the_checksum(changed):
    one, _ = to_cells(ROW, DECODER, {})
    other, _ = to_cells(replace(ROW, **changed), DECODER, {})
    mixed = {**other, "checksum": one["checksum"]}
    with pytest.raises(ArchiveError, match="its checksum does not match"):
        from_cells(lambda title: mixed.get(title, ""), DECODER, {})


@pytest.mark.parametrize(
    ("title", "cell", "says"),
    [("time", "5", "when the image was modified"), ("time", "t1.5", "when the image was modified"),
     ("profile", "icc_xyz", "colour profile"), ("quality", "q", "size, mode and quality"),
     ("quality", "Exact", "size, mode and quality")],
)  # fmt: skip
def test_cells_that_say_nothing(title, cell, says):
    cells = {**to_cells(ROW, DECODER, {})[0], title: cell}
    with pytest.raises(ValueError, match=f"it does not say .*{says}"):
        from_cells(lambda x: cells.get(x, ""), DECODER, {})


@given(st.binary(max_size=80))
def test_bytes_that_are_no_row(data):
    try:
        row = unpack(data)
    except ArchiveError:
        return
    assert isinstance(row.latents, bytes) and row.mode in MODES


def test_metadata_that_expand_beyond_measure(monkeypatch):
    assert expanded(zlib.compress(b"abc")) == b"abc"
    bomb = zlib.compress(bytes(1 << 25))
    for data in (bomb, b"", b"abc", zlib.compress(b"abc")[:-1]):
        with pytest.raises(ArchiveError, match="its metadata"):
            expanded(data)
    monkeypatch.setenv("AEZIP_MAX_METADATA_BYTES", str(1 << 26))
    assert len(expanded(bomb)) == 1 << 25


def test_limits_are_numbers(monkeypatch):
    assert limit("MAX_PIXELS") == 178_956_970
    monkeypatch.setenv("AEZIP_MAX_PIXELS", "5")
    assert limit("MAX_PIXELS") == 5
    monkeypatch.setenv("AEZIP_MAX_PIXELS", "many")
    with pytest.raises(AezipError, match="AEZIP_MAX_PIXELS is no whole number"):
        limit("MAX_PIXELS")


def test_a_time_that_no_cell_holds_is_unknown():
    assert time_of(-1) == -1 and time_of(1_600_000_000_999_999_999) == 1_600_000_000
    assert time_of(10**14 * 10**9) is None and time_of(-(10**14) * 10**9) is None
    ends = [time_of(x * (10**12 - 1) * 10**9) for x in (-1, 1)]
    assert None not in ends
    for base in ends:
        defaults = default_cells(3, 2, "LA", EXACT, base)
        for time in (*ends, None, 0):
            row = replace(ROW, modified=time)
            cells, _ = to_cells(row, DECODER, defaults)
            assert from_cells(lambda x, cells=cells: cells.get(x, ""), DECODER, defaults) == row
