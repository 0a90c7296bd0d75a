"""The contact sheet: images of an archive, under them what they take, above them the originals."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aezip import display, images
from aezip.archive import Archive
from aezip.errors import ArchiveError, ImageError
from aezip.metrics import psnr
from aezip.storage.files import one_line

_SMALL = 96  # pixels a side up to which images are enlarged, each pixel a square
_CELL = {True: 112, False: 300}  # about the side of an image as drawn: small ones, larger ones
_COLUMNS = {True: 10, False: 4}
_GAP = 8
_MARGIN = 16
_LABEL = 78  # pixels on the left for what the lines are
_FONT = 15
_LINE = 20
_INK, _QUIET = (30, 30, 28), (110, 110, 104)


class _Entry(NamedTuple):
    decoded: Image.Image
    original: Image.Image | None
    texts: list[str]


def chosen(archive: Archive) -> list[int]:
    """The rows of a sheet unless one says otherwise: one line of them, spread over the archive."""
    heads = [x for x in archive.heads() if not isinstance(x, ArchiveError)]
    small = all(max(x.width, x.height) <= _SMALL for x in heads)
    count = min(len(archive), _COLUMNS[small])
    return np.linspace(0, len(archive) - 1, count).round().astype(int).tolist() if count else []


def sheet(
    archive: Archive,
    path: str | os.PathLike[str],
    *,
    rows: Sequence[int] | None = None,
    against: str | os.PathLike[str] | None = None,
) -> int:
    """Draw images of an archive as one picture, and return how many.

    rows: their numbers. against: the folder of the originals, which then stand above the images,
    with the PSNR below them. Bytes are those of the rows in the CSV.

    Raises AezipError for a damaged row, a missing original, or where nothing can be written.
    """
    numbers = chosen(archive) if rows is None else list(rows)
    if not numbers:
        raise ArchiveError(f"{one_line(archive.path)} has no rows to draw")
    heads = archive.heads()
    entries = [_entry(archive, number, heads[number], against) for number in numbers]
    images.write(_draw(entries), path)
    return len(entries)


def _entry(
    archive: Archive, number: int, head: object, against: str | os.PathLike[str] | None
) -> _Entry:
    row = archive.row(number)
    size = getattr(head, "size", len(row.latents))
    decoded = archive.decode(row)
    if against is None:
        return _Entry(decoded, None, [f"{size:,} bytes"])
    original = images.read(Path(against) / row.name)
    if original.size != decoded.size or original.mode != decoded.mode:
        raise ImageError(f"{one_line(Path(against) / row.name)} is not the image of row {number}")
    db = psnr(images.to_array(original), images.to_array(decoded))
    return _Entry(
        decoded, original, ["exact" if math.isinf(db) else f"{db:.1f} dB", f"{size:,} bytes"]
    )


def _draw(entries: Sequence[_Entry]) -> Image.Image:
    small = all(max(x.decoded.size) <= _SMALL for x in entries)
    largest = max(max(x.decoded.size) for x in entries)
    scale = max(1, round(_CELL[small] / largest)) if small else min(1.0, _CELL[small] / largest)
    sizes = [tuple(max(1, round(n * scale)) for n in x.decoded.size) for x in entries]
    columns = min(_COLUMNS[small], len(entries))
    width = max(76, *(w for w, _ in sizes))
    pairs = entries[0].original is not None
    left = _MARGIN + (_LABEL if pairs else 0)
    lines = [range(i, min(i + columns, len(entries))) for i in range(0, len(entries), columns)]
    heights = [max(sizes[i][1] for i in line) for line in lines]
    text = _LINE * len(entries[0].texts) + 6
    total = sum((2 if pairs else 1) * h + (_GAP if pairs else 0) + text + _GAP for h in heights)
    page = Image.new(
        "RGB",
        (left + columns * (width + _GAP) - _GAP + _MARGIN, total + 2 * _MARGIN - _GAP),
        "white",
    )
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT)
    y = _MARGIN
    for line, height in zip(lines, heights, strict=True):
        tops = (y, y + height + _GAP) if pairs else (y,)
        if pairs:
            for top, label in zip(tops, ("original", "aezip"), strict=True):
                pen.text((_MARGIN, top + height // 2), label, _INK, font, anchor="lm")
        for column, number in enumerate(line):
            entry, (w, h) = entries[number], sizes[number]
            x = left + column * (width + _GAP)
            shown = (entry.original, entry.decoded) if pairs else (entry.decoded,)
            for top, image in zip(tops, shown, strict=True):
                assert image is not None
                place = x + (width - w) // 2, top + (height - h) // 2
                page.paste(_scaled(image, (w, h)), place)
            for at, words in enumerate(entry.texts):
                where = x + width // 2, tops[-1] + height + 4 + at * _LINE
                colour = _INK if at == 0 else _QUIET
                pen.text(where, words, colour, font, anchor="ma")
        y = tops[-1] + height + text + _GAP
    return page


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    opaque = display.opaque(image)
    larger = size[0] >= image.width
    how = Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS
    return opaque if opaque.size == size else opaque.resize(size, how)
