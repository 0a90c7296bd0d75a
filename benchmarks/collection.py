"""One collection through the whole of aezip, by the commands a person would type."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

import aezip
from aezip import images, metrics, peers


def run(*command: object) -> tuple[str, float]:
    """(what `aezip COMMAND` printed, seconds). Ends the benchmark where it fails."""
    began = time.monotonic()
    words = [sys.executable, "-m", "aezip", *map(str, command)]
    result = subprocess.run(words, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if result.returncode:
        raise SystemExit(f"aezip {' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout, seconds


def avif_bytes(folder: Path, csv: Path) -> float | None:
    """What the images of an archive take as AVIF at the archive's mean PSNR."""
    archive = aezip.open(csv)
    originals = [images.read(folder / name) for name in archive.names]
    db = [
        metrics.psnr(images.to_array(a), images.to_array(b))
        for a, b in zip(originals, archive, strict=True)
    ]
    return peers.bytes_at(peers.SLOW_PEERS["AVIF"], originals, float(np.mean(db)))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--keep", type=click.Path(path_type=Path), help="Leave model and archive here.")
@click.option("--fit", "fit_options", default="", help="Options for aezip fit, in one string.")
@click.option("--compress", "compress_options", default="", help="Options for aezip compress.")
@click.option("--avif", "with_avif", is_flag=True, help="Measure AVIF at equal PSNR, too.")
def main(
    folder: Path, keep: Path | None, fit_options: str, compress_options: str, with_avif: bool
) -> None:
    """Fit, compress, list, view and extract FOLDER, and print what it took."""
    with tempfile.TemporaryDirectory() as temporary:
        work = keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        model, csv = work / "model.h5", work / "out.csv"
        model.unlink(missing_ok=True)
        said, fitting = run("fit", folder, "--model", model, *fit_options.split())
        click.echo(said.strip())
        click.echo(f"fit: {fitting / 60:.1f} minutes")
        said, seconds = run(
            "compress", folder, csv, "--model", model, "--force", *compress_options.split()
        )
        click.echo(said.strip())
        click.echo(f"compress, with the comparison: {seconds:.1f} s")
        if with_avif:
            click.echo(f"AVIF (4:4:4, speed 4) at equal PSNR: {avif_bytes(folder, csv):,.0f} bytes")
        said, seconds = run("list", csv)
        rows = len(said.splitlines()) - 1
        click.echo(f"list: {rows} rows in {seconds:.1f} s")
        said, seconds = run("view", csv, "--row", rows - 1, "--save", work / "last.png")
        click.echo(f"view: {said.strip()} in {seconds:.2f} s")
        said, seconds = run("extract", csv, work / "extracted", "--force")
        count = int(re.match(r"[\d,]+", said).group().replace(",", ""))
        click.echo(f"extract: {count} images in {seconds:.1f} s")


if __name__ == "__main__":
    main()
