"""Writing an archive: every image coded, decoded again from what was coded, and measured."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aezip import images as pictures
from aezip import interrupts, peers, workers
from aezip.archive import Archive, decoder_path
from aezip.autoencoders import (
    ARCHITECTURES,
    DEFAULT_EFFORT,
    Autoencoder,
    check_effort,
    check_quality,
)
from aezip.errors import AezipError, ArchiveError, ImageError, ModelError
from aezip.fitting import default_model, load_model
from aezip.metrics import EXACT_DB, psnr
from aezip.storage.files import one_line, reason, replacing
from aezip.storage.hdf5 import DECODER_FORMAT, content_id, read_format, write_decoder
from aezip.storage.rows import MODES, Row, RowFile, default_cells, write_rows

_COMPARED = 24  # images that are encoded as JPEG and WebP for the comparison
_COMPARED_PIXELS = 12_000_000


@dataclass
class Report:
    """What `compress` did: sizes in bytes, times in seconds, PSNR in dB."""

    csv: Path
    decoder: Path
    quality: int
    images: int
    pixels: int
    original_bytes: int
    csv_bytes: int
    decoder_bytes: int
    mean_psnr: float
    worst_psnr: float
    worst_name: str
    seconds: float
    skipped: int
    failed: list[tuple[str, str]] = field(default_factory=list)
    peers: dict[str, float | None] = field(default_factory=dict)
    compared: int = 0  # images that the peers' bytes are extrapolated from

    @property
    def archive_bytes(self) -> int:
        return self.csv_bytes + self.decoder_bytes

    @property
    def bits_per_pixel(self) -> float:
        return 8 * self.archive_bytes / self.pixels


class _Coded(NamedTuple):
    name: str
    row: Row | None
    psnr: float
    original_bytes: int
    error: str


def compress(
    folder: str | os.PathLike[str],
    csv: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    quality: int | None = None,
    effort: int = DEFAULT_EFFORT,
    jobs: int = 1,
    compare: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write the images of a folder as an archive: `csv`, and its decoder beside it.

    model: a fitted model, by default `models/<folder name>.h5`. quality: 1 to 100, by default
    what the model was fitted for. effort: 1 to 9, time spent on fewer bytes at the same quality.
    jobs: processes that work side by side; more than one needs
    the usual `if __name__ == "__main__"` in a script. compare: also measure what JPEG and WebP
    take at equal PSNR. progress: called with (images done, images in all).

    An image that cannot be read or coded is named in the report and left out.
    Raises ImageError, ModelError or ArchiveError where nothing could be written; an archive that
    was there is then as it was.
    """
    began = time.monotonic()
    target = decoder_path(csv)
    path = default_model(folder) if model is None else Path(model)
    if quality is not None:
        check_quality(quality)
    check_effort(effort)
    found = pictures.find(folder)
    if not path.exists():
        raise ModelError(
            f"{one_line(path)}: there is no such model; run aezip fit {one_line(folder)} first"
        )
    if os.path.realpath(target) == os.path.realpath(path):
        raise ArchiveError(
            f"{one_line(csv)} would have its decoder at {one_line(target)}, where the model is; "
            "choose another name"
        )
    _check_place(Path(csv), target)
    fitted, _ = load_model(path)
    autoencoder = fitted.frozen()
    used: int = quality or autoencoder.config["quality"]
    coder = _Coder(autoencoder, Path(folder), used, effort)
    coded: list[_Coded] = []
    with closing(coder.code_all(found.names, jobs)) as batches:
        for batch in batches:
            coded += batch
            if progress is not None:
                progress(len(coded), len(found.names))
    if [x.name for x in coded] != found.names:
        raise ArchiveError("not every image was compressed; nothing was written")
    rows = [x.row for x in coded if x.row is not None]
    failed = [(x.name, x.error) for x in coded if x.row is None]
    if not rows:
        raise ImageError(f"none of the {len(coded)} images could be compressed: {failed[0][1]}")

    # What most rows say alike is said once, in the decoder.
    common = Counter((x.width, x.height, x.mode, x.quality) for x in rows).most_common(1)[0][0]
    defaults = default_cells(*common)
    header = {"arch": autoencoder.arch, "config": autoencoder.config, "defaults": defaults}
    with interrupts.later():  # between the two files there is no old archive and no new one
        _write(Path(csv), rows, target, header, autoencoder.pack())
    _check_written(Path(csv), rows, autoencoder)

    kept = [x for x in coded if x.row is not None]
    values = [min(x.psnr, EXACT_DB) for x in kept]
    worst = int(np.argmin(values))
    report = Report(
        csv=Path(csv),
        decoder=target,
        quality=used,
        images=len(kept),
        pixels=sum(x.width * x.height for x in rows),
        original_bytes=sum(x.original_bytes for x in kept),
        csv_bytes=os.path.getsize(csv),
        decoder_bytes=os.path.getsize(target),
        mean_psnr=float(np.mean(values)),
        worst_psnr=values[worst],
        worst_name=kept[worst].name,
        seconds=time.monotonic() - began,
        skipped=found.skipped,
        failed=failed,
    )
    if compare:
        try:
            _compare(report, Path(folder), rows, values)
        except (AezipError, OSError, MemoryError, KeyboardInterrupt):
            report.peers.clear()  # the archive is written, and only the comparison is not made
    return report


