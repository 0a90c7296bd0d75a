"""Write a model that `aezip fit` has yet to train, for networks of other widths than its own.

python models/begin.py FOLDER MODEL.h5 --hidden 32 --prediction 16 --filter 24
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from aezip import __version__, images
from aezip.autoencoders import Pyramid
from aezip.storage.hdf5 import write_model

WIDTH = click.IntRange(1, 256)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--hidden", type=WIDTH, required=True, help="Of the context network.")
@click.option("--prediction", type=WIDTH, required=True)
@click.option("--filter", type=WIDTH, required=True)
def main(folder: Path, model: Path, **widths: int) -> None:
    """Begin MODEL for the images of FOLDER; `aezip fit FOLDER --model MODEL` goes on with it."""
    if model.exists():
        raise click.UsageError(f"{model} is there already")
    pictures = [images.to_array(images.read(folder / x)) for x in images.find(folder).names]
    rng = np.random.default_rng(0)
    pyramid = Pyramid.start(pictures, Pyramid.default_quality, rng, widths)
    header = {
        "arch": pyramid.arch,
        "config": pyramid.config,
        "grids": pyramid.finest_grids(),
        "progress": 0.0,
        "history": [],
        "images": len(pictures),
        "pixels": sum(x.shape[0] * x.shape[1] for x in pictures),
        "seed": 0,
        "aezip": __version__,
    }
    write_model(model, header, pyramid.parameters)


if __name__ == "__main__":
    main()
