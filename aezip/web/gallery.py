"""Pictures of an archive as bytes that browsers show, decoded in processes of their own when they
are asked for, and kept for when they are asked for again."""

from __future__ import annotations

import base64
import io
import math
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from aezip import display, images, workers
from aezip.archive import Archive
from aezip.errors import AezipError, ArchiveError, ImageError
from aezip.metrics import psnr
from aezip.originals import original_path, read_original
from aezip.storage.files import one_line

SIDES = (128, 256, 512)
"""Longer sides of thumbnails in pixels: a page asks for the smallest that does."""

_THUMBNAILS = 20_000  # kept; a photograph's has about 10 KB
_TILES = 1000  # groups of small images kept, with about 30 KB each
_IMAGES = 8  # kept in full size, so that going back and forth is quick
TILES = 64
"""Small images that are sent in one answer."""

_LOSSLESS = 64 * 64  # pixels up to which a thumbnail is exact
_PROFILE = 4096  # bytes of a colour profile in a thumbnail
_MEASURED = 64  # images at most that are decoded and measured in one go
_MEASURED_PIXELS = 400_000

Task = tuple[str, Any]  # a method of _Worker, and what it is called with


class Picture(NamedTuple):
    """A file of an image type that every browser shows."""

    data: bytes
    mime: str

    @property
    def address(self) -> str:
        """A URL that holds it."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"


def thumbnail(image: Image.Image) -> Picture:
    """A picture to look at small: exact where it has few pixels, else as WebP. As in `exact`, the
    colour profile of the image's `info` goes into it."""
    if image.width * image.height <= _LOSSLESS:
        return exact(image)
    buffer = io.BytesIO()
    # WebP has no grey, and so no profiles of greys; and a large one would outweigh the picture.
    if image.mode in ("L", "LA") or len(_profile(image) or b"") > _PROFILE:
        image = display.in_srgb(image)
    image.save(buffer, "WEBP", quality=80, method=2, icc_profile=_profile(image))
    return Picture(buffer.getvalue(), "image/webp")


def exact(image: Image.Image) -> Picture:
    """A picture that shows every pixel as it is, and its colours as its profile has them."""
    buffer = io.BytesIO()
    # Hardly compressed: it only travels from one process to another.
    image.save(buffer, "PNG", compress_level=1, icc_profile=_profile(image))
    return Picture(buffer.getvalue(), "image/png")


def _profile(image: Image.Image) -> bytes | None:
    return image.info.get("icc_profile")


def describe(archive: Archive, originals: bool) -> dict[str, Any]:
    """What a page has to know of an archive before it shows anything; JSON can hold it.

    rows: [name, width, height, bytes in the CSV, mode, quality] each, or [why it is damaged].
    Raises ArchiveError where the archive cannot be read, or was changed.
    """
    rows = [
        [str(x)]
        if isinstance(x, ArchiveError)
        else [x.name, x.width, x.height, x.size, x.mode, x.quality]
        for x in archive.heads()
    ]
    state = os.stat(archive.path)
    return {
        "name": archive.path.name,
        "csvBytes": state.st_size,
        "decoderBytes": os.path.getsize(archive.decoder_path),
        "architecture": archive.decoder.arch,
        "originals": originals,
        "sides": SIDES,
        "version": f"{state.st_mtime_ns:x}-{zlib.crc32(os.fsencode(archive.path.resolve())):x}",
        "rows": rows,
    }


