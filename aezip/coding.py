"""From an image file to a row, and the promise that each row keeps.

What the model serves badly is coded finer, and exactly at the last resort or where that is shorter.
Every row is decoded again from what was coded, and measured.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aezip import images as pictures
from aezip import lossless, workers
from aezip.archive import profile_id
from aezip.autoencoders import Autoencoder, Pixels
from aezip.autoencoders.base import BEST_QUALITY, log_step, step_size
from aezip.errors import ImageError, ModelError
from aezip.metrics import hidden_psnr, hides_colours, psnr
from aezip.storage.files import one_line
from aezip.storage.row import EXACT, MODES, Row, pack, time_of, unpack
from aezip.storage.secrecy import Cipher

_BEST_PROMISE = 45.0
_LEAST = 0.1  # of what finer steps should bring: where they bring less, they go on as if it were


def default_promise(quality: int) -> float:
    """The PSNR in dB that any image of a quality can be expected to have: 3 dB less than noise
    spread evenly over one quantiser step leaves, and at most 45."""
    if quality == EXACT:
        return _BEST_PROMISE
    noise = step_size(log_step(quality)) ** 2 / 12
    return min(math.floor(10 * (10 * math.log10(255**2 / noise) - 3)) / 10, _BEST_PROMISE)


def mean_and_worst(psnrs: Mapping[str, float]) -> tuple[float, float, str]:
    """(mean PSNR, worst PSNR, its name) of those that differ; infinite where none does."""
    lossy = {name: db for name, db in psnrs.items() if math.isfinite(db)}
    if not lossy:
        return math.inf, math.inf, next(iter(psnrs), "")
    worst = min(lossy, key=lambda name: lossy[name])
    return sum(lossy.values()) / len(lossy), lossy[worst], worst


@dataclass(frozen=True)
class Settings:
    """How images are coded. quality: 1 to 100, or EXACT for all of them exactly. promise: PSNR in
    dB that each row has at least. metadata: whether EXIF is kept. effort: 1 to 9, time spent on
    fewer bytes."""

    quality: int
    promise: float
    metadata: bool
    effort: int


def lost_colours(original: Pixels, decoded: Pixels, db: float, promise: float) -> str:
    """In a few words, where the colours of what is wholly transparent in an image are not kept as
    well as what can be seen, whose PSNR is db: to the promise, or exactly where that is exact.
    Black is what there is where there is nothing: it is never lost."""
    least = promise if math.isfinite(db) else db
    lost = hidden_psnr(original, decoded) < least and hides_colours(original)
    return "its colours where it is wholly transparent" if lost else ""


class Coded(NamedTuple):
    """What became of one file.

    row: None where it could not be read, and `error` says why. psnr: of the row as decoded, in dB;
    infinite where nothing that is seen differs. size, modified, changed, inode: of the file,
    in bytes and nanoseconds; they tell whether it is still the same. profile: the ICC profile that
    the row names. dropped: bytes of EXIF that are not in the row. lost: what else of the file is
    not, in a few words. misfit: why the model could not take the image, which is exact therefore.
    """

    name: str
    row: Row | None
    psnr: float = 0.0
    size: int = 0
    modified: int = 0
    profile: bytes = b""
    dropped: int = 0
    lost: str = ""
    misfit: str = ""
    error: str = ""
    changed: int = 0
    inode: int = 0


class Coder:
    """Codes images of one folder with one frozen autoencoder, in this process or in several.
    cipher: of the archive they are for, where it is encrypted."""

    def __init__(
        self,
        autoencoder: Autoencoder,
        folder: Path,
        settings: Settings,
        cipher: Cipher | None = None,
    ) -> None:
        self.autoencoder = autoencoder
        self.folder = folder
        self.settings = settings
        self.cipher = cipher

    def code_all(self, names: Sequence[str], jobs: int) -> Generator[list[Coded]]:
        """All images in their order, some at a time."""
        size = self.autoencoder.batch
        batches = [names[start : start + size] for start in range(0, len(names), size)]
        jobs = min(jobs, len(batches))
        if jobs <= 1:
            yield from map(self.code, batches)
        else:
            yield from workers.share_out(_coder, (self,), batches, jobs)

    def code(self, names: Sequence[str]) -> list[Coded]:
        """One batch of images."""
        result: dict[str, Coded] = {}
        read: dict[str, tuple[pictures.Loaded, Pixels, os.stat_result]] = {}
        fitting: dict[str, Pixels] = {}
        misfits: dict[str, str] = {}
        for name in names:
            try:
                state = os.stat(self.folder / name)
                loaded = pictures.load(self.folder / name)
            except ImageError as error:  # it names the file
                result[name] = Coded(name, None, error=str(error))
                continue
            except (OSError, ValueError) as error:
                result[name] = Coded(name, None, error=f"{one_line(name)}: {one_line(error)}")
                continue
            pixels = pictures.to_array(loaded.image)
            read[name] = loaded, pixels, state
            try:
                self.autoencoder.check(pixels)
                fitting[name] = pixels
            except ModelError as error:
                misfits[name] = f"{one_line(name)}: {error}"
        served: dict[str, tuple[bytes, Pixels]] = {}
        if self.settings.quality != EXACT:
            found = self._encoded(list(fitting.values()), self.settings.quality)
            served = dict(zip(fitting, found, strict=True))
        for name, (loaded, pixels, state) in read.items():
            try:
                used, payload, db, lost = self._promised(pixels, served.get(name))
            except ImageError as error:
                result[name] = Coded(name, None, error=f"{one_line(name)}: {error}")
                continue
            height, width, channels = pixels.shape
            row = Row(
                name, width, height, MODES[channels - 1], used, payload,
                modified=time_of(state.st_mtime_ns),
                profile=profile_id(loaded.profile, self.cipher) if loaded.profile else "",
                exif=zlib.compress(loaded.exif, 9) if self._keeps(loaded) else b"",
            )  # fmt: skip
            result[name] = Coded(
                name, row, db, state.st_size, state.st_mtime_ns, loaded.profile,
                0 if self._keeps(loaded) else len(loaded.exif), loaded.lost or lost,
                misfits.get(name, ""), changed=state.st_ctime_ns, inode=state.st_ino,
            )  # fmt: skip
        return [result[name] for name in names]

    def _keeps(self, loaded: pictures.Loaded) -> bool:
        return self.settings.metadata and bool(loaded.exif)

    def _promised(
        self, original: Pixels, served: tuple[bytes, Pixels] | None
    ) -> tuple[int, bytes, float, str]:
        """(quality, payload, PSNR, what is lost nevertheless) of an image that keeps the promise in
        the fewest bytes that were tried. served: payload and decoded pixels at the quality of the
        settings, None where only exact will do."""
        quality, promise = self.settings.quality, self.settings.promise
        if served is not None:
            payload, decoded = served
            db = psnr(original, decoded)
            if db >= promise and not lossless.may_be_shorter(original, len(payload)):
                return quality, payload, db, self._lost(original, decoded, db)
        exact = lossless.encode(original)
        yielded = 1.0  # dB for each that a finer step should have brought
        while served is not None and len(payload) < len(exact):
            if db >= promise:
                return quality, payload, db, self._lost(original, decoded, db)
            if quality == BEST_QUALITY:
                break
            before, worse = quality, db
            quality = _finer(quality, (promise - db) / yielded)
            payload, decoded = self._encoded([original], quality)[0]
            db = psnr(original, decoded)
            yielded = float(np.clip((db - worse) / _decibels(before, quality), _LEAST, 1))
        if not np.array_equal(lossless.decode(exact, original.shape), original):
            raise ImageError("its pixels cannot be stored exactly")
        return EXACT, exact, math.inf, ""

    def _encoded(self, images: Sequence[Pixels], quality: int) -> list[tuple[bytes, Pixels]]:
        """Payloads, and what they decode to: together where the shape is the same, which takes less
        time."""
        payloads = self.autoencoder.encode(images, quality, self.settings.effort)
        found: dict[int, tuple[bytes, Pixels]] = {}
        for shape in {x.shape for x in images}:
            those = [i for i, x in enumerate(images) if x.shape == shape]
            some = [payloads[i] for i in those]
            decoded = self.autoencoder.decode(some, (shape[0], shape[1], shape[2]), quality)
            found |= zip(those, zip(some, decoded, strict=True), strict=True)
        return [found[i] for i in range(len(images))]

    def _lost(self, original: Pixels, decoded: Pixels, db: float) -> str:
        return lost_colours(original, decoded, db, self.settings.promise)


def _decibels(quality: int, finer: int) -> float:
    """By how much an error of quantisation alone is less at a finer quality."""
    return (log_step(quality) - log_step(finer)) / 32 * 20 * math.log10(2)


def _finer(quality: int, missing: float) -> int:
    """The quality at which an error of quantisation alone would be so many dB less."""
    finer = range(quality + 1, BEST_QUALITY)
    return next((q for q in finer if _decibels(quality, q) >= missing), BEST_QUALITY)


def _coder(coder: Coder) -> Callable[[Sequence[str]], list[Coded]]:
    return coder.code


# --- for the journal ----------------------------------------------------------------------------


def to_entry(coded: Coded) -> bytes:
    """A file that was coded, as an entry of a journal."""
    assert coded.row is not None
    row, profile = pack(coded.row), coded.profile
    rest = {"name", "row", "profile"}
    facts = {k: v for k, v in coded._asdict().items() if k not in rest}
    text = json.dumps({**facts, "profile_size": len(profile)}).encode()
    return text + b"\n" + profile + row


def from_entry(entry: bytes) -> Coded:
    """What `to_entry` was given."""
    text, _, rest = entry.partition(b"\n")
    facts = json.loads(text)
    size = facts.pop("profile_size")
    row = unpack(rest[size:])
    return Coded(row.name, row, profile=rest[:size], **facts)


def as_header(settings: Settings) -> dict[str, Any]:
    """The settings as the header of a journal has them."""
    return asdict(settings)
