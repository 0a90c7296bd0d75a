"""What a folder of images takes as aezip and in the formats people would use instead, at equal
quality: rate-distortion curves of all of them over the same images."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from aezip import images as pictures
from aezip import metrics, peers
from aezip.archive import Archive
from aezip.compressing import compress
from aezip.errors import ArchiveError, ImageError, ModelError
from aezip.fitting import default_model, load_model
from aezip.storage.files import one_line, reason, replacing
from aezip.targets import check_target

OWN = "aezip"
QUALITIES = {"pyramid": (15, 25, 37, 50, 63, 75, 84, 90), "dense": (30, 40, 50, 60, 70)}
"""Of aezip; those of a dense model are around the one that it was made for."""

PEER_QUALITIES = {
    "JPEG": (10, 20, 35, 50, 65, 80, 88, 93, 96),
    "WebP": (1, 5, 20, 40, 60, 75, 85, 92, 96),
    "AVIF": (10, 20, 30, 40, 50, 60, 70, 80),
    "JPEG XL": (10, 20, 35, 50, 70, 80, 88, 94),
}
SAMPLE = 200
"""Images measured, unless told otherwise."""

SAMPLE_PIXELS = 12_000_000


_COLUMNS = ("codec", "quality", "bytes", "bits per pixel", "PSNR")


class Point(NamedTuple):
    """A whole collection at one quality of a codec: bytes, and mean PSNR in dB; `each`: both of
    each image that was measured, with its share of the decoder."""

    quality: int
    size: float
    psnr: float
    each: tuple[tuple[float, float], ...] = ()


def _fewest(points: Sequence[Point]) -> dict[float, float]:
    """Bytes by PSNR: of two qualities that come to one PSNR the one of fewer bytes counts."""
    fewest: dict[float, float] = {}
    for point in points:
        fewest[point.psnr] = min(point.size, fewest.get(point.psnr, np.inf))
    return fewest


@dataclass
class Bench:
    """curves: points by codec, aezip's first. measured: of the images; where it is fewer than
    all, all bytes but the decoder's are extrapolated. missing: codecs left out, and why."""

    images: int
    pixels: float  # of all images
    measured: int
    default: Point  # of aezip, nearest to the quality its model was made for
    curves: dict[str, list[Point]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    def levels(self) -> list[float]:
        """PSNRs to compare at: that of aezip by default, and one on either side of it that there
        is."""
        own = sorted(x.psnr for x in self.curves[OWN])
        middle = self.default.psnr
        return sorted({(own[0] + middle) / 2, middle, (middle + own[-1]) / 2})

    def size_at(self, codec: str, db: float) -> float | None:
        """Bytes of a codec at a PSNR, from its curve; None beyond its ends."""
        fewest = _fewest(self.curves[codec])
        reached = np.array(sorted(fewest))
        if not reached[0] <= db <= reached[-1]:
            return None
        if len(reached) == 1:
            return float(fewest[db])
        sizes = np.log([fewest[x] for x in reached.tolist()])
        return float(np.exp(metrics.pchip(reached, sizes, np.array([db]))[0]))

    def bd_rate(
        self, codec: str, low: float | None = None, high: float | None = None
    ) -> tuple[float, float, float] | None:
        """How much more aezip takes than another codec, in percent, and the PSNRs it is averaged
        over: those that both curves reach, within low and high. None where there are none."""
        own, other = _fewest(self.curves[OWN]), _fewest(self.curves[codec])
        bottom = max(min(own), min(other), low or 0)
        top = min(max(own), max(other), high or np.inf)
        if bottom >= top:
            return None
        rate = metrics.bd_rate([*other.values()], [*other], [*own.values()], [*own], bottom, top)
        return rate, bottom, top

    def bd_rate_by_image(
        self, codec: str, low: float | None = None, high: float | None = None
    ) -> float | None:
        """The mean over the images measured of each one's own `bd_rate`, in percent: what is left
        where no codec may spend more on one image than on another. None where no image has one."""
        measured = min(len(x.each) for name in (OWN, codec) for x in self.curves[name])
        rates = []
        for number in range(measured):
            curves = {
                name: [Point(x.quality, *x.each[number]) for x in self.curves[name]]
                for name in (OWN, codec)
            }
            found = replace(self, curves=curves).bd_rate(codec, low, high)
            rates += [] if found is None else [found[0]]
        return float(np.mean(rates)) if rates else None

    def bits_per_pixel(self) -> dict[str, list[tuple[float, float]]]:
        """Each curve as (bits per pixel, dB)."""
        return {
            name: [(8 * point.size / self.pixels, point.psnr) for point in points]
            for name, points in self.curves.items()
        }

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """All points as a CSV. Raises AezipError where it cannot be written."""
        check_csv(path)
        try:
            with replacing(path, sync=False) as temporary, open(temporary, "w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(_COLUMNS)
                for name, points in self.curves.items():
                    for quality, size, db, _ in points:
                        bpp = 8 * size / self.pixels
                        writer.writerow([name, quality, round(size), f"{bpp:.4f}", f"{db:.3f}"])
        except OSError as error:
            raise ArchiveError(f"{one_line(path)} cannot be written: {reason(error)}") from error


def check_csv(path: str | os.PathLike[str]) -> None:
    """Raises AezipError where the points cannot be written; better before the work than after it.

    What is there is only replaced if it is such a table: another CSV may be an archive.
    """
    check_target(path)
    try:
        with open(path, "rb") as file:
            first = file.readline(1000)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArchiveError(f"{one_line(path)} cannot be written: {reason(error)}") from error
    if first.strip() != ",".join(_COLUMNS).encode():
        raise ArchiveError(
            f"{one_line(path)} is no table of aezip bench and stays as it is; name another file"
        )


def bench(
    folder: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    most: int = SAMPLE,
    most_pixels: int = SAMPLE_PIXELS,
    keep: str | os.PathLike[str] | None = None,
    jobs: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> Bench:
    """Compress a folder at several qualities, with a fitted model and in other formats, and decode.

    model: by default `models/<folder name>.h5`. most, most_pixels: of larger collections a sample
    is measured, spread evenly over it. keep: a folder for the archives, which are otherwise
    removed. Every byte of aezip counted is that of a file on disk, the decoder's among them, and
    every PSNR that of an image read from there. progress: called before each step with (its codec,
    steps done, steps in all).

    Raises ImageError, ModelError or ArchiveError where nothing can be compared.
    """
    path = default_model(folder) if model is None else Path(model)
    found = pictures.find(folder)
    if not path.exists():
        raise ModelError(
            f"{one_line(path)}: there is no such model; run aezip fit {one_line(folder)} first"
        )
    autoencoder, _ = load_model(path)
    names, originals, failed = _read(Path(folder), found.names, most, most_pixels)
    pixels = sum(x.width * x.height for x in originals)
    whole = len(names) == len(found.names) - len(failed)
    factor = 1.0 if whole else len(found.names) / len(names)
    codecs = [name for name in peers.PEERS | peers.SLOW_PEERS if peers.is_available(name)]
    wanted = autoencoder.config["quality"]
    qualities = sorted({*QUALITIES[autoencoder.arch], wanted})
    total = len(qualities) + sum(len(PEER_QUALITIES[name]) for name in codecs)
    done = 0

    def begin(codec: str) -> None:
        nonlocal done
        if progress is not None:
            progress(codec, done, total)
        done += 1

    points = []
    with _sample(Path(folder), names, whole and not failed) as source, _work(keep) as work:
        for quality in qualities:
            begin(OWN)
            point, missed = _own_point(source, path, work, originals, quality, jobs, factor)
            points.append(point)
            failed += [x for x in missed if x not in failed]
    result = Bench(
        images=len(found.names) if not whole else len(names),
        pixels=pixels * factor,
        measured=len(names),
        default=points[qualities.index(wanted)],
        curves={OWN: points},
        skipped=found.skipped,
        failed=failed,
    )
    for name in peers.PEERS | peers.SLOW_PEERS:
        if name not in codecs:
            result.missing[name] = (
                "pip install pillow-jxl-plugin" if name == "JPEG XL" else "not in this Pillow"
            )
            continue
        peer = (peers.PEERS | peers.SLOW_PEERS)[name]
        if not all(peers.holds(peer, image) for image in originals):
            result.missing[name] = "it cannot hold these images"
            done += len(PEER_QUALITIES[name])
            continue
        start = partial(begin, name)
        result.curves[name] = list(_peer_points(peer, name, originals, jobs, factor, start))
    return result


def _read(
    folder: Path, names: Sequence[str], most: int, most_pixels: int
) -> tuple[list[str], list[Image.Image], list[tuple[str, str]]]:
    """A sample spread evenly over the names: (names, images, what could not be read)."""
    order = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    # In an order in which every beginning is spread over all, as the pixels are not known yet.
    order = order[np.argsort([int(f"{i:020b}"[::-1], 2) for i in range(len(order))])]
    kept: dict[int, Image.Image] = {}
    failed, pixels = [], 0
    for number in order.tolist():
        try:
            image = pictures.read(folder / names[number])
        except ImageError as error:
            failed.append((names[number], str(error)))
            continue
        if kept and pixels + image.width * image.height > most_pixels:
            break
        kept[number] = image
        pixels += image.width * image.height
    if not kept:
        raise ImageError(f"none of the images of {one_line(folder)} can be read: {failed[0][1]}")
    numbers = sorted(kept)
    return [names[i] for i in numbers], [kept[i] for i in numbers], failed


@contextmanager
def _sample(folder: Path, names: Sequence[str], whole: bool) -> Iterator[Path]:
    """A folder with these files alone: that of all, or a copy."""
    if whole:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="aezip-") as temporary:
        for name in names:
            place = Path(temporary, folder.name or "images", name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, place)
        yield Path(temporary, folder.name or "images")


@contextmanager
def _work(keep: str | os.PathLike[str] | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="aezip-") as temporary:
            yield Path(temporary)
    else:
        yield Path(keep)


def _own_point(
    folder: Path,
    model: Path,
    work: Path,
    originals: Sequence[Image.Image],
    quality: int,
    jobs: int,
    factor: float,
) -> tuple[Point, list[tuple[str, str]]]:
    target = work / f"q{quality}.csv"
    # A curve of one quality after the other, and not of what was coded finer to keep a promise.
    report = compress(
        folder, target, model, quality=quality, min_psnr=0, force=True, jobs=jobs, compare=False
    )
    if report.images != len(originals):
        raise ImageError(f"only {report.images} of {len(originals)} images: {report.failed[0][1]}")
    archive = Archive(target)
    db = [
        min(metrics.psnr(pictures.to_array(a), pictures.to_array(b)), metrics.EXACT_DB)
        for a, b in zip(originals, archive, strict=True)
    ]
    decoder = os.path.getsize(archive.decoder_path)
    heads = [x for x in archive.heads() if not isinstance(x, ArchiveError)]
    shared = os.path.getsize(target) - sum(x.size for x in heads) + decoder / factor
    share = shared / sum(x.width * x.height for x in heads)
    sizes = [x.size + share * x.width * x.height for x in heads]
    size = os.path.getsize(target) * factor + decoder
    each = tuple(zip(sizes, db, strict=True))
    return Point(quality, size, float(np.mean(db)), each), report.failed


def _peer_points(
    peer: peers.Peer,
    name: str,
    originals: Sequence[Image.Image],
    jobs: int,
    factor: float,
    begin: Callable[[], None],
) -> Iterator[Point]:
    with peers.room_for(originals), ThreadPoolExecutor(max(1, jobs)) as pool:
        for quality in PEER_QUALITIES[name]:
            begin()
            found = list(pool.map(partial(peers.measure, peer, quality=quality), originals))
            size = factor * sum(x[0] for x in found)
            yield Point(quality, size, float(np.mean([x[1] for x in found])), tuple(found))


def table(result: Bench, levels: Sequence[float], low: float | None = None,
          high: float | None = None) -> str:  # fmt: skip
    """Bytes of each codec at some PSNRs, and what aezip takes more or less than it: there, and on
    average over low to high dB or what the curves reach of that; and the latter image by image."""
    rows = [["", *(x for db in levels for x in (f"{db:.1f} dB", "")), "on average", "by image"]]
    ranges = [""]
    for name in result.curves:
        row = [name]
        for db in levels:
            size, own = result.size_at(name, db), result.size_at(OWN, db)
            row.append("-" if size is None else f"{size:,.0f}")
            row.append(f"{100 * (own / size - 1):+.0f} %" if size and own and name != OWN else "")
        average = result.bd_rate(name, low, high) if name != OWN else None
        row.append("" if average is None else f"{average[0]:+.1f} %")
        by_image = result.bd_rate_by_image(name, low, high) if name != OWN else None
        row.append("" if by_image is None else f"{by_image:+.1f} %")
        ranges.append("")
        if average and low is not None and (average[1] > low or average[2] < (high or 0)):
            ranges[-1] = f"  (over {average[1]:.1f} to {average[2]:.1f} dB)"
        rows.append(row)
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        (row[0].ljust(first) + "".join(f"   {x:>{w}}" for x, w in zip(row[1:], others, strict=True))
         + more).rstrip()
        for row, more in zip(rows, ranges, strict=True)
    )  # fmt: skip


def summary(result: Bench) -> Mapping[str, object]:
    """What JSON can hold of a bench."""
    return {
        "images": result.images,
        "measured": result.measured,
        "pixels": round(result.pixels),
        "curves": {
            name: [{"quality": q, "bytes": round(size), "psnr": db} for q, size, db, _ in points]
            for name, points in result.curves.items()
        },
        "at": [
            {"psnr": db, "bytes": {name: result.size_at(name, db) for name in result.curves}}
            for db in result.levels()
        ],
        "aezip_against_percent": {
            name: average[0]
            for name in result.curves
            if name != OWN and (average := result.bd_rate(name)) is not None
        },
        "aezip_against_by_image_percent": {
            name: rate
            for name in result.curves
            if name != OWN and (rate := result.bd_rate_by_image(name)) is not None
        },
        "missing": result.missing,
    }
