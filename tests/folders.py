"""Folders of small real images, models fitted to them and archives of them, made once and shared
by the tests of fitting, compressing, archives and the command line; and two ways to run aezip."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image, ImageCms
from samples import DATA

import aezip
from aezip.cli import main
from aezip.storage.hdf5 import read_decoder
from aezip.storage.rows import Row, write_rows

DIGITS = DATA / "digits"
STEPS = 20
_ROOT = tempfile.TemporaryDirectory(prefix="aezip-tests-")
_CROPS = {  # where in the photograph; its size in pixels
    "animals/dogs.png": (64, 96),
    "drum.jpg": (80, 64),
    "lake.png": (96, 64),
}


def run(*arguments: object, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """`aezip` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "aezip", *map(str, arguments)],
        cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=300,
        **options,
    )  # fmt: skip


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """The same, to be sent a Ctrl-C, which reaches the processes it starts as well."""
    return subprocess.Popen(
        [sys.executable, "-m", "aezip", *map(str, arguments)],
        cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        # Tests that run in the background of a shell would have theirs ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def environment() -> dict[str, str]:
    """As of a terminal without a screen."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "COLUMNS", "LINES")
    return {k: v for k, v in os.environ.items() if k not in hidden} | {"PYTHONUTF8": "1"}


def invoke(*arguments: object, cwd: Path) -> Result:
    """A command in this process; an exception that would be a traceback is raised."""
    with contextlib.chdir(cwd):
        return _runner().invoke(main, [str(x) for x in arguments], catch_exceptions=False)


def _runner() -> CliRunner:
    try:
        return CliRunner(mix_stderr=False)  # before click 8.2
    except TypeError:
        return CliRunner()


def refused(result: Result, *parts: str, status: int = 1) -> str:
    """The one line on standard error, which has all the parts in it."""
    assert result.exit_code == status, result.output
    assert result.stderr.startswith("aezip: ") and result.stderr.count("\n") == 1, result.stderr
    assert result.stdout == ""
    for part in parts:
        assert part in result.stderr
    return result.stderr


def place(name: str) -> Path:
    """A new folder that lasts as long as the tests."""
    return Path(tempfile.mkdtemp(prefix=name, dir=_ROOT.name))


@cache
def photos() -> Path:
    """Three small crops of photographs, one of them in a folder below."""
    folder = place("crops") / "photos"
    for name, (width, height) in _CROPS.items():
        with Image.open(DATA / "photos" / Path(name).with_suffix(".jpg")) as image:
            crop = image.crop((120, 120, 120 + width, 120 + height))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        crop.save(folder / name, quality=95)
    return folder


@cache
def foreign_colours() -> bytes:
    """An ICC profile in which red is green and green is red, else sRGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for a, b in ((b"rXYZ", b"-XYZ"), (b"gXYZ", b"rXYZ"), (b"-XYZ", b"gXYZ")):
        assert profile.count(a) == 1
        profile = profile.replace(a, b)
    return profile


@cache
def foreign_photos() -> Path:
    """The three photographs, as PNG files whose colours are meant in `foreign_colours`."""
    folder = place("foreign") / "photos"
    for name in _CROPS:
        path = (folder / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photos() / name) as image:
            image.convert("RGB").save(path, icc_profile=foreign_colours())
    return folder


@cache
def foreign_archive() -> Path:
    """Of these, exact."""
    path = place("packed") / "out.csv"
    aezip.compress(foreign_photos(), path, quick_model(), lossless=True, compare=False)
    return path


@cache
def quick_model() -> Path:
    """For photographs, not trained at all: what it codes is right, if not small."""
    path = place("fitted") / "quick.h5"
    aezip.fit(photos(), path, steps=0)
    return path


@cache
def quick_archive() -> Path:
    """Of the three photographs, at quality 50."""
    path = place("packed") / "out.csv"
    aezip.compress(photos(), path, quick_model(), quality=50, compare=False)
    return path


@cache
def photo_model() -> Path:
    path = place("fitted") / "photos.h5"
    aezip.fit(photos(), path, steps=STEPS)
    return path


@cache
def digit_model() -> Path:
    path = place("fitted") / "digits.h5"
    aezip.fit(DIGITS, path, arch="dense", steps=200)
    return path


@cache
def photo_archive() -> Path:
    path = place("packed") / "out.csv"
    aezip.compress(photos(), path, photo_model(), compare=False)
    return path


@cache
def digit_archive() -> Path:
    path = place("packed") / "out.csv"
    # No promise: so short a training serves most of them badly.
    aezip.compress(DIGITS, path, digit_model(), min_psnr=0, compare=False)
    return path


def renamed_digit(csv: Path, name: str) -> None:
    """Write an archive of one digit that has this name."""
    archive = aezip.open(digit_archive())
    header, _, identity = read_decoder(archive.decoder_path)
    row = Row(**{**vars(archive.row(0)), "name": name})
    write_rows(csv, [row], identity, header["defaults"])
    shutil.copy(archive.decoder_path, csv.with_suffix(".h5"))


def copied(archive: Path, folder: Path) -> Path:
    """The two files of an archive in another folder; the path of its CSV there."""
    for path in (archive, archive.with_suffix(".h5")):
        shutil.copy(path, folder)
    return folder / archive.name


def pixels(path: Path) -> np.ndarray:
    """(height, width, channels) of an image file of mode L, LA, RGB or RGBA, by Pillow alone."""
    with Image.open(path) as image:
        values = np.asarray(image)
    return values if values.ndim == 3 else values[..., None]


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR by its formula."""
    error = (a.astype(float) - b.astype(float)) ** 2
    return float(10 * np.log10(255**2 / error.mean())) if error.any() else float("inf")


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder by their names in it."""
    paths = sorted(x for x in folder.rglob("*") if x.is_file())
    return {x.relative_to(folder).as_posix(): x.read_bytes() for x in paths}
