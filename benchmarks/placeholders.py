"""Placeholders of a few bytes: aezip with a budget beside BlurHash and ThumbHash.

Those two need nothing but the bytes; aezip's decoder, made once for the collection, is counted
apart.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import blurhash
import click
import fast_thumbhash
import numpy as np
from PIL import Image

import aezip
from aezip import images, metrics


def with_blurhash(image: Image.Image) -> tuple[int, Image.Image]:
    """(bytes, placeholder) with four components along the longer side, as is usual."""
    width, height = image.size
    x, y = (max(1, round(4 * n / max(width, height))) for n in (width, height))
    text = blurhash.encode(np.asarray(image.convert("RGB")), x, y)
    pixels = np.array(blurhash.decode(text, width, height))
    return len(text), Image.fromarray(pixels.astype(np.uint8))


def with_thumbhash(image: Image.Image) -> tuple[int, Image.Image]:
    """The same, brought from the size that it decodes to to the image's."""
    small = image.convert("RGBA")
    small.thumbnail((100, 100))
    data = bytes(fast_thumbhash.rgba_to_thumb_hash(*small.size, small.tobytes()))
    width, height, pixels = fast_thumbhash.thumb_hash_to_rgba(data)
    decoded = Image.frombytes("RGBA", (width, height), bytes(pixels))
    return len(data), decoded.resize(image.size, Image.Resampling.BICUBIC)


def psnr(original: Image.Image, decoded: Image.Image) -> float:
    """In the original's mode, as aezip is measured, too."""
    as_is = images.to_array(original)
    return metrics.psnr(as_is, images.to_array(decoded.convert(original.mode)))


def crops(folder: Path, size: int) -> Iterator[tuple[str, Image.Image]]:
    """All squares side by side in the images of a folder."""
    for number, name in enumerate(images.find(folder).names):
        image = images.read(folder / name)
        for top in range(0, image.height - size + 1, size):
            for left in range(0, image.width - size + 1, size):
                box = left, top, left + size, top + size
                yield f"{number:04}-{top:05}-{left:05}.png", image.crop(box)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--crops", "size", type=int, help="Take all squares of so many pixels instead.")
@click.option("--minutes", type=float, default=5.0, show_default=True)
@click.option("--steps", type=int, help="How many steps to train instead.")
@click.option("--bytes", "budget", type=int, help="By default what the smaller of the two takes.")
@click.option("--measured", type=int, default=300, show_default=True, help="How many images.")
@click.option("--keep", type=click.Path(path_type=Path), help="Leave model and archive here.")
def main(
    folder: Path,
    size: int | None,
    minutes: float,
    steps: int | None,
    budget: int | None,
    measured: int,
    keep: Path | None,
) -> None:
    """Fit FOLDER for a budget of bytes, and print the mean PSNR of the three."""
    with tempfile.TemporaryDirectory() as temporary:
        work = keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if size is not None:
            source, folder = folder, Path(temporary) / "crops"
            folder.mkdir()
            for name, image in crops(source, size):
                images.write(image, folder / name)
        names = images.find(folder).names
        sample = names[:: max(1, len(names) // measured)]
        originals = [images.read(folder / name) for name in sample]
        least = None
        for title, placeholder in (("BlurHash", with_blurhash), ("ThumbHash", with_thumbhash)):
            made = [placeholder(x) for x in originals]
            db = [psnr(a, b) for a, (_, b) in zip(originals, made, strict=True)]
            mean = float(np.mean([length for length, _ in made]))
            least = int(mean) if least is None else min(least, int(mean))
            click.echo(f"{title:10} {mean:6.2f} bytes  {np.mean(db):6.2f} dB")
        model, out = work / "model.h5", work / "out.csv"
        model.unlink(missing_ok=True)
        fitted = aezip.fit(
            folder, model, budget=budget or least, minutes=None if steps else minutes, steps=steps,
            jobs=os.cpu_count() or 1,
        )  # fmt: skip
        report = aezip.compress(folder, out, model, compare=False, jobs=os.cpu_count() or 1)
        archive = aezip.open(out)
        lengths = [len(archive.row(i).latents) for i in range(len(archive))]
        db = [psnr(a, archive[name]) for a, name in zip(originals, sample, strict=True)]
        click.echo(
            f"{'aezip':10} {np.mean(lengths):6.2f} bytes  {np.mean(db):6.2f} dB   "
            f"(at most {max(lengths)} bytes; {len(archive):,} images, decoder "
            f"{report.decoder_bytes:,} bytes, fitted in {fitted.seconds / 60:.1f} minutes)"
        )


if __name__ == "__main__":
    main()
