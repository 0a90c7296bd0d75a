"""What effort buys: time and bytes at equal PSNR, for a folder and a model fitted to it."""

import os
import shutil
import tempfile
from pathlib import Path

import click

import aezip
from aezip import images, metrics

EFFORTS = (5, 6, 7, 9)
QUALITIES = (25, 40, 55, 70, 84)
LOW, HIGH = 28.0, 38.0  # dB that BD-rates are averaged over

PATH = click.Path(path_type=Path, exists=True)


@click.command()
@click.argument("folder", type=PATH)
@click.argument("model", type=PATH)
@click.option("--every", type=click.IntRange(min=1), default=1, help="Take every so manieth image.")
def main(folder: Path, model: Path, every: int) -> None:
    """Compress FOLDER with MODEL at several efforts and qualities; bytes are those of the CSV and
    of the decoder, times those of one process, with decoding and measuring every image."""
    names = images.find(folder).names[::every]
    curves = {}
    with tempfile.TemporaryDirectory() as work:
        sample = Path(work, "images")
        for name in names:
            (sample / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, sample / name)
        for effort in EFFORTS:
            sizes, values, seconds, pixels = [], [], 0.0, 0
            for quality in QUALITIES:
                target = Path(work, f"{effort}-{quality}.csv")
                report = aezip.compress(
                    sample, target, model, quality=quality, effort=effort, min_psnr=0, compare=False
                )
                decoder = target.with_suffix(".h5")
                sizes.append(os.path.getsize(target) + os.path.getsize(decoder))
                values.append(report.mean_psnr)
                seconds += report.seconds
                pixels += report.pixels
            curves[effort] = sizes, values, seconds / (pixels / 1e6)
    click.echo(f"{len(names)} images; bytes against effort 5")
    anchor = curves[5]
    for effort, (sizes, values, each) in curves.items():
        low = max(LOW, min(values), min(anchor[1]))
        high = min(HIGH, max(values), max(anchor[1]))
        rate = metrics.bd_rate(*anchor[:2], sizes, values, low, high)
        reach = f"{low:.1f} to {high:.1f} dB"
        click.echo(f"effort {effort}: {each:6.2f} s per megapixel, {rate:+6.2f} % ({reach})")


if __name__ == "__main__":
    main()
