"""A crop of one image as it was, and as aezip, WebP and AVIF keep it in as many bytes."""

import io
import os
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

import aezip
from aezip import metrics, peers
from aezip.images import read, to_array

ZOOM = 2
BAR = 26
GAP = 8


def largest_within(peer: peers.Peer, image: Image.Image, budget: float) -> bytes:
    """The file of the best quality that takes no more than `budget` bytes."""
    best = peer.encode(image, 1)
    low, high = 1, 101
    while high - low > 1:
        middle = (low + high) // 2
        data = peer.encode(image, middle)
        if len(data) <= budget:
            low, best = middle, data
        else:
            high = middle
    return best


@click.command()
@click.argument("csv", type=click.Path(path_type=Path, exists=True))
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("name")
@click.argument("left", type=int)
@click.argument("top", type=int)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", type=int, default=224, help="Side of the crop.")
def main(
    csv: Path, folder: Path, name: str, left: int, top: int, out: Path, size: int
) -> None:
    """Draw the crop of image NAME at LEFT, TOP four times. aezip's bytes are those of the row as
    text and an equal share of the decoder and the names."""
    archive = aezip.open(csv)
    original = read(folder / name).convert("RGB")
    row = archive.row(name)
    latents = sum(len(archive.row(i).latents) for i in range(len(archive)))
    share = os.path.getsize(archive.decoder_path) / len(archive)
    budget = len(row.latents) * os.path.getsize(csv) / latents + share
    shown = [("original", original, float(os.path.getsize(folder / name)))]
    shown.append(("aezip", archive.decode(row).convert("RGB"), budget))
    for kind, peer in (("WebP", peers.PEERS["WebP"]), ("AVIF", peers.SLOW_PEERS["AVIF"])):
        data = largest_within(peer, original, budget)
        with Image.open(io.BytesIO(data)) as file:
            shown.append((kind, file.convert("RGB"), len(data)))
    side = size * ZOOM
    sheet = Image.new("RGB", (2 * side + GAP, 2 * (side + BAR)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (kind, image, count) in enumerate(shown):
        x, y = number % 2 * (side + GAP), number // 2 * (side + BAR)
        crop = image.crop((left, top, left + size, top + size))
        sheet.paste(crop.resize((side, side), Image.Resampling.NEAREST), (x, y))
        text = f"{kind}: {count:,.0f} bytes"
        if number:
            text += f", {metrics.psnr(to_array(original), to_array(image)):.2f} dB"
        draw.text((x + 2, y + side + 5), text, fill="black", font=font)
    sheet.save(out, quality=92)
    click.echo(f"{out}: {os.path.getsize(out):,} bytes")


if __name__ == "__main__":
    main()
