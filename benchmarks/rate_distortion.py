"""Rate-distortion curves of a folder of photographs: aezip, decoder included, and other formats."""

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click
import numpy as np
from PIL import Image

import aezip
from aezip import images, metrics, peers

QUALITIES = (15, 25, 37, 50, 63, 75, 84, 90)
PEER_QUALITIES = {
    "JPEG": (10, 20, 35, 50, 65, 80, 88, 93, 96),
    "WebP": (1, 5, 20, 40, 60, 75, 85, 92, 96),
    "AVIF": (10, 20, 30, 40, 50, 60, 70, 80),
    "JPEG XL": (10, 20, 35, 50, 70, 80, 88, 94),
}
LOW, HIGH = 28.0, 38.0  # dB that BD-rates are averaged over
SHOWN = (30.0, 32.0, 35.0)

Point = tuple[int, int, float]  # quality, bytes, mean PSNR in dB


def aezip_points(folder: Path, model: Path, work: Path) -> list[Point]:
    """Every byte is that of a file on the disk, every PSNR that of an image read from there."""
    points = []
    for quality in QUALITIES:
        target = work / f"q{quality}.csv"
        jobs = os.cpu_count() or 1
        report = aezip.compress(
            folder, target, model, quality=quality, jobs=jobs, force=True, compare=False
        )
        archive = aezip.open(target)
        db = [
            metrics.psnr(images.to_array(images.read(folder / name)), images.to_array(image))
            for name, image in zip(archive.names, archive, strict=True)
        ]
        size = os.path.getsize(target) + os.path.getsize(archive.decoder_path)
        points.append((quality, size, float(np.mean(db))))
        click.echo(
            f"aezip quality {quality}: {os.path.getsize(target):,} + "
            f"{os.path.getsize(archive.decoder_path):,} bytes, {points[-1][2]:.2f} dB, "
            f"{report.pixels / 1e6 / report.seconds:.2f} megapixels/s"
        )
    return points


def peer_points(peer: peers.Peer, name: str, pictures: Sequence[Image.Image]) -> list[Point]:
    points = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for quality in PEER_QUALITIES[name]:
            found = list(pool.map(partial(peers.measure, peer, quality=quality), pictures))
            size, db = sum(x[0] for x in found), float(np.mean([x[1] for x in found]))
            points.append((quality, size, db))
    return points


def common_range(points: list[Point], others: list[Point]) -> tuple[float, float]:
    """LOW to HIGH, or as much of it as both curves cover."""
    low = max(LOW, min(x[2] for x in points), min(x[2] for x in others))
    high = min(HIGH, max(x[2] for x in points), max(x[2] for x in others))
    return low, high


def bd_rate(anchor: list[Point], points: list[Point], low: float, high: float) -> float:
    _, rate_a, db_a = zip(*anchor, strict=True)
    _, rate_b, db_b = zip(*points, strict=True)
    return metrics.bd_rate(rate_a, db_a, rate_b, db_b, low, high)


def draw(curves: dict[str, list[Point]], pixels: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.5))
    for name, points in curves.items():
        bold = name == "aezip"
        axes.plot(
            [8 * x[1] / pixels for x in points],
            [x[2] for x in points],
            marker="o",
            markersize=4,
            linewidth=2.5 if bold else 1.2,
            zorder=3 if bold else 2,
            label=f"{name}, decoder included" if bold else name,
        )
    axes.set(xlabel="bits per pixel", ylabel="mean PSNR (dB)", xlim=(0, 2.2), ylim=(26, 40))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def table(curves: dict[str, list[Point]]) -> str:
    """How much more or less aezip takes than each other format."""
    own = curves["aezip"]
    shown = "".join(f"   at {db:.0f} dB" for db in SHOWN)
    lines = [f"aezip's bytes against  over {LOW:.0f}-{HIGH:.0f} dB{shown}"]
    for name, points in curves.items():
        if name == "aezip":
            continue
        low, high = common_range(points, own)
        line = f"{name:20} {bd_rate(points, own, low, high):+12.1f} %"
        for db in SHOWN:
            if low < db < high:
                line += f" {bd_rate(points, own, db - 0.01, db + 0.01):+8.1f} %"
            else:
                line += " " * 11
        if (low, high) != (LOW, HIGH):
            line += f"   (over {low:.1f}-{high:.1f} dB)"
        lines.append(line)
    return "\n".join(lines)


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
    """Fit FOLDER, compress it at several qualities, decode, and compare with JPEG, WebP, AVIF and,
    where the package pillow-jxl-plugin is installed, JPEG XL."""
    out.mkdir(parents=True, exist_ok=True)
    if model is None:
        model = out / "model.h5"
        model.unlink(missing_ok=True)
        jobs = os.cpu_count() or 1
        fitted = aezip.fit(folder, model, arch="pyramid", minutes=minutes, jobs=jobs)
        click.echo(f"fit: {fitted.seconds / 60:.1f} minutes")
    curves = {"aezip": aezip_points(folder, model, out)}
    names = aezip.open(out / f"q{QUALITIES[0]}.csv").names
    pictures = [images.read(folder / name) for name in names]
    pixels = sum(x.width * x.height for x in pictures)
    for name, peer in (peers.PEERS | peers.SLOW_PEERS).items():
        if peers.is_available(name):
            curves[name] = peer_points(peer, name, pictures)
        else:
            click.echo(f"{name}: this Pillow cannot write it")
    with open(out / "points.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["codec", "quality", "bytes", "bits per pixel", "PSNR"])
        for name, points in curves.items():
            for quality, size, db in points:
                writer.writerow([name, quality, size, f"{8 * size / pixels:.4f}", f"{db:.3f}"])
    draw(curves, pixels, out / "curve.png")
    click.echo(table(curves))


if __name__ == "__main__":
    main()
