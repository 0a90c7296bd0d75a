"""The commands that make visible what aezip does: browse, export, sheet, bench. The program is
`cli`; they are here for its size alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import aezip
from aezip import console
from aezip.errors import ArchiveError
from aezip.options import processors, row_range
from aezip.storage.files import one_line
from aezip.targets import check_outside, check_target

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("csv", metavar="OUT.csv", type=_PATH)
@click.option(
    "--originals",
    metavar="FOLDER",
    type=_PATH,
    help="The images that it was made of, to compare with.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="By default 8765, or another that is free."
)
def browse(csv: Path, originals: Path | None, port: int | None) -> None:
    """Show an archive in the browser: a gallery that this machine alone can reach.

    Ctrl-C ends it.
    """
    import threading
    import webbrowser

    from aezip.display import has_screen
    from aezip.web.server import serve

    def ready(address: str) -> None:
        console.say(f"{one_line(csv)} is at {console.heading(address)} until you press Ctrl-C")
        if has_screen():
            # Some browsers keep whoever opens them waiting until they have the page.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(csv, originals, port=port, jobs=processors(), ready=ready)


@click.command()
@click.argument("csv", metavar="OUT.csv", type=_PATH)
@click.argument("html", metavar="GALLERY.html", type=_PATH)
@click.option(
    "--side",
    type=click.IntRange(16, 1024),
    default=200,
    show_default=True,
    help="Pixels of a preview's longer side.",
)
@console.output_options
def export(csv: Path, html: Path, side: int) -> None:
    """Write a gallery of small previews as one HTML file, which opens without aezip."""
    from aezip.web.page import export as write

    with console.bar(unit=" images", desc="previews", leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        failed = write(csv, html, side=side, progress=show)
    console.warn(failed)
    count, size = len(aezip.open(csv)) - len(failed), html.stat().st_size
    console.result(
        f"{console.counted(count, 'preview')} -> {one_line(html)}, {size:,} bytes",
        {"images": count, "html": html, "bytes": size, "failed": console.failures(failed)},
    )
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("csv", metavar="OUT.csv", type=_PATH)
@click.argument("picture", metavar="SHEET.png", type=_PATH)
@click.option(
    "--against",
    metavar="FOLDER",
    type=_PATH,
    help="The originals, drawn above what the archive has of them.",
)
@click.option(
    "--rows",
    metavar="FROM:TO",
    help="These rows, such as 0:10 or 7; TO is not in. By default some, spread over all.",
)
@console.output_options
def sheet(csv: Path, picture: Path, against: Path | None, rows: str | None) -> None:
    """Draw a contact sheet: images, with the bytes and the PSNR of each below it."""
    from aezip.sheet import sheet as draw

    check_target(picture)
    if against is not None:
        check_outside(picture, against)
    archive = aezip.open(csv)
    numbers = None if rows is None else range(len(archive))[row_range(rows)]
    if numbers is not None and not len(numbers):
        raise ArchiveError(f"{one_line(csv)} has no rows {rows}")
    with console.bar(unit=" images", desc="drawing", leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        count, failed = draw(archive, picture, rows=numbers, against=against, progress=show)
    console.warn(failed)
    console.result(
        f"{console.counted(count)} -> {one_line(picture)}",
        {"images": count, "picture": picture, "failed": console.failures(failed)},
    )
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("folder", type=_PATH)
@click.option(
    "--model", type=_PATH, help="A fitted model; by default models/NAME.h5 for a folder NAME."
)
@click.option(
    "--images",
    "most",
    type=click.IntRange(min=1),
    help="How many to measure; by default 200, or as many as have 12 megapixels.",
)
@click.option("--csv", type=_PATH, default=Path("bench.csv"), show_default=True)
@click.option("--plot", type=_PATH, default=Path("bench.png"), show_default=True)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that work side by side; by default one per processor.",
)
@console.output_options
def bench(
    folder: Path, model: Path | None, most: int | None, csv: Path, plot: Path, jobs: int | None
) -> None:
    """Measure what FOLDER takes as JPEG, WebP, AVIF, JPEG XL and as aezip, at equal quality.

    Prints a table, and writes the measured points as a CSV and the curves as a PNG.
    """
    import time

    from aezip import bench as benches
    from aezip import plots

    plots.check_plots(plot)
    check_outside(plot, folder)
    benches.check_csv(csv)
    began = time.monotonic()
    with console.bar(desc="reading the images", leave=False) as bar:

        def show(codec: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_description_str(codec, refresh=False)
            bar.update(done - bar.n)

        result = benches.bench(
            folder,
            model,
            most=most or benches.SAMPLE,
            most_pixels=benches.SAMPLE_PIXELS if most is None else sys.maxsize,
            jobs=jobs or processors(),
            progress=show,
        )
    console.warn(result.failed)
    result.write_csv(csv)
    count = console.counted(result.images)
    title = f"{one_line(folder.resolve().name)}, {count}"
    plots.rate_distortion(result.bits_per_pixel(), plot, title=title)
    whole = result.measured == result.images
    lines = [
        console.heading(
            f"bytes of {count} at equal mean PSNR, aezip's against each in percent"
        ),
        benches.table(result, result.levels()),
        *(f"{name} is left out: {why}" for name, why in result.missing.items()),
    ]
    if not whole:
        lines.append(f"extrapolated from {result.measured} of the images; --images measures more")
    seconds = time.monotonic() - began
    lines.append(f"measured in {console.duration(seconds)} -> {one_line(csv)}, {one_line(plot)}")
    data = {**benches.summary(result), "csv": csv, "plot": plot, "seconds": round(seconds, 3),
            "failed": console.failures(result.failed)}  # fmt: skip
    console.result("\n".join(lines), data)
    sys.exit(1 if result.failed else 0)


COMMANDS = (browse, export, sheet, bench)