class Gallery:
    """What is shown of one archive. Its methods may be called from several threads at once.

    originals: where the images lie that the archive was made of, if they are still there.
    """

    def __init__(
        self,
        archive: Archive,
        originals: Path | None,
        run: Callable[[list[Task]], Iterator[Any]],
    ) -> None:
        self.archive = archive
        self.originals = originals
        self.thumbnail = lru_cache(_THUMBNAILS)(lambda *what: self._do("thumbnail", what))
        self.tiles = lru_cache(_TILES)(lambda *rows: self._do("tiles", list(rows)))
        self.image = lru_cache(_IMAGES)(lambda row: self._do("image", row))
        self.original = lru_cache(_IMAGES)(lambda row: self._do("original", row))
        self.psnr = lru_cache(None)(lambda row: self._do("psnr", [row])[0])
        self._run = run
        self._measured: dict[int, float | str | None] = {}
        self._measuring: threading.Thread | None = None
        self._starting = threading.Lock()
        self._wrong: AezipError | None = None
        self._closed = False

    def _do(self, task: str, argument: Any) -> Any:
        try:
            return next(self._run([(task, argument)]))
        except CancelledError:
            raise AezipError("aezip browse has ended") from None
        except BrokenProcessPool:
            raise AezipError(
                "a process that decodes was ended from outside (out of memory?); start again"
            ) from None

    def details(self, row: int) -> dict[str, Any]:
        """PSNR in dB ("exact" where nothing differs) and bytes of the original, or why there are
        none; nothing without originals."""
        if self.originals is None:
            return {}
        value = self.psnr(row)
        if isinstance(value, str):
            return {"missing": value}
        path = original_path(self.originals, self.archive.row(row).name)
        return {"psnr": _shown(value), "originalBytes": os.path.getsize(path)}

    def measured(self) -> dict[str, Any]:
        """The PSNR of each row as `details` has it: null where it cannot be measured, and "" where
        it was not yet. Asking for it sets the work going. Raises what has ended the work."""
        if self._wrong is not None:
            raise self._wrong
        with self._starting:
            if self._measuring is None and self.originals is not None:
                self._measuring = threading.Thread(target=self._measure_all, daemon=True)
                self._measuring.start()
        known = dict(self._measured)
        total = len(self.archive)
        return {
            "done": len(known) if self.originals is not None else total,
            "values": [known.get(row, "") for row in range(total)],
        }

    def _measure_all(self) -> None:
        try:
            self._measure_batches()
        except AezipError as error:
            self._wrong = error
        except RuntimeError:  # the processes are no longer there
            if not self._closed:
                raise

    def _measure_batches(self) -> None:
        # One batch at a time: other processes are left to those who look at pictures.
        batch: list[int] = []
        pixels = 0
        heads = self.archive.heads()
        for row, head in enumerate(heads):
            if isinstance(head, ArchiveError):
                self._measured[row] = None
            else:
                batch.append(row)
                pixels += head.width * head.height
            full = pixels >= _MEASURED_PIXELS or len(batch) == _MEASURED
            if batch and (full or row == len(heads) - 1):
                if self._closed:
                    return
                for number, value in zip(batch, self._do("psnr", batch), strict=True):
                    self._measured[number] = None if isinstance(value, str) else _shown(value)
                batch, pixels = [], 0

    def close(self) -> None:
        """No further work is begun."""
        self._closed = True


@contextmanager
def open_gallery(
    csv: str | os.PathLike[str], originals: str | os.PathLike[str] | None, jobs: int
) -> Iterator[Gallery]:
    """A gallery with `jobs` processes that decode for it. Raises AezipError where the archive
    cannot be opened, or the folder of originals is none."""
    archive = Archive(csv)
    folder = None if originals is None else Path(originals)
    if folder is not None and not folder.is_dir():
        raise ImageError(f"{one_line(folder)}: there is no such folder")
    with workers.crew(_worker, (archive.path, folder), jobs) as run:
        # Here and not in the thread of a request, which cannot keep Ctrl-C from new processes.
        first = run([("psnr", [])])
        gallery = Gallery(archive, folder, run)
        try:
            yield gallery
        finally:
            gallery.close()
            del first


def _shown(db: float) -> float | str:
    return "exact" if math.isinf(db) else round(db, 3)


class _Worker:
    """In a process of its own: decodes rows."""

    def __init__(self, csv: Path, originals: Path | None) -> None:
        self.archive = Archive(csv)
        self.originals = originals

    def do(self, task: Task) -> Any:
        name, argument = task
        return getattr(self, name)(argument)

    def thumbnail(self, what: tuple[int, int]) -> Picture:
        row, side = what
        return thumbnail(self.archive.thumbnail(self.archive.row(row), side))

    def image(self, row: int) -> Picture:
        return exact(self.archive[row])

    def original(self, row: int) -> Picture:
        return exact(self._original(self.archive.row(row).name))

    def tiles(self, rows: list[int]) -> list[str | None]:
        """Whole images as addresses that hold them; none for a damaged row."""
        found: list[str | None] = []
        for row in rows:
            try:
                found.append(exact(self.archive[row]).address)
            except ArchiveError:
                found.append(None)
        return found

    def psnr(self, rows: list[int]) -> list[float | str]:
        """In dB, or why there is none."""
        found: list[float | str] = []
        for number in rows:
            try:
                row = self.archive.row(number)
                original = images.to_array(self._original(row.name))
                decoded = images.to_array(self.archive.decode(row))
                if original.shape != decoded.shape:
                    shown = one_line(row.name)
                    raise ImageError(f"{shown} is now an image of another size or mode")
                found.append(psnr(original, decoded))
            except AezipError as error:
                found.append(str(error))
        return found

    def _original(self, name: str) -> Image.Image:
        if self.originals is None:
            raise ImageError("no folder of originals was given")
        return read_original(self.originals, name)


def _worker(csv: Path, originals: Path | None) -> Callable[[Task], Any]:
    return _Worker(csv, originals).do
