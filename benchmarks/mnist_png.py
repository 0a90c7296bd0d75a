"""Writes the images of an IDX file (MNIST's format) as PNG files, a collection like any other."""

import gzip
from pathlib import Path

import click
import numpy as np
from PIL import Image


@click.command()
@click.argument("idx", type=click.Path(path_type=Path, exists=True))
@click.argument("folder", type=click.Path(path_type=Path))
def main(idx: Path, folder: Path) -> None:
    """Write each image of IDX (gzipped) into FOLDER."""
    with gzip.open(idx) as file:
        data = file.read()
    count, height, width = np.frombuffer(data, ">u4", 3, offset=4).tolist()
    pixels = np.frombuffer(data, np.uint8, offset=16).reshape(count, height, width)
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:05d}.png")
    click.echo(f"{count} images of {width}x{height} -> {folder}")


if __name__ == "__main__":
    main()
