"""The README's picture of how it works: one photograph on its way into a row and back."""

import os
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import aezip
from aezip import images, metrics
from aezip.autoencoders import lifting

WIDTH, HEIGHT = 264, 176  # of each picture
GAP, MARGIN, TOP, BELOW = 44, 20, 58, 62
LEVELS = 2  # of the bands, so that they can be seen
INK, QUIET, LINE, GROUND = (30, 30, 28), (105, 105, 100), (209, 73, 91), (255, 255, 255)


def bands(image: Image.Image, filters: np.ndarray) -> Image.Image:
    """The wavelet bands of an image's brightness, as they are usually drawn."""
    unit = 1 << LEVELS
    grey = np.asarray(image.convert("L"), np.float32)
    grey = grey[: len(grey) // unit * unit, : grey.shape[1] // unit * unit] - 128
    found = lifting.analyse(grey, filters[:LEVELS])[0]
    whole = found.low / 2**LEVELS + 128
    for right, below, both in reversed(found.high):
        details = [128 + 16 * np.sign(x) * np.sqrt(np.abs(x)) for x in (right, below, both)]
        whole = np.block([[whole, details[0]], [details[1], details[2]]])
    return Image.fromarray(np.clip(whole, 0, 255).astype(np.uint8)).convert("RGB")


def text(data: bytes, font: ImageFont.ImageFont) -> Image.Image:
    """The beginning of an image's latents in hexadecimal digits, fading out."""
    page = Image.new("RGB", (WIDTH, HEIGHT), (247, 247, 245))
    pen = ImageDraw.Draw(page)
    for line in range(10):
        part = data[line * 12 : line * 12 + 12]
        shade = tuple(int(c + (247 - c) * (line / 10) ** 2) for c in INK)
        pen.text((12, 10 + 16 * line), part.hex(" "), shade, font)
    return page


def fitted(image: Image.Image) -> Image.Image:
    scale = max(WIDTH / image.width, HEIGHT / image.height)
    size = round(image.width * scale), round(image.height * scale)
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS).crop((0, 0, WIDTH, HEIGHT))


@click.command()
@click.argument("csv", type=click.Path(path_type=Path, exists=True))
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
def main(csv: Path, folder: Path, name: str, out: Path) -> None:
    """Draw the way of image NAME of FOLDER into the row of that name in CSV, and back."""
    archive = aezip.open(csv)
    row, head = archive.row(name), archive.heads()[archive.find(name)]
    original, decoded = images.read(folder / name), archive.decode(row)
    db = metrics.psnr(images.to_array(original), images.to_array(decoded))
    numbers = sum(x.size for x in archive.decoder.travelling().values())
    title, plain, small = (ImageFont.load_default(size) for size in (17, 14, 13))
    steps = (
        (fitted(original), "an image", f"{original.width} x {original.height} pixels",
         f"{os.path.getsize(folder / name):,} bytes as a file"),
        (fitted(bands(original, archive.decoder.parameters["lifting"])), "a learned wavelet",
         "takes it apart, scale by scale;", "a network predicts the details"),
        (text(row.latents, small), "a row of a CSV", f"{head.size:,} bytes: a network guesses each",
         "number, a range coder stores the rest"),
        (fitted(decoded), "the image again", f"{db:.1f} dB, from that row and the decoder:",
         f"{numbers:,} numbers in {os.path.getsize(archive.decoder_path):,} bytes for all"),
    )  # fmt: skip
    width = 2 * MARGIN + len(steps) * (WIDTH + GAP) - GAP
    page = Image.new("RGB", (width, TOP + HEIGHT + BELOW), GROUND)
    pen = ImageDraw.Draw(page)
    for number, (picture, heading, first, second) in enumerate(steps):
        left = MARGIN + number * (WIDTH + GAP)
        page.paste(picture, (left, TOP))
        pen.rectangle((left, TOP, left + WIDTH - 1, TOP + HEIGHT - 1), outline=(205, 205, 200))
        pen.text((left + WIDTH // 2, TOP - 14), heading, INK, title, anchor="ms")
        pen.text((left + WIDTH // 2, TOP + HEIGHT + 22), first, QUIET, plain, anchor="ms")
        pen.text((left + WIDTH // 2, TOP + HEIGHT + 42), second, QUIET, plain, anchor="ms")
        if number:
            y, end = TOP + HEIGHT // 2, left - 8
            pen.line((left - GAP + 8, y, end - 6, y), LINE, 3)
            pen.polygon([(end, y), (end - 10, y - 6), (end - 10, y + 6)], LINE)
    page.save(out, quality=92)
    click.echo(f"{out}: {os.path.getsize(out):,} bytes")


if __name__ == "__main__":
    main()
