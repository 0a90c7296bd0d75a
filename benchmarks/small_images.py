"""Many small images: bytes of a row, column by column, and of the decoder, quality and speed."""

import csv
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from PIL import Image

import aezip
from aezip import images, metrics


def run(*command: object) -> tuple[str, float]:
    """(what `aezip COMMAND` printed, seconds). Ends the benchmark where it fails."""
    began = time.monotonic()
    words = [sys.executable, "-m", "aezip", *map(str, command)]
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"aezip {' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout, time.monotonic() - began


def bytes_of_columns(path: Path) -> dict[str, float]:
    """For each column the mean bytes of its cells as written, and of all that is between them."""
    with open(path, encoding="utf-8", newline="") as file:
        titles, *rows = csv.reader(file)
    found = {
        title: float(np.mean([len(row[i].encode()) for row in rows]))
        for i, title in enumerate(titles)
    }
    rest = os.path.getsize(path) / len(rows) - sum(found.values())
    return {**found, "separators, line end, title line": rest}


def errors(folder: Path, archive: aezip.Archive) -> np.ndarray:
    """Each image's mean squared error, in squared grey levels."""
    found = []
    for name, decoded in zip(archive.names, archive, strict=True):
        original = images.to_array(images.read(folder / name))
        psnr = metrics.psnr(original, images.to_array(decoded))
        found.append(255**2 / 10 ** (psnr / 10))
    return np.array(found)


def webp(folder: Path, names: list[str], db: float) -> tuple[float, float]:
    """(mean bytes of a file, PSNR of all) at the least quality that has the PSNR, of a sample."""
    step = max(1, len(names) // 200)
    originals = [images.read(folder / name) for name in names[::step]]
    for quality in range(0, 101, 2):
        sizes, squares = [], []
        for original in originals:
            data = BytesIO()
            original.save(data, "WEBP", quality=quality, method=6)
            sizes.append(data.tell())
            data.seek(0)
            decoded = images.to_array(Image.open(data).convert(original.mode))
            psnr = metrics.psnr(images.to_array(original), decoded)
            squares.append(255**2 / 10 ** (psnr / 10))
        found = 10 * np.log10(255**2 / np.mean(squares))
        if found >= db:
            break
    return float(np.mean(sizes)), float(found)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--minutes", type=float, default=5.0, show_default=True)
@click.option("--quality", type=int, help="What is fitted for; by default the architecture's own.")
@click.option("--fit", "options", default="", help="More options for aezip fit, in one string.")
@click.option("--effort", type=int, default=5, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Leave model and archive here.")
def main(
    folder: Path, minutes: float, quality: int | None, options: str, effort: int, keep: Path | None
) -> None:
    """Fit and compress FOLDER from a fresh model, and print what an image of it takes."""
    with tempfile.TemporaryDirectory() as temporary:
        work = keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        model, out = work / "model.h5", work / "out.csv"
        model.unlink(missing_ok=True)
        wanted = options.split() + ([] if quality is None else ["--quality", str(quality)])
        length = [] if "--steps" in wanted else ["--minutes", str(minutes)]
        said, seconds = run("fit", folder, "--model", model, *length, *wanted)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        click.echo(f"{said.strip()}\nfit: {seconds / 60:.2f} minutes")
        click.echo(f"memory of the largest process: {peak / 1e9:.2f} GB, shared pixels included")
        said, seconds = run("compress", folder, out, "--model", model, "--effort", effort)
        click.echo(said.strip())
        archive = aezip.open(out)
        count = len(archive)
        click.echo(f"compress, with the comparison: {seconds:.1f} s, {count / seconds:,.0f} rows/s")

        columns = bytes_of_columns(out)
        decoder = os.path.getsize(archive.decoder_path)
        click.echo("bytes per image")
        for title, size in columns.items():
            click.echo(f"  {title:34} {size:8.2f}")
        click.echo(f"  {'decoder':34} {decoder / count:8.2f}   ({decoder:,} in all)")
        total = sum(columns.values()) - columns["name"] + decoder / count
        click.echo(f"  {'in all, without names':34} {total:8.2f}")
        raw = np.mean([len(archive.row(i).latents) for i in range(count)])
        text = sum(size for title, size in columns.items() if re.match("latents", title))
        click.echo(f"  latents: {raw:.2f} bytes, {text:.2f} as text")

        squares = errors(folder, archive)
        db = 10 * np.log10(255**2 / squares.mean())
        mean = np.mean(10 * np.log10(255**2 / np.maximum(squares, 1e-5)))
        click.echo(f"PSNR of all pixels {db:.2f} dB, of the images on average {mean:.2f} dB")
        size, found = webp(folder, archive.names, db)
        click.echo(f"WebP: {size:.1f} bytes a file at {found:.2f} dB (of a sample)")

        began = time.perf_counter()
        archive = aezip.open(out)
        archive[0]
        first = time.perf_counter() - began
        rng, times = np.random.default_rng(0), []
        for i in rng.integers(0, count, 200).tolist():
            began = time.perf_counter()
            archive[i]
            times.append(time.perf_counter() - began)
        click.echo(
            f"archive[i]: the first {1000 * first:.0f} ms with opening, then "
            f"{1000 * np.median(times):.2f} ms, at worst {1000 * max(times):.1f} ms"
        )


if __name__ == "__main__":
    main()
