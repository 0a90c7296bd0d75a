"""How fast aezip compresses and shows photographs, and the memory that a large one takes."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

import aezip

RUNS = 5
LARGE = (4000, 3000)


def run(*command: object) -> float:
    """Seconds that `aezip COMMAND` took, from start to end of the process."""
    began = time.monotonic()
    words = [sys.executable, "-m", "aezip", *map(str, command)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def peak_gigabytes(*command: object) -> float:
    """Largest resident memory of `aezip COMMAND` and of the largest process it starts, added up."""
    script = (
        "import resource, runpy, sys; sys.argv[0] = 'aezip'\n"
        "try: runpy.run_module('aezip', run_name='__main__')\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss"
        " + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [sys.executable, "-c", script, *map(str, command)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return int(said.split()[-1]) / (1 << 20)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--jobs", default=2, show_default=True)
def main(folder: Path, model: Path, jobs: int) -> None:
    """Measure with the photographs of FOLDER and a MODEL fitted to them."""
    with open("/proc/cpuinfo") as file:
        name = next(x.split(":")[1].strip() for x in file if x.startswith("model name"))
    click.echo(f"{name}, {os.cpu_count()} processors, Python {sys.version.split()[0]}, "
               f"NumPy {np.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        csv = work / "out.csv"
        began = time.monotonic()
        report = aezip.compress(folder, csv, model, jobs=jobs, compare=False)
        seconds = time.monotonic() - began
        click.echo(
            f"compress at quality {report.quality}, {jobs} jobs, each image verified: "
            f"{report.pixels / 1e6 / seconds:.2f} megapixels/s"
        )
        archive = aezip.open(csv)
        began = time.monotonic()
        pixels = sum(image.width * image.height for image in archive)
        seconds = time.monotonic() - began
        click.echo(f"decode, one process: {pixels / 1e6 / seconds:.2f} megapixels/s")
        seconds = run("extract", csv, work / "extracted", "--jobs", jobs)
        click.echo(
            f"aezip extract, {jobs} jobs, from start to end, PNG files written: "
            f"{pixels / 1e6 / seconds:.2f} megapixels/s"
        )
        for side in (128, 256, 512):
            began = time.monotonic()
            for number in range(len(archive)):
                archive.thumbnail(archive.row(number), side)
            each = (time.monotonic() - began) / len(archive)
            click.echo(f"thumbnail of up to {side} pixels: {1000 * each:.0f} ms")
        cold = [run("view", csv, "--row", 0, "--save", work / "row.png") for _ in range(RUNS)]
        row = archive.row(0)
        click.echo(
            f"aezip view --save, {row.width}x{row.height}, from cold start: "
            f"median {statistics.median(cold):.2f} s of {RUNS} (worst {max(cold):.2f} s)"
        )

        large = work / "large"
        large.mkdir()
        first = next(x for x in sorted(folder.rglob("*")) if x.suffix.lower() in (".png", ".jpg"))
        Image.open(first).convert("RGB").resize(LARGE, Image.Resampling.BICUBIC).save(
            large / "large.png"
        )
        out = work / "large.csv"
        began = time.monotonic()
        memory = peak_gigabytes("compress", large, out, "--model", model)
        click.echo(
            f"{LARGE[0]}x{LARGE[1]} photo: compress {memory:.2f} GB, "
            f"{time.monotonic() - began:.0f} s with the comparison"
        )
        began = time.monotonic()
        memory = peak_gigabytes("view", out, "--save", work / "large-row.png")
        click.echo(f"{'':15} decode {memory:.2f} GB, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
