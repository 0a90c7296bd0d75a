"""What each part of `pyramid` brings: it is left out, and the rest is trained without it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import click
import numpy as np

import aezip
from aezip import metrics, starting
from aezip.autoencoders import Autoencoder, Pyramid, lifting, stepping
from aezip.entropy.context import Layout
from aezip.fitting import load_model
from aezip.storage.hdf5 import write_model

QUALITIES = (25, 42, 60, 78)
LOW, HIGH = 28.0, 36.0  # dB that BD-rates are averaged over

Curve = tuple[list[int], list[float]]


def nothing(p: dict[str, np.ndarray], part: str) -> None:
    """All of it, so that it costs no bytes either."""
    for name in p:
        if name.startswith(part):
            p[name][:] = 0


def without_neighbours(p: dict[str, np.ndarray], levels: int) -> None:
    p["context.w1"][:] = 0


def without_prediction(p: dict[str, np.ndarray], levels: int) -> None:
    nothing(p, "prediction.")


def without_filter(p: dict[str, np.ndarray], levels: int) -> None:
    nothing(p, "filter.")


def with_plain_wavelet(p: dict[str, np.ndarray], levels: int) -> None:
    p["lifting"][:] = lifting.start(levels)


def all_for_error(where: Layout) -> np.ndarray:
    """Bits that a squared error is worth in each plane: more than any latent takes."""
    return np.full(len(where.planes), 1e4, np.float32)


PARTS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, np.ndarray], int], None]]] = {
    "the context model's neighbours": (("context.w1",), without_neighbours),
    "prediction": (("prediction.",), without_prediction),
    "the post-filter": (("filter.",), without_filter),
    "the learned transform": (("lifting",), with_plain_wavelet),
}


def curve(folder: Path, model: Path, work: Path, effort: int, jobs: int = 0) -> Curve:
    sizes, values, jobs = [], [], jobs or os.cpu_count() or 1
    for quality in QUALITIES:
        target = Path(tempfile.mkdtemp(dir=work), "out.csv")
        report = aezip.compress(
            folder, target, model, quality=quality, effort=effort, min_psnr=0, jobs=jobs,
            compare=False,
        )  # fmt: skip
        sizes.append(os.path.getsize(target) + os.path.getsize(target.with_suffix(".h5")))
        values.append(report.mean_psnr)
    return sizes, values


def fitted(
    folder: Path, start: Path | str, frozen: tuple[str, ...], minutes: float, to: Path
) -> Path:
    """A model trained from `start`, but for the parameters whose names begin as in `frozen`."""
    rates = Pyramid.rates

    def some_rates(self: Autoencoder, progress: float) -> Callable[[str], float]:
        rate = rates(self, progress)
        return lambda name: 0.0 if name.startswith(frozen) else rate(name)

    to.unlink(missing_ok=True)
    with mock.patch.object(Pyramid, "rates", some_rates):
        jobs = os.cpu_count() or 1
        aezip.fit(folder, to, arch="pyramid", start=start, minutes=minutes, jobs=jobs)
    return to


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--minutes", type=float, default=4.0, show_default=True, help="Of each fit.")
def main(folder: Path, minutes: float) -> None:
    """Fit FOLDER without one part after the other, each time from the starting model, and print
    how many bytes more it takes, decoder included, at equal PSNR."""
    start = starting.models_for("pyramid")[0]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        model = fitted(folder, start, (), minutes, work / "whole.h5")
        whole = curve(folder, model, work, effort=5)

        def show(what: str, found: Curve) -> None:
            low = max(LOW, min(found[1]), min(whole[1]))
            high = min(HIGH, max(found[1]), max(whole[1]))
            rate = metrics.bd_rate(*whole, *found, low, high)
            click.echo(f"{what}: {rate:+.2f} % ({low:.1f} to {high:.1f} dB)")

        show("with refinement (effort 9)", curve(folder, model, work, effort=9))
        with mock.patch.object(Pyramid, "_values", lambda self, where, log: all_for_error(where)):
            # In this process: others would not know of it.
            show("without weighing bits", curve(folder, model, work, effort=5, jobs=1))
        with mock.patch.object(stepping, "coarser", lambda *_: 0):
            show("with one step for all images", curve(folder, model, work, effort=5, jobs=1))
        for part, (frozen, remove) in PARTS.items():
            autoencoder, header = load_model(start)
            remove(autoencoder.parameters, autoencoder.config["levels"])
            write_model(work / "start.h5", header, autoencoder.parameters)
            model = fitted(folder, work / "start.h5", frozen, minutes, work / "without.h5")
            show(f"without {part}", curve(folder, model, work, effort=5))
        model = fitted(folder, "none", (), minutes, work / "without.h5")
        show("without the starting model", curve(folder, model, work, effort=5))


if __name__ == "__main__":
    main()
