"""Rate-distortion curves of a folder of photographs: aezip, decoder included, and other formats."""

import os
from pathlib import Path

import click

import aezip
from aezip import bench, plots

LOW, HIGH = 28.0, 38.0  # dB that BD-rates are averaged over
LEVELS = (30.0, 32.0, 35.0)
PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", type=PATH, help="Fit no model, take this one.")
@click.option("--minutes", type=float, help="Of the fit; aezip's default unless given.")
@click.option(
    "--out",
    type=PATH,
    default=Path("rate_distortion"),
    help="Folder for points.csv, curve.png, the model and the archives.",
)
def main(folder: Path, model: Path | None, minutes: float | None, out: Path) -> None:
    """Fit FOLDER, compress all of it at several qualities, decode, and compare with JPEG, WebP,
    AVIF and, where the package pillow-jxl-plugin is installed, JPEG XL."""
    out.mkdir(parents=True, exist_ok=True)
    jobs = os.cpu_count() or 1
    if model is None:
        model = out / "model.h5"
        model.unlink(missing_ok=True)
        fitted = aezip.fit(folder, model, arch="pyramid", minutes=minutes, jobs=jobs)
        click.echo(f"fit: {fitted.seconds / 60:.1f} minutes")
    everything = {"most": 1 << 40, "most_pixels": 1 << 60}
    result = bench.bench(folder, model, **everything, keep=out, jobs=jobs)
    for point in result.curves[bench.OWN]:
        archive = out / f"q{point.quality}.csv"
        sizes = [os.path.getsize(archive.with_suffix(end)) for end in (".csv", ".h5")]
        click.echo(
            f"aezip quality {point.quality}: {sizes[0]:,} + {sizes[1]:,} bytes, {point.psnr:.2f} dB"
        )
    for name, why in result.missing.items():
        click.echo(f"{name}: {why}")
    result.write_csv(out / "points.csv")
    title = f"{result.images} images of {folder.name}"
    plots.rate_distortion(result.bits_per_pixel(), out / "curve.png", title=title)
    click.echo(f"bytes, aezip's against each; on average over {LOW:.0f} to {HIGH:.0f} dB")
    click.echo(bench.table(result, LEVELS, LOW, HIGH))


if __name__ == "__main__":
    main()
