"""The range coder (constriction's), and the raw bits that travel beside it.

One payload holds both, with no length field: range-coded bytes from the front, raw bits from the
back (the layout of Opus, RFC 6716, sec. 4.1). Rows of an archive are short, so the range coder's
flush is replaced by the shortest byte string that still names the final interval.
"""

from __future__ import annotations

import constriction
import numpy as np
from numpy.typing import NDArray

from aezip.entropy.laplace import RADIUS, Rows
from aezip.errors import ArchiveError

_FAMILY = constriction.stream.model.Categorical(perfect=False)
_STATE_BITS = 64
ESCAPE = 2 * RADIUS + 1
_LIMIT = 1 << 24  # |latent| stays below, exact in float32
_LONGEST_GAMMA = 24  # zeros before an escape's excess, which stays below 2**25

Integers = NDArray[np.integer]


class Encoder:
    """Collects symbols with their frequencies, then gives the payload."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()
        self._raw_values: list[Integers] = []
        self._raw_widths: list[Integers] = []

    def encode(self, values: Integers, rows: Rows) -> None:
        """Code n latents; `values` (n,) int. Their raw bits follow as `Decoder.decode` reads
        them: the escapes of this call in order, then the low bits of this call in order."""
        self.encode_steps(values, rows, np.zeros(len(values), np.int64))

    def encode_steps(self, values: Integers, rows: Rows, steps: Integers) -> None:
        """Code n latents that will be decoded by several calls: latent i by call `steps[i]`,
        ascending. Raises ValueError for a latent of 2**24 or more."""
        offset = (values.astype(np.int64) - rows.base) >> rows.shift
        escaped = np.abs(offset) > RADIUS
        if not _in_range(values[escaped]):
            raise ValueError("a latent is out of the coder's range")
        symbols = np.where(escaped, ESCAPE, offset + RADIUS).astype(np.int32)
        self._coder.encode(symbols, _FAMILY, rows.frequencies)
        wide = np.flatnonzero(rows.shift)
        far = np.flatnonzero(escaped)
        if not len(wide) and not len(far):
            return
        shift = rows.shift[wide]
        low = (values[wide].astype(np.int64) - rows.base[wide]) & ((1 << shift) - 1)
        excess = np.abs(offset[far]) - RADIUS
        gamma = 2 * np.frexp(excess.astype(np.float64))[1].astype(np.int64) - 1
        sign = (offset[far] < 0).astype(np.int64)
        # Stable, so that within a step the escapes stay before the low bits.
        order = np.argsort(np.concatenate([steps[far], steps[wide]]), kind="stable")
        self._raw_values.append(np.concatenate([sign << gamma | excess, low])[order])
        self._raw_widths.append(np.concatenate([gamma + 1, shift])[order])

    def finish(self) -> bytes:
        """The payload of everything encoded so far."""
        raw = b""
        if self._raw_widths:
            raw = _pack(np.concatenate(self._raw_values), np.concatenate(self._raw_widths))
        return self._shortest(followed=bool(raw)) + raw[::-1]

    def _shortest(self, followed: bool) -> bytes:
        """The fewest bytes that decode to what was encoded, if zeros follow them (or, when
        `followed`, whatever follows them)."""
        if self._coder.is_empty():
            return b""
        words, (lower, span) = self._coder.pos()
        sealed = self._coder.get_compressed().astype(">u4").tobytes()
        prefix = int.from_bytes(sealed[: 4 * words], "big")
        # constriction seals with lower + 2**32 - 1; where that overflows, its carry is already
        # in the prefix.
        if lower + (1 << 32) - 1 >= 1 << _STATE_BITS:
            prefix -= 1
        low = (prefix << _STATE_BITS) + lower
        for size in range(_STATE_BITS // 8 + 1):
            unit = 1 << (_STATE_BITS - 8 * size)
            value = -(-low // unit)
            last = value * unit + (unit if followed else 1)
            if last <= low + span:
                data = value.to_bytes(4 * words + size, "big")
                return data if followed else data.rstrip(b"\0")
        raise AssertionError("the range coder's interval is empty")


class Decoder:
    """Reads a payload back, call by call as it was encoded."""

    def __init__(self, payload: bytes) -> None:
        padded = payload + bytes(-len(payload) % 4 + 8)
        words = np.frombuffer(padded, ">u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)
        self._payload = payload
        self._bits: NDArray[np.uint8] | None = None
        self._at = 0

    def decode(self, rows: Rows) -> Integers:
        """The next n latents, int64 (n,), given their frequencies.

        Raises ArchiveError where the payload cannot have been written by `Encoder`.
        """
        try:
            symbols = self._coder.decode(_FAMILY, rows.frequencies)
        except (AssertionError, ValueError) as error:
            raise ArchiveError("the latents are damaged: not a valid range code") from error
        offset = symbols.astype(np.int64) - RADIUS
        far = np.flatnonzero(symbols == ESCAPE)
        for i in far:
            offset[i] = self._escape()
        if rows.shift.any():
            wide = np.flatnonzero(rows.shift)
            offset <<= rows.shift
            offset[wide] += self._low_bits(rows.shift[wide])
        values = offset + rows.base
        if not _in_range(values[far]):
            raise ArchiveError("the latents are damaged: a value is out of range")
        return values

    def _raw(self, count: int) -> NDArray[np.uint8]:
        if self._bits is None:
            self._bits = np.unpackbits(np.frombuffer(self._payload[::-1], np.uint8))
        if self._at + count > len(self._bits):
            raise ArchiveError("the latents are damaged: they end too early")
        self._at += count
        return self._bits[self._at - count : self._at]

    def _escape(self) -> int:
        negative = self._raw(1)[0]
        zeros = 0
        while not self._raw(1)[0]:
            zeros += 1
            if zeros > _LONGEST_GAMMA:
                raise ArchiveError("the latents are damaged: a value is out of range")
        excess = 1
        for bit in self._raw(zeros):
            excess = excess << 1 | int(bit)
        return -(excess + RADIUS) if negative else excess + RADIUS

    def _low_bits(self, widths: Integers) -> Integers:
        bits = self._raw(int(widths.sum()))
        ends = np.cumsum(widths)
        values = np.zeros(len(widths), np.int64)
        for place in range(int(widths.max())):
            has = widths > place
            values[has] |= bits[ends[has] - 1 - place].astype(np.int64) << place
        return values


def _in_range(escapes: Integers) -> bool:
    """Whether these latents can be coded. One that is no escape always can."""
    return not len(escapes) or int(np.abs(escapes).max()) < _LIMIT


def _pack(values: Integers, widths: Integers) -> bytes:
    """Values as bits, each in its own width, first value first, most significant bit first."""
    ends = np.cumsum(widths)
    bits = np.zeros(int(ends[-1]), np.uint8)
    for place in range(int(widths.max())):
        has = widths > place
        bits[ends[has] - 1 - place] = values[has] >> place & 1
    return np.packbits(bits).tobytes()
