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
from aezip import cli_keep, cli_show, console, display, images
from aezip.archive import load_decoder
from aezip.autoencoders import ARCHITECTURES, Autoencoder
from aezip.entropy import parameters as coded
from aezip.errors import AezipError, ArchiveError
from aezip.nn import DEVICES
from aezip.options import processors, row_range
from aezip.storage import secrecy
from aezip.storage.files import one_line, reason
from aezip.storage.hdf5 import MODEL_FORMAT, read_format
from aezip.storage.row import EXACT, quality_text

if TYPE_CHECKING:  # looking at an image should not wait for what fits and compresses
    from aezip.compressing import Report
    from aezip.fitting import Fitted, Progress

QUALITY = click.IntRange(1, 100)


class _Commands(click.Group):
    """Turns every error that a person can cause into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except AezipError as error:
            raise _OneLineError(str(error)) from error
        except BrokenPipeError:  # `aezip list | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except KeyboardInterrupt as error:
            raise _OneLineError("interrupted") from error
        except MemoryError as error:
            raise _OneLineError("there is not enough memory for this") from error
        except OSError as error:
            where = f"{one_line(error.filename)}: " if error.filename else ""
            raise _OneLineError(where + reason(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used, not of the alphabet."""
        return list(self.commands)


class _OneLineError(click.ClickException):
    def show(self, file: Any = None) -> None:
        console.error(self.message)