def _check_place(csv: Path, decoder: Path) -> None:
    """Refuse, before the work and not after it, where the archive cannot be written."""
    try:
        if csv.exists() and not csv.is_file():
            raise ArchiveError(f"{one_line(csv)} cannot be written: it exists and is not a file")
        if csv.exists() and os.path.getsize(csv) and not _is_archive(csv):
            raise ArchiveError(f"{one_line(csv)} is there and is no archive; choose another name")
        with tempfile.TemporaryFile(dir=Path(os.path.realpath(csv)).parent):
            pass
    except OSError as error:
        raise ArchiveError(f"{one_line(csv)} cannot be written: {reason(error)}") from error
    if not decoder.exists():
        return
    try:
        replaceable = read_format(decoder) == DECODER_FORMAT
    except ModelError:
        replaceable = False
    if not replaceable:
        raise ArchiveError(
            f"{one_line(csv)} would have its decoder at {one_line(decoder)}, where something "
            "else is; choose another name"
        )


def _write(
    csv: Path, rows: Sequence[Row], decoder: Path, header: Mapping[str, Any], parameters: bytes
) -> None:
    """Write both files. The rows are on the disk, if not yet under their name, before the
    decoder of an archive that was there is replaced."""
    try:
        with replacing(csv) as temporary:
            write_rows(temporary, rows, content_id(header, parameters), header["defaults"])
            write_decoder(decoder, header, parameters)
    except ArchiveError as error:  # it names the temporary file
        if not isinstance(error.__cause__, OSError):
            raise
        shown = f"{one_line(csv)} cannot be written: {reason(error.__cause__)}"
        raise ArchiveError(shown) from error
    except OSError as error:
        raise ArchiveError(f"{one_line(csv)} cannot be written: {reason(error)}") from error


def _is_archive(csv: Path) -> bool:
    try:
        RowFile(csv)
    except ArchiveError:
        return False
    return True


def _check_written(csv: Path, rows: Sequence[Row], autoencoder: Autoencoder) -> None:
    """Read back what was written: the very rows and parameters that were measured."""
    archive = Archive(csv)
    same = len(archive) == len(rows) and all(archive.row(i) == row for i, row in enumerate(rows))
    for name, tensor in autoencoder.travelling().items():
        same = same and np.array_equal(archive.decoder.parameters[name], tensor)
    if not same:
        raise ArchiveError(f"{one_line(csv)} does not read back as it was written; keep the images")


class _Coder:
    """Codes images of one folder with one frozen autoencoder, in this process or in several."""

    def __init__(
        self, autoencoder: Autoencoder, folder: Path, quality: int, effort: int
    ) -> None:
        self.autoencoder = autoencoder
        self.folder = folder
        self.quality = quality
        self.effort = effort

    def code_all(self, names: Sequence[str], jobs: int) -> Generator[list[_Coded]]:
        """All images in their order, some at a time."""
        size = self.autoencoder.batch
        batches = [names[start : start + size] for start in range(0, len(names), size)]
        jobs = min(jobs, len(batches))
        if jobs <= 1:
            yield from map(self.code, batches)
        else:
            a = self.autoencoder
            settings = self.folder, self.quality, self.effort
            state = (a.arch, a.config, a.parameters, a.grids, *settings)
            yield from workers.share_out(_coder, state, batches, jobs)

    def code(self, names: Sequence[str]) -> list[_Coded]:
        """One batch of images."""
        result: dict[str, _Coded] = {}
        pixels: dict[str, np.ndarray] = {}
        sizes: dict[str, int] = {}
        for name in names:
            try:
                image = pictures.to_array(pictures.read(self.folder / name))
                self.autoencoder.check(image)
                sizes[name] = os.path.getsize(self.folder / name)
            except ImageError as error:  # it names the file
                result[name] = _Coded(name, None, 0, 0, str(error))
            except (ModelError, OSError) as error:
                result[name] = _Coded(name, None, 0, 0, f"{one_line(name)}: {error}")
            else:
                pixels[name] = image
        payloads = self.autoencoder.encode(list(pixels.values()), self.quality, self.effort)
        for (name, original), payload in zip(pixels.items(), payloads, strict=True):
            decoded = self.autoencoder.decode([payload], original.shape, self.quality)[0]
            height, width, channels = original.shape
            row = Row(name, width, height, MODES[channels - 1], self.quality, payload)
            result[name] = _Coded(name, row, psnr(original, decoded), sizes[name], "")
        return [result[name] for name in names]


def _coder(
    arch: str,
    config: dict[str, Any],
    parameters: dict[str, np.ndarray],
    grids: dict[str, int],
    folder: Path,
    quality: int,
    effort: int,
) -> Callable[[Sequence[str]], list[_Coded]]:
    return _Coder(ARCHITECTURES[arch](config, parameters, grids), folder, quality, effort).code


def _compare(report: Report, folder: Path, rows: Sequence[Row], values: Sequence[float]) -> None:
    """Fill in what JPEG and WebP take for the same images at the same mean PSNR, from a sample
    spread evenly over the collection."""
    count = min(len(rows), _COMPARED)
    count = max(1, min(count, int(count * _COMPARED_PIXELS / max(report.pixels, 1)) or 1))
    if report.pixels <= _COMPARED_PIXELS:
        count = min(len(rows), 200)
    chosen = np.unique(np.linspace(0, len(rows) - 1, count).astype(int))
    sample = [pictures.read(folder / rows[i].name) for i in chosen]
    share = sum(x.width * x.height for x in sample) / report.pixels
    wanted = float(np.mean([values[i] for i in chosen]))
    for name, peer in peers.PEERS.items():
        found = peers.bytes_at(peer, sample, wanted)
        report.peers[name] = None if found is None else found / share
    report.compared = len(sample)
