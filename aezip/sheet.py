"""The contact sheet: images of an archive, under them what they take, above them the originals."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aezip import display, images
from aezip.archive import Archive
from aezip.errors import ArchiveError, ImageError
from aezip.metrics import psnr
from aezip.originals import read_original
from aezip.storage.files import one_line
from aezip.storage.rows import Head

_SMALL = 96  # pixels a side up to which images are enlarged, each pixel a square
_TILE = 112  # about the side of a small image as drawn
_HEIGHT = 220  # of a larger one
_COLUMNS = {True: 10, False: 4}  # of small images, of larger ones
_NARROWEST = 84  # room for the text
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
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[tuple[str, str]]]:
    """Draw images of an archive as one picture.

    rows: their numbers; by default some, spread over all, where the next one stands in for one
    that is damaged. against: the folder of the originals, which then stand above the images, with
    the PSNR below them. Bytes are those of the rows in the CSV. progress: called with (images
    done, images in all).

    Returns how many were drawn, and (row, why not) for each that is damaged. Raises AezipError for
    a missing original, or where nothing can be drawn or written.
    """
    heads = archive.heads()
    if rows is None:
        places = [*chosen(archive), len(heads)]
        candidates = [range(*ends) for ends in pairwise(places)]
    else:
        candidates = [range(number, number + 1) for number in rows]
    entries: list[_Entry] = []
    failed: list[tuple[str, str]] = []
    for done, numbers in enumerate(candidates, 1):
        for number in numbers:
            try:
                entries.append(_entry(archive, number, heads[number], against))
                break
            except ArchiveError as error:
                failed.append((f"row {number}", str(error)))
        if progress is not None:
            progress(done, len(candidates))
    if not entries:
        raise ArchiveError(failed[0][1] if failed else f"{one_line(archive.path)} has no rows")
    images.write(_draw(entries), path)
    return len(entries), failed


def _entry(
    archive: Archive,
    number: int,
    head: Head | ArchiveError,
    against: str | os.PathLike[str] | None,
) -> _Entry:
    row = archive.row(number)
    if isinstance(head, ArchiveError):
        raise head
    size = f"{head.size:,} bytes"
    decoded = archive.decode(row)
    if against is None:
        return _Entry(decoded, None, [size])
    original = read_original(against, row.name)
    if original.size != decoded.size or original.mode != decoded.mode:
        raise ImageError(f"{one_line(Path(against) / row.name)} is not the image of row {number}")
    db = psnr(images.to_array(original), images.to_array(decoded))
    return _Entry(decoded, original, ["exact" if math.isinf(db) else f"{db:.1f} dB", size])


def _draw(entries: Sequence[_Entry]) -> Image.Image:
    """Lines of images: small ones enlarged by one whole factor, larger ones of one height."""
    small = all(max(x.decoded.size) <= _SMALL for x in entries)
    pairs = entries[0].original is not None
    largest = max(max(x.decoded.size) for x in entries)
    factor = max(1, round(_TILE / largest))
    sizes = [
        (x.decoded.width * factor, x.decoded.height * factor) if small else _in_line(x.decoded)
        for x in entries
    ]
    columns = _COLUMNS[small]
    lines = [range(i, min(i + columns, len(entries))) for i in range(0, len(entries), columns)]
    left = _MARGIN + (_LABEL if pairs else 0)
    widths = [max(w, _NARROWEST) for w, _ in sizes]
    heights = [max(sizes[i][1] for i in line) for line in lines]
    text = _LINE * len(entries[0].texts) + 6
    total = sum((2 if pairs else 1) * h + (_GAP if pairs else 0) + text + _GAP for h in heights)
    broadest = max(sum(widths[i] + _GAP for i in line) for line in lines)
    page = Image.new(
        "RGB", (left + broadest - _GAP + _MARGIN, total + 2 * _MARGIN - _GAP), "white"
    )
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT)
    y = _MARGIN
    for line, height in zip(lines, heights, strict=True):
        tops = (y, y + height + _GAP) if pairs else (y,)
        if pairs:
            for top, label in zip(tops, ("original", "aezip"), strict=True):
                pen.text((_MARGIN, top + height // 2), label, _INK, font, anchor="lm")
        x = left
        for number in line:
            entry, (w, h) = entries[number], sizes[number]
            for top, image in zip(tops, filter(None, (entry.original, entry.decoded)), strict=True):
                place = x + (widths[number] - w) // 2, top + (height - h) // 2
                page.paste(_scaled(image, (w, h)), place)
            for at, words in enumerate(entry.texts):
                where = x + widths[number] // 2, tops[-1] + height + 4 + at * _LINE
                pen.text(where, words, _INK if at == 0 else _QUIET, font, anchor="ma")
            x += widths[number] + _GAP
        y = tops[-1] + height + text + _GAP
    return page


def _in_line(image: Image.Image) -> tuple[int, int]:
    """The size at which a larger image is drawn: of the lines' height, unless it is very broad."""
    scale = min(1.0, _HEIGHT / image.height, 2 * _HEIGHT / image.width)
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    opaque = display.opaque(image)
    larger = size[0] >= image.width
    how = Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS
    return opaque if opaque.size == size else opaque.resize(size, how)