_FIRST = """\
aezip packs a folder of images into a CSV. Three commands matter:

  aezip fit photos/                  learn the collection     -> models/photos.h5
  aezip compress photos/ out.csv     pack it                  -> out.csv and out.h5
  aezip view out.csv --row 3         see any image of it

aezip browse out.csv shows all of them in your browser; aezip --help lists every command."""


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(aezip.__version__, prog_name="aezip", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Packs a folder of images: a neural network is fitted to them, and each becomes a row of a
    CSV.

    \b
      aezip fit photos/                  learn the collection     -> models/photos.h5
      aezip compress photos/ out.csv     pack it                  -> out.csv and out.h5
      aezip view out.csv --row 3         see any image of it

    out.csv and out.h5 together are the whole archive.
    """
    secrecy.ask = cli_keep.ask if sys.stdin is not None and sys.stdin.isatty() else None
    if context.invoked_subcommand is None:
        click.echo(_FIRST)


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
    help="A model of other images to start from; by default of those that come with aezip; "
    "'none' for none.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that train side by side; by default one per processor, of use are two.",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="cpu",
    show_default=True,
    help="cuda: train on an NVIDIA GPU, by CuPy (pip install 'aezip[cuda]').",
)
@console.output_options
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
    device: str,
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
    with console.bar(100, bar_format=_BAR, desc="reading the images") as bar:

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
            jobs=jobs or processors(),
            device=device,
            progress=show,
        )
    console.warn(result.failed)
    minutes, bpp, db = result.history[-1]
    data = {
        "model": result.path,
        "architecture": result.autoencoder.arch,
        "images": result.images,
        "bits_per_pixel": bpp,
        "psnr": db,
        "minutes": minutes,
        "seconds": round(result.seconds, 3),
        "interrupted": result.interrupted,
        "skipped": result.skipped,
        "failed": console.failures(result.failed),
    }
    console.result(_fitted(result), data)
    cli_keep.mention_skipped(result.skipped)
    if result.interrupted:
        console.say("interrupted; run the same command again to go on from here")
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
    help="Time spent on fewer bytes at the same quality; for photographs 1 to 5 are alike.",
)
@click.option(
    "--min-psnr",
    metavar="DB",
    type=click.FloatRange(0, 100),
    help="What each image is promised: those below are coded finer or exactly. By default what any "
    "image that the model serves exceeds: 19.7 at quality 50, 25.6 at 70; 0 for no promise.",
)
@click.option("--lossless", is_flag=True, help="Code all images exactly, pixel by pixel.")
@click.option("--keep-metadata", is_flag=True, help="Keep the images' EXIF data, too.")
@click.option("--encrypt", is_flag=True, help="Encrypt the archive with a passphrase.")
@click.option("--force", is_flag=True, help="Replace an archive that is there.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where this very command, with this folder and these options, was interrupted.",
)
@click.option(
    "--delete-originals",
    "delete",
    is_flag=True,
    help="Delete each file whose row, read back from the disk, decodes as well as was measured.",
)
@click.option("--yes", is_flag=True, help="Delete them without asking.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that work side by side; by default one per processor.",
)
@console.output_options
def compress(
    folder: Path,
    csv: Path,
    model: Path | None,
    quality: int | None,
    effort: int,
    min_psnr: float | None,
    lossless: bool,
    keep_metadata: bool,
    encrypt: bool,
    force: bool,
    resume: bool,
    delete: bool,
    yes: bool,
    jobs: int | None,
) -> None:
    """Pack the images of FOLDER into OUT.csv, and their decoder into OUT.h5 beside it."""
    cli_keep.check_coding(quality, lossless, delete, yes)
    passphrase = cli_keep.new_passphrase() if encrypt else None
    with console.bar(unit=" images", desc="compressing", leave=False) as bar:

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
                min_psnr=min_psnr,
                lossless=lossless,
                keep_metadata=keep_metadata,
                passphrase=passphrase,
                force=force,
                resume=resume,
                jobs=jobs or processors(),
                progress=show,
            )
        except KeyboardInterrupt as error:
            raise _OneLineError(cli_keep.interrupted(csv, error)) from None
    console.warn(report.failed)
    console.result(_table(report), cli_keep.report_data(report))
    cli_keep.mention_skipped(report.skipped)
    stayed = cli_keep.delete_originals(csv, folder, report, yes) if delete else False
    sys.exit(1 if report.failed or stayed else 0)


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
@console.output_options
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
    if save is not None:
        if said := images.write(image, save):
            console.warn([(found.name, said)])
    elif not console.wants_json():
        display.show(image, found.name)
        return
    size = f"{image.width}x{image.height}"
    console.result(
        f"{one_line(found.name)}: {size} {image.mode} -> {one_line(save)}",
        {
            "name": found.name,
            "width": image.width,
            "height": image.height,
            "mode": image.mode,
            "quality": quality_text(found.quality),
            "bytes": len(found.latents),
            "saved": save,
        },
    )


@main.command("list")
@click.argument("csv", metavar="OUT.csv", type=click.Path(path_type=Path))
@console.output_options
def list_(csv: Path) -> None:
    """List the images of an archive: row, bytes of latents, size, mode, quality, name."""
    archive = aezip.open(csv)
    missing = cli_keep.warn_of_missing(archive)
    rows: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []
    console.say(
        console.heading(f"{'row':>6} {'bytes':>9} {'size':>11} {'mode':4} {'q':>5}  name")
    )
    for number in range(len(archive)):
        try:
            row = archive.row(number)
        except ArchiveError as error:
            failed.append((f"row {number}", str(error)))
            console.error(str(error))
            continue
        size = f"{row.width}x{row.height}"
        quality = quality_text(row.quality)
        console.say(
            f"{number:6} {len(row.latents):9,} {size:>11} {row.mode:4} {quality:>5}  "
            f"{one_line(row.name)}"
        )
        if console.wants_json():
            rows.append(
                {
                    "row": number,
                    "name": row.name,
                    "width": row.width,
                    "height": row.height,
                    "mode": row.mode,
                    "quality": quality_text(row.quality),
                    "bytes": len(row.latents),
                }
            )
    if console.wants_json():
        console.result("", {"rows": rows, "failed": console.failures(failed)})
    sys.exit(1 if failed or missing else 0)


@main.command()
@click.argument("file", metavar="OUT.csv|MODEL.h5", type=click.Path(path_type=Path))
@click.option(
    "--plot",
    metavar="CURVE.png",
    type=click.Path(path_type=Path),
    help="Draw a model's training: its curves, and a sample image at several stages.",
)
@console.output_options
def info(file: Path, plot: Path | None) -> None:
    """Describe an archive, a decoder or a model: architecture, parameters, bytes, history."""
    from aezip.fitting import load_model

    size = os.path.getsize(file) if file.is_file() else 0
    is_csv = file.suffix.lower() not in (".h5", ".hdf5")
    is_model = not is_csv and read_format(file) == MODEL_FORMAT
    if plot is not None and not is_model:
        raise click.UsageError("--plot draws the training of a model (models/NAME.h5)")
    data: dict[str, Any]
    missing = 0
    if is_csv:
        archive = aezip.open(file)
        missing = cli_keep.warn_of_missing(archive)
        autoencoder = archive.decoder
        decoder = os.path.getsize(archive.decoder_path)
        lines = [
            console.heading(f"archive of {console.counted(len(archive))}"),
            f"  {one_line(file)}: {size:,} bytes",
            f"  {one_line(archive.decoder_path)}: {decoder:,} bytes",
            f"  each image at {archive.promise:.1f} dB or more" if archive.promise
            else "  no promise of quality",
            *(["  encrypted"] if archive.cipher else []),
            _architecture(autoencoder),
        ]  # fmt: skip
        data = {
            "kind": "archive", "images": len(archive), "bytes": size, "decoder_bytes": decoder,
            "promise": archive.promise, "encrypted": archive.cipher is not None,
            "missing": archive.missing,
        }  # fmt: skip
    elif is_model:
        autoencoder, header = load_model(file)
        lines = [
            console.heading(
                f"model fitted to {console.counted(header['images'])} of "
                f"{header['pixels']:,} pixels"
            ),
            f"  {one_line(file)}: {size:,} bytes",
            f"  by aezip {one_line(header['aezip'])}, seed {header['seed']}",
        ]
        if header["progress"] < 1:
            share = f"{100 * header['progress']:.0f} %"
            lines.append(f"  interrupted at {share}; fit goes on from there")
        lines += [_architecture(autoencoder), _history(header["history"])]
        told = ("images", "pixels", "aezip", "seed", "progress", "history")
        data = {"kind": "model", "bytes": size, **{key: header[key] for key in told}}
        if plot is not None:
            from aezip import plots

            plots.training(header, plot, title=f"{one_line(file.name)}: {autoencoder.arch}")
            lines.append(f"-> {one_line(plot)}")
            data["plot"] = plot
    else:
        opened = load_decoder(file)
        autoencoder = opened.decoder
        lines = [
            console.heading(f"decoder {opened.identity}"),
            f"  {one_line(file)}: {size:,} bytes",
            _architecture(autoencoder),
        ]
        data = {"kind": "decoder", "bytes": size, "content_id": opened.identity}
    travelling = autoencoder.travelling().values()
    data |= {
        "architecture": autoencoder.arch,
        "config": autoencoder.config,
        "parameters": sum(x.size for x in travelling),
        "parameter_bytes": len(autoencoder.pack()),
    }
    console.result("\n".join(lines), data)
    sys.exit(missing)


@main.command()
@click.argument("csv", metavar="OUT.csv", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rows", metavar="FROM:TO", help="Only these rows, such as 0:10 or 7; TO is not in.")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that work side by side; by default one per processor.",
)
@console.output_options
def extract(csv: Path, folder: Path, rows: str | None, force: bool, jobs: int | None) -> None:
    """Write the images of an archive into FOLDER, as PNG files under their own names."""
    archive = aezip.open(csv)
    missing = cli_keep.warn_of_missing(archive)
    if rows is not None:
        archive = archive[row_range(rows)]
        if not len(archive):
            raise ArchiveError(f"{one_line(csv)} has no rows {rows}")
    with console.bar(len(archive), unit=" images", leave=False) as bar:
        failed = aezip.extract(
            archive,
            folder,
            force=force,
            jobs=jobs or processors(),
            progress=lambda done: bar.update(done - bar.n),
        )
    console.warn(failed)
    written = len(archive) - len(failed)
    console.result(
        f"{console.counted(written)} -> {one_line(folder)}",
        {"images": written, "folder": folder, "failed": console.failures(failed)},
    )
    sys.exit(1 if failed or missing else 0)


for command in (*cli_keep.COMMANDS, *cli_show.COMMANDS):
    main.add_command(command)

_BAR = "{percentage:3.0f}%|{bar}| {desc}"


def _fitted(result: Fitted) -> str:
    minutes, bpp, db = result.history[-1]
    sample = "over qualities 25 to 90" if result.autoencoder.arch == "pyramid" else "on a sample"
    return (
        f"{result.autoencoder.arch} model of {console.counted(result.images)}: "
        f"{bpp:.3f} bits per pixel at {db:.2f} dB {sample}, after {minutes:.1f} minutes\n"
        f"-> {one_line(result.path)}"
    )


def _table(report: Report) -> str:
    def line(what: str, size: float | None, exact: bool = True) -> str:
        if size is None:
            return f"{what:28} {'not possible':>15}"
        mark = " " if exact else "~"
        return f"{what:28}{mark}{size:>14,.0f} {8 * size / report.pixels:>9.3f}"

    if report.quality == EXACT:
        kind = "lossless"
    elif report.budget is not None:
        kind = f"{report.budget} bytes"
    else:
        kind = f"quality {report.quality}"
    exact = report.compared == report.images
    lines = [
        console.heading(f"{'':28} {'bytes':>14} {'bits/pixel':>10}"),
        line(f"{console.counted(report.images)}, as they were", report.original_bytes),
        console.good(line(f"aezip archive, {kind}", report.archive_bytes)),
        line("  " + one_line(report.csv.name), report.csv_bytes),
        line("  " + one_line(report.decoder.name), report.decoder_bytes),
        *(line(f"{name} at equal PSNR", size, exact) for name, size in report.peers.items()),
        cli_keep.measured(report),
        cli_keep.kept(report),
        f"compressed, decoded and measured in {console.duration(report.seconds)}",
    ]
    if report.archive_bytes > report.original_bytes:
        lines.append("the archive is larger than the images: it does not pay here")
    smaller = [
        f"{name} would be {100 * (1 - size / report.archive_bytes):.0f} % smaller"
        for name, size in report.peers.items()
        if size is not None and size < report.archive_bytes
    ]
    if smaller:
        lines.append(
            f"{' and '.join(smaller)} at equal PSNR; the decoder is "
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
