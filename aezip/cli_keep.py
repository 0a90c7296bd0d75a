"""The commands that keep an archive whole and growing: add, remove, verify; and what `compress` has
in common with them. The program is `cli`; they are here for its size alone."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import aezip
from aezip import console
from aezip.errors import ArchiveError
from aezip.interrupts import TooLateError
from aezip.options import processors
from aezip.storage import secrecy
from aezip.storage.files import one_line
from aezip.storage.journal import partial_path
from aezip.storage.row import EXACT, quality_text

if TYPE_CHECKING:
    from aezip.compressing import Report

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("csv", metavar="OUT.csv", type=_PATH)
@click.argument("folder", type=_PATH)
@click.option(
    "--model",
    type=_PATH,
    help="The model that the archive was compressed with; by default looked for in models/, and "
    "photos can do without.",
)
@click.option(
    "--quality", type=click.IntRange(1, 100), help="By default that of most of the archive."
)
@click.option("--effort", type=click.IntRange(1, 9), default=5, show_default=True,
              help="As of aezip compress.")  # fmt: skip
@click.option("--lossless", is_flag=True, help="Code the images exactly, pixel by pixel.")
@click.option("--keep-metadata", is_flag=True, help="Keep the images' EXIF data, too.")
@click.option("--force", is_flag=True, help="Even if rows of the archive are missing.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where this very command, with this folder and these options, was interrupted.",
)
@click.option("--delete-originals", "delete", is_flag=True, help="As of aezip compress.")
@click.option("--yes", is_flag=True, help="Delete them without asking.")
@click.option("--jobs", type=click.IntRange(min=1), help="As of aezip compress.")
@console.output_options
def add(
    csv: Path,
    folder: Path,
    model: Path | None,
    quality: int | None,
    effort: int,
    lossless: bool,
    keep_metadata: bool,
    force: bool,
    resume: bool,
    delete: bool,
    yes: bool,
    jobs: int | None,
) -> None:
    """Add the images of FOLDER to OUT.csv; the rows that are there stay as they are."""
    check_coding(quality, lossless, delete, yes)
    with console.bar(unit=" images", desc="compressing", leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        before = os.path.getsize(csv) if csv.exists() else 0
        try:
            report = aezip.add(
                csv,
                folder,
                model,
                quality=quality,
                effort=effort,
                lossless=lossless,
                keep_metadata=keep_metadata,
                force=force,
                resume=resume,
                jobs=jobs or processors(),
                progress=show,
            )
        except KeyboardInterrupt as error:
            raise ArchiveError(interrupted(csv, error)) from None
    console.warn(report.failed)
    lines = [
        f"added {console.counted(report.images)}: {report.original_bytes:,} bytes as they were, "
        f"{report.csv_bytes - before:,} in {one_line(csv)}"
    ]
    if report.images:
        lines += [measured(report), kept(report)]
    if report.there:
        lines.append(f"{console.counted(report.there)} there already")
    console.result("\n".join(lines), report_data(report))
    mention_skipped(report.skipped)
    stayed = delete_originals(csv, folder, report, yes) if delete and report.images else False
    sys.exit(1 if report.failed or stayed else 0)


@click.command()
@click.argument("csv", metavar="OUT.csv", type=_PATH)
@click.option("--name", "names", metavar="FILE", multiple=True, help="Its name; may be repeated.")
@click.option("--damaged", is_flag=True, help="All rows that are damaged.")
@click.option("--force", is_flag=True, help="Even if rows of the archive are missing.")
@console.output_options
def remove(csv: Path, names: tuple[str, ...], damaged: bool, force: bool) -> None:
    """Remove images from OUT.csv; the other rows stay as they are."""
    if not (names or damaged or force):
        raise click.UsageError("--name or --damaged says which")
    removed = aezip.remove(csv, names, damaged=damaged, force=force)
    lines = [f"removed {one_line(name)}" for name in removed]
    console.result("\n".join(lines) or "nothing was removed", {"removed": removed})


@click.command()
@click.argument("csv", metavar="OUT.csv", type=_PATH)
@click.option(
    "--against",
    metavar="FOLDER",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Compare with the originals that are still in this folder.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that work side by side; by default one per processor.",
)
@console.output_options
def verify(csv: Path, against: Path | None, jobs: int | None) -> None:
    """Check every row of OUT.csv, decode every image, and say what is wrong.

    The exit status is 1 if anything is, or if the folder holds images that are not in OUT.csv.
    """
    with console.bar(unit=" images", desc="verifying", leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found = aezip.verify(csv, against, jobs=jobs or processors(), progress=show)
    for line in found.wrong:
        console.error(line)
    lines = [f"{found.intact:,} of {found.rows:,} rows are whole and decode"]
    data: dict[str, Any] = {
        "rows": found.rows, "intact": found.intact, "promise": found.promise,
        "wrong": found.wrong, "gone": found.gone, "absent": found.absent,
        "exact": found.exact, "psnrs": _finite(found.psnrs),
    }  # fmt: skip
    if found.psnrs:
        from aezip.coding import mean_and_worst

        lines.append(_psnr_line(*mean_and_worst(found.psnrs), found.exact == len(found.psnrs)))
    if against is not None:
        lines.append(f"compared with {len(found.psnrs):,} originals, {found.gone:,} are gone")
    if found.absent and against is not None:
        for name in found.absent:
            console.error(f"{one_line(against / name)} is not in {one_line(csv)}")
        missed = console.counted(len(found.absent))
        lines.append(f"not in {one_line(csv)}: {missed} of {one_line(against)}")
    if found.wrong:
        count = len(found.wrong)
        lines.append("1 thing is wrong" if count == 1 else f"{count:,} things are wrong")
    console.result("\n".join(lines), data)
    sys.exit(1 if found.wrong or found.absent else 0)


COMMANDS = (add, remove, verify)


# --- what `compress` and others need, too -------------------------------------------------------


def ask(question: str) -> str:
    """The passphrase, typed. Processes that share the work find it in the environment."""
    given: str = click.prompt(question, hide_input=True, err=True)
    os.environ[secrecy.VARIABLE] = given
    return given


def new_passphrase() -> str:
    """Of an archive that is to be encrypted. Raises ArchiveError where nobody can be asked."""
    found = os.environ.get(secrecy.VARIABLE)
    if found:
        return found
    if secrecy.ask is None:
        raise ArchiveError(f"--encrypt needs a passphrase: in {secrecy.VARIABLE}, or typed")
    given: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True)
    os.environ[secrecy.VARIABLE] = given
    return given


def check_coding(quality: int | None, lossless: bool, delete: bool, yes: bool) -> None:
    """Raises UsageError for options that exclude each other."""
    if quality is not None and lossless:
        raise click.UsageError("--quality and --lossless exclude each other")
    if yes and not delete:
        raise click.UsageError("--yes belongs to --delete-originals")


def interrupted(csv: Path, error: KeyboardInterrupt) -> str:
    """What to say after a Ctrl-C."""
    if isinstance(error, TooLateError):
        return f"interrupted; {one_line(csv)} was written before"
    more = "; --resume goes on from here" if partial_path(csv).exists() else ""
    return f"interrupted; {one_line(csv)} was not written{more}"


def delete_originals(csv: Path, folder: Path, report: Report, yes: bool) -> bool:
    """Delete the originals, once that is confirmed. Whether any of them had to stay."""
    if not yes:
        size = f"{report.original_bytes:,} bytes in {one_line(folder)}"
        what = f"{console.counted(report.images)} of {size}"
        click.confirm(f"delete {what}?", abort=True, err=console.wants_json())
    with console.bar(len(report.psnrs), unit=" images", desc="deleting", leave=False) as bar:
        deleted = aezip.delete_originals(
            csv, folder, report.psnrs, progress=lambda done: bar.update(done - bar.n)
        )
    console.warn(deleted.kept)
    console.say(f"deleted {console.counted(deleted.count)}, {deleted.bytes:,} bytes")
    return bool(deleted.kept)


def warn_of_missing(archive: aezip.Archive) -> int:
    """1 where rows are missing, or are not those that were written, after saying so."""
    wrong = archive.missing or archive.disordered
    if wrong:
        console.error(wrong)
    return 1 if wrong else 0


def kept(report: Report) -> str:
    """What was promised of the images, and what of their files is not in the archive."""
    how = []
    if report.finer:
        how.append(f"{console.counted(report.finer)} coded finer")
    if report.exact and report.quality != EXACT:
        how.append(f"{console.counted(report.exact)} stored exactly")
    promised = f"each at {report.promise:.1f} dB or more" if report.promise else ""
    lines = [": ".join(x for x in (promised, ", ".join(how)) if x)] if promised or how else []
    if report.kept:
        lines.append(f"EXIF kept: {report.kept:,} bytes")
    if report.dropped:
        lines.append(f"EXIF not kept: {report.dropped:,} bytes (--keep-metadata keeps it)")
    for what in dict.fromkeys(x for _, x in report.lost):
        names = [name for name, x in report.lost if x == what]
        more = f" and {len(names) - 1} others" if len(names) > 1 else ""
        lines.append(f"not kept: {what} ({one_line(names[0])}{more})")
    return "\n".join(lines) or "no promise of quality"


def measured(report: Report) -> str:
    """How near the images are to the originals."""
    exact = report.exact == report.images
    return _psnr_line(report.mean_psnr, report.worst_psnr, report.worst_name, exact)


def _psnr_line(mean: float, worst: float, name: str, exact: bool) -> str:
    """exact: whether all images are stored so; the PSNR is blind to what is transparent."""
    if math.isinf(mean):
        return "every image is exact" if exact else "no image differs in what is not transparent"
    return f"PSNR {mean:.2f} dB on average, at worst {worst:.2f} dB ({one_line(name)})"


def report_data(report: Report) -> dict[str, Any]:
    """A report as JSON can hold it: null for the PSNR where nothing differs."""
    every = vars(report) | {
        "archive_bytes": report.archive_bytes,
        "bits_per_pixel": report.bits_per_pixel if report.pixels else None,
        "failed": console.failures(report.failed),
        "lost": [{"name": name, "what": what} for name, what in report.lost],
        "psnrs": _finite(report.psnrs),
        "quality": quality_text(report.quality),
    }
    return {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in every.items()}


def mention_skipped(skipped: int) -> None:
    """How many files of the folder were no images."""
    if skipped:
        files = "file that is hidden or no image" if skipped == 1 else "files hidden or no images"
        console.say(f"skipped {skipped} {files}")


def _finite(psnrs: Mapping[str, float]) -> dict[str, float | None]:
    return {name: db if math.isfinite(db) else None for name, db in psnrs.items()}
