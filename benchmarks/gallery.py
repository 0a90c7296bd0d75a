"""Screenshots of the gallery in Chromium, and how soon thumbnails are there after a jump."""

import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

LOADED = """() => {
    const inView = [...document.querySelectorAll('.item')].filter(item => {
        const box = item.getBoundingClientRect();
        return box.bottom > 0 && box.top < innerHeight;
    });
    return inView.length && inView.every(item => item.querySelector('img')?.naturalWidth);
}"""
SHARP = "() => !document.querySelector('#picture.coarse')"
JUMPS = (0.31, 0.87, 0.12, 0.55, 0.99, 0.43, 0.71, 0.23, 0.64)
WIDE = {"viewport": {"width": 1280, "height": 800}}
NARROW = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2, "has_touch": True}


@contextlib.contextmanager
def browsing(csv: Path, originals: Path | None) -> Iterator[str]:
    """The address of `aezip browse`."""
    words = [sys.executable, "-m", "aezip", "browse", str(csv)]
    words += ["--originals", str(originals)] if originals else []
    hidden = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        words, env=hidden | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    )
    try:
        found = re.search(r"http://\S+/", process.stdout.readline())
        if found is None:
            raise SystemExit("aezip browse said no address")
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def opened(browser: Browser, address: str, **options: object) -> Page:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_function(LOADED)
    return page


def settle(page: Page) -> None:
    """Until all that is in view is as sharp as it gets."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(400)


def jumps(page: Page) -> list[float]:
    """Seconds from a jump to a place until all thumbnails in view are shown."""
    times = []
    for share in JUMPS:
        began = time.monotonic()
        page.evaluate("x => scrollTo(0, x * document.documentElement.scrollHeight)", share)
        page.wait_for_function(f"() => scrollY > 0 && ({LOADED})()")
        times.append(time.monotonic() - began)
    return times


def shoot(page: Page, path: Path) -> None:
    page.screenshot(path=path)
    with Image.open(path) as image:  # half the bytes
        image.convert("RGB").save(path.with_suffix(".webp"), quality=88, method=6)
    path.unlink()
    click.echo(path.with_suffix(".webp"))


@click.command()
@click.argument("csv", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--originals", type=click.Path(path_type=Path, exists=True))
@click.option("--open", "shown", default=0, help="The row that is shown in full size.")
@click.option("--dark-row", default=1, help="The row shown on the narrow, dark screen.")
def main(csv: Path, out: Path, originals: Path | None, shown: int, dark_row: int) -> None:
    """Write screenshots of the gallery of CSV into the folder OUT, wide, narrow and dark, and print
    how long thumbnails take after jumps through it."""
    out.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("needs Chromium: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with browsing(csv, originals) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        page = opened(browser, address, **WIDE)
        times = jumps(page)
        click.echo(
            f"thumbnails in view after a jump: {statistics.median(times):.2f} s, "
            f"at most {max(times):.2f} s, of {len(times)}"
        )
        page.evaluate("scrollTo(0, 0)")
        settle(page)
        shoot(page, out / "gallery-wide.png")
        page = opened(browser, f"{address}#{shown}", **WIDE)
        page.wait_for_function(SHARP)
        settle(page)
        shoot(page, out / "gallery-image.png")
        page = opened(browser, address, **WIDE, color_scheme="dark")
        settle(page)
        shoot(page, out / "gallery-dark.png")
        page = opened(browser, address, **NARROW)
        settle(page)
        shoot(page, out / "gallery-narrow.png")
        page = opened(browser, f"{address}#{dark_row}", **NARROW, color_scheme="dark")
        page.wait_for_function(SHARP)
        settle(page)
        shoot(page, out / "gallery-narrow-dark.png")
        browser.close()


if __name__ == "__main__":
    main()
