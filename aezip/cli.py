"""The command line: each command calls one public function and prints what it did.

Whatever goes wrong is one line on standard error and exit status 1 (2 for wrong usage). Work
that was done for the other images is kept, and the status is still 1.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import aezip
from aezip import display, images
from aezip.archive import load_decoder
from aezip.autoencoders import ARCHITECTURES, Autoencoder
from aezip.entropy import parameters as coded
from aezip.errors import AezipError, ArchiveError
from aezip.storage.files import one_line, reason
from aezip.storage.hdf5 import MODEL_FORMAT, read_format

if TYPE_CHECKING:  # looking at an image should not wait for what fits and compresses
    from aezip.compressing import Report
    from aezip.fitting import Fitted, Progress

QUALITY = click.IntRange(1, 100)


class _Commands(click.Group):
    """Turns every error that a person can cause into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AezipError as error:
            raise _OneLineError(str(error)) from error
        except MemoryError as error:
            raise _OneLineError("there is not enough memory for this") from error
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            where = f"{one_line(error.filename)}: " if error.filename else ""
            raise _OneLineError(where + reason(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used, not of the alphabet."""
        return list(self.commands)


class _OneLineError(click.ClickException):
    def show(self, file: Any = None) -> None:
        click.echo(f"aezip: {self.message}", err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(aezip.__version__, prog_name="aezip", message="%(prog)s %(version)s")
def main() -> None:
    """Packs a folder of images: a neural network is fitted to them, and each becomes a row of a
    CSV.

    \b
      aezip fit photos/                  learn the collection     -> models/photos.h5
      aezip compress photos/ out.csv     pack it                  -> out.csv and out.h5
      aezip view out.csv --row 3         see any image of it

    out.csv and out.h5 together are the whole archive.
    """


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Where the model goes; by default models/NAME.h5 for a folder NAME.",
)
@click.option(
    "--arch",
    type=click.Choice(["auto", *ARCHITECTURES]),
    default="auto",
    show_default=True,
    help="dense: many small images of one size; pyramid: photos of any size.",
)
@click.option("--minutes", type=click.FloatRange(min=0), help="How long to train.")
@click.option("--steps", type=click.IntRange(min=0), help="How many steps to train instead.")
@click.option(
    "--quality",
    type=QUALITY,
    help="1 to 100: what compress will use unless told otherwise; a dense model is made for it.",
)
@click.option(
    "--bytes",
    "budget",
    type=click.IntRange(min=1),
    help="What each image's latents take at most, instead of a quality: as placeholders do.",
)
@click.option(
    "--start",
    metavar="MODEL.h5",
    help="A model of other images to start from; by default the one that comes with aezip; "
    "'none' for none.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that train side by side; by default one per processor, of use are two.",
)
def fit(
    folder: Path,
    model: Path | None,
    arch: str,
    minutes: float | None,
    steps: int | None,
    quality: int | None,
    budget: int | None,
    start: str | None,
    seed: int,
    jobs: int | None,
) -> None:
    """Fit a model to the images of FOLDER.

    Ctrl-C ends it early and keeps the best so far; running it again goes on from there.
    """
    if minutes is not None and steps is not None:
        raise click.UsageError("--minutes and --steps exclude each other")
    if minutes is not None and not math.isfinite(minutes):
        raise click.UsageError("--minutes is a number of minutes")
    if quality is not None and budget is not None:
        raise click.UsageError("--quality and --bytes exclude each other")
    from tqdm import tqdm  # not above, for the same reason as the types there

    with tqdm(total=100, disable=None, bar_format=_BAR, desc="reading the images") as bar:

        def show(p: Progress) -> None:
            left = f"{int(p.seconds_left) // 60}:{int(p.seconds_left) % 60:02d}"
            bar.set_description_str(
                f"{p.bits_per_pixel:.3f} bpp, {p.psnr:.2f} dB, {left} left", refresh=False
            )
            bar.update(100 * p.fraction - bar.n)

        result = aezip.fit(
            folder,
            model,
            arch=arch,
            minutes=minutes,
            steps=steps,
            quality=quality,
            budget=budget,
            start=start,
            seed=seed,
            jobs=jobs or _processors(),
            progress=show,
        )
    _warn(result.failed)
    click.echo(_fitted(result))
    _mention_skipped(result.skipped)
    if result.interrupted:
        click.echo("interrupted; run the same command again to go on from here")
    sys.exit(1 if result.failed else 0)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("csv", metavar="OUT.csv", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A fitted model; by default models/NAME.h5 for a folder NAME.",
)
@click.option(
    "--quality",
    type=QUALITY,
    help="1 to 100, much as JPEG's; by default what the model was fitted for.",
)
@click.option(
    "--effort",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="Time spent on fewer bytes at the same quality.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that work side by side; by default one per processor.",
)
def compress(
    folder: Path,
    csv: Path,
    model: Path | None,
    quality: int | None,
    effort: int,
    jobs: int | None,
) -> None:
    """Pack the images of FOLDER into OUT.csv, and their decoder into OUT.h5 beside it."""
    from tqdm import tqdm

    with tqdm(disable=None, unit=" images", desc="compressing", leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if done == total:
                bar.set_description("comparing with JPEG and WebP")

        try:
            report = aezip.compress(
                folder,
                csv,
                model,
                quality=quality,
                effort=effort,
                jobs=jobs or _processors(),
                progress=show,
            )
        except KeyboardInterrupt:
            raise _OneLineError(f"interrupted; {one_line(csv)} was not written") from None
    _warn(report.failed)
    click.echo(_table(report))
    _mention_skipped(report.skipped)
    sys.exit(1 if report.failed else 0)


@main.command()
@click.argument("csv", metavar="OUT.csv", type=click.Path(path_type=Path))
@click.option("--row", type=int, help="Its number, from 0; negative numbers count from the end.")
@click.option("--name", metavar="FILE", help="Its name, instead of its number.")
@click.option(
    "--save",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Write it as PNG, JPEG or WebP, by the extension, and do not show it.",
)
def view(csv: Path, row: int | None, name: str | None, save: Path | None) -> None:
    """Show one image of an archive, in the system's viewer or in the terminal."""
    if row is not None and name is not None:
        raise click.UsageError("--row and --name exclude each other")
    archive = aezip.open(csv)
    key: int | str = name if name is not None else row or 0
    try:
        found = archive.row(key)
    except IndexError as error:
        raise ArchiveError(str(error)) from None
    except KeyError:
        raise ArchiveError(
            f"{one_line(csv)} has no image named {one_line(key)}; aezip list shows the names"
        ) from None
    image = archive.decode(found)
    if save is None:
        display.show(image, found.name)
    else:
        images.write(image, save)
        size = f"{image.width}x{image.height}"
        click.echo(f"{one_line(found.name)}: {size} {image.mode} -> {one_line(save)}")


@main.command("list")
@click.argument("csv", metavar="OUT.csv", type=click.Path(path_type=Path))
def list_(csv: Path) -> None:
    """List the images of an archive: row, bytes of latents, size, mode, quality, name."""
    archive = aezip.open(csv)
    failed = 0
    click.echo(f"{'row':>6} {'bytes':>9} {'size':>11} {'mode':4} {'q':>3}  name")
    for number in range(len(archive)):
        try:
            row = archive.row(number)
        except ArchiveError as error:
            failed += 1
            click.echo(f"aezip: {error}", err=True)
        else:
            size = f"{row.width}x{row.height}"
            click.echo(
                f"{number:6} {len(row.latents):9,} {size:>11} {row.mode:4} {row.quality:3}  "
                f"{one_line(row.name)}"
            )
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("file", metavar="OUT.csv|MODEL.h5", type=click.Path(path_type=Path))
def info(file: Path) -> None:
    """Describe an archive, a decoder or a model: architecture, parameters, bytes, history."""
    from aezip.fitting import load_model

    if file.suffix.lower() not in (".h5", ".hdf5"):
        archive = aezip.open(file)
        csv, decoder = os.path.getsize(file), os.path.getsize(archive.decoder_path)
        click.echo(f"archive of {len(archive):,} images")
        click.echo(f"  {one_line(file)}: {csv:,} bytes")
        click.echo(f"  {one_line(archive.decoder_path)}: {decoder:,} bytes")
        click.echo(_architecture(archive.decoder))
    elif read_format(file) == MODEL_FORMAT:
        autoencoder, header = load_model(file)
        click.echo(f"model fitted to {header['images']:,} images of {header['pixels']:,} pixels")
        click.echo(f"  {one_line(file)}: {os.path.getsize(file):,} bytes")
        click.echo(f"  by aezip {one_line(header['aezip'])}, seed {header['seed']}")
        if header["progress"] < 1:
            click.echo(f"  interrupted at {100 * header['progress']:.0f} %; fit goes on from there")
        click.echo(_architecture(autoencoder))
        click.echo(_history(header["history"]))
    else:
        autoencoder, _, identity = load_decoder(file)
        click.echo(f"decoder {identity}")
        click.echo(f"  {one_line(file)}: {os.path.getsize(file):,} bytes")
        click.echo(_architecture(autoencoder))


@main.command()
@click.argument("csv", metavar="OUT.csv", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rows", metavar="FROM:TO", help="Only these rows, such as 0:10 or 7; TO is not in.")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def extract(csv: Path, folder: Path, rows: str | None, force: bool) -> None:
    """Write the images of an archive into FOLDER, as PNG files under their own names."""
    archive = aezip.open(csv)
    if rows is not None:
        archive = archive[_slice(rows)]
        if not len(archive):
            raise ArchiveError(f"{one_line(csv)} has no rows {rows}")
    from tqdm import tqdm

    with tqdm(total=len(archive), disable=None, unit=" images", leave=False) as bar:
        failed = aezip.extract(
            archive, folder, force=force, progress=lambda done: bar.update(done - bar.n)
        )
    _warn(failed)
    click.echo(f"{len(archive) - len(failed)} images -> {one_line(folder)}")
    sys.exit(1 if failed else 0)


_BAR = "{percentage:3.0f}%|{bar}| {desc}"


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _slice(text: str) -> slice:
    parts = text.split(":")
    try:
        numbers = [int(x) if x.strip() else None for x in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] is not None:
        start = numbers[0]
        return slice(start, start + 1 if start != -1 else None)
    if len(numbers) == 2:
        return slice(*numbers)
    raise click.BadParameter(f"{text!r} is not a range such as 0:10", param_hint="--rows")


def _warn(failed: Sequence[tuple[str, str]]) -> None:
    for _, error in failed:
        click.echo(f"aezip: {error}", err=True)


def _mention_skipped(skipped: int) -> None:
    if skipped:
        files = "file that is hidden or no image" if skipped == 1 else "files hidden or no images"
        click.echo(f"skipped {skipped} {files}")


def _fitted(result: Fitted) -> str:
    minutes, bpp, db = result.history[-1]
    sample = "over qualities 25 to 90" if result.autoencoder.arch == "pyramid" else "on a sample"
    return (
        f"{result.autoencoder.arch} model of {result.images} images: "
        f"{bpp:.3f} bits per pixel at {db:.2f} dB {sample}, after {minutes:.1f} minutes\n"
        f"-> {one_line(result.path)}"
    )


def _table(report: Report) -> str:
    def line(what: str, size: float | None, exact: bool = True) -> str:
        if size is None:
            return f"{what:28} {'not possible':>15}"
        mark = " " if exact else "~"
        return f"{what:28}{mark}{size:>14,.0f} {8 * size / report.pixels:>9.3f}"

    exact = report.compared == report.images
    lines = [
        f"{'':28} {'bytes':>14} {'bits/pixel':>10}",
        line(f"{report.images:,} images, as they were", report.original_bytes),
        line("aezip archive, quality " + str(report.quality), report.archive_bytes),
        line("  " + one_line(report.csv.name), report.csv_bytes),
        line("  " + one_line(report.decoder.name), report.decoder_bytes),
        *(line(f"{name} at equal PSNR", size, exact) for name, size in report.peers.items()),
        f"PSNR {report.mean_psnr:.2f} dB on average, at worst {report.worst_psnr:.2f} dB "
        f"({one_line(report.worst_name)})",
    ]
    if report.archive_bytes > report.original_bytes:
        lines.append("the archive is larger than the images: it does not pay here")
    smaller = [k for k, v in report.peers.items() if v is not None and v < report.archive_bytes]
    if smaller:
        lines.append(
            f"{' and '.join(smaller)} would be smaller at equal PSNR: the decoder alone is "
            f"{100 * report.decoder_bytes / report.archive_bytes:.0f} % of the archive"
        )
    if not exact and report.peers:
        lines.append(f"~ extrapolated from {report.compared} of the images")
    return "\n".join(lines)


def _architecture(autoencoder: Autoencoder) -> str:
    travelling, pictures = autoencoder.travelling(), autoencoder.pictures(autoencoder.config)
    config = one_line(", ".join(f"{k} {v}" for k, v in autoencoder.config.items()))
    lines = [
        f"architecture {autoencoder.arch}: {config}",
        f"  {'parameters':24} {'shape':>16} {'count':>9} {'grid':>6} {'bytes':>8}",
    ]
    for name, tensor in autoencoder.parameters.items():
        shape = "x".join(map(str, tensor.shape))
        line = f"  {name:24} {shape:>16} {tensor.size:9,}"
        if name in travelling:
            grid = autoencoder.grids[name]
            line += f" {f'2^{grid}':>6} {coded.bits(tensor, grid, pictures.get(name)) / 8:8,.0f}"
        lines.append(line)
    count = sum(x.size for x in travelling.values())
    size = len(autoencoder.pack())
    lines.append(f"  {'in an archive':24} {'':>16} {count:9,} {'':>6} {size:8,}")
    return "\n".join(lines)


def _history(history: Sequence[Sequence[float]]) -> str:
    lines = [f"  {'minutes':>8} {'bits/pixel':>11} {'dB':>7}   (of a fixed sample)"]
    shown = history[:: max(1, len(history) // 12)]
    if shown[-1:] != history[-1:]:
        shown = [*shown, history[-1]]
    lines += [f"  {minutes:8.2f} {bpp:11.4f} {db:7.2f}" for minutes, bpp, db in shown]
    return "\n".join(lines)
