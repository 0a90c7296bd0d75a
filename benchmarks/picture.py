"""The README's picture: an original beside its reconstruction, with the bytes of both."""

import os
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

import aezip
from aezip.images import read

BAR = 26


@click.command()
@click.argument("csv", type=click.Path(path_type=Path, exists=True))
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
def main(csv: Path, folder: Path, name: str, out: Path) -> None:
    """Draw image NAME of FOLDER beside the row of that name in CSV."""
    archive = aezip.open(csv)
    row = archive.row(name)
    share = os.path.getsize(archive.decoder_path) / len(archive)
    original, decoded = read(folder / name).convert("RGB"), archive.decode(row).convert("RGB")
    stored = os.path.getsize(csv) / sum(len(archive.row(i).latents) for i in range(len(archive)))
    texts = (
        f"original: {os.path.getsize(folder / name):,} bytes",
        f"aezip: {len(row.latents) * stored:,.0f} bytes as text in the CSV, "
        f"and its share of the decoder, {share:,.0f}",
    )
    width, height = original.size
    sheet = Image.new("RGB", (2 * width + 8, height + BAR), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for number, (image, text) in enumerate(zip((original, decoded), texts, strict=True)):
        left = number * (width + 8)
        sheet.paste(image, (left, 0))
        draw.text((left + 2, height + 5), text, fill="black", font=font)
    sheet.save(out, quality=92)
    click.echo(f"{out}: {os.path.getsize(out):,} bytes")


if __name__ == "__main__":
    main()
