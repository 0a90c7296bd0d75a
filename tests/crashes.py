"""Kills aezip at random moments and looks at what it leaves: `python tests/crashes.py --kills 100`.

The tests do the same a few times. Each kill is a SIGKILL to the whole group of processes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import click
from folders import (
    copied,
    digit_archive,
    environment,
    files,
    photos,
    place,
    quick_model,
)
from PIL import Image

import aezip
from aezip.storage.hdf5 import read_model
from aezip.storage.journal import partial_path

IMAGES = 12


def many(folder: Path, count: int = IMAGES) -> Path:
    """A folder of small photographs, all different."""
    folder.mkdir()
    with Image.open(photos() / "lake.png") as image:
        for number in range(count):
            image.rotate(7 * number).save(folder / f"{number:02}.png")
    return folder


def killed(arguments: list[object], cwd: Path, seconds: float) -> bool:
    """Whether `aezip` with these arguments was still at work after so long, and was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aezip", *map(str, arguments)],
        cwd=cwd, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    if process.returncode:
        raise AssertionError(said)
    return False


class Compressing:
    """`compress` over an archive of other images."""

    def __init__(self, jobs: int) -> None:
        self.cwd = place("crashes")
        self.csv = self.cwd / "out.csv"
        many(self.cwd / "many")
        self.command = [
            "compress", "many", "out.csv", "--model", quick_model(), "--jobs", jobs, "--force",
        ]  # fmt: skip
        began = time.monotonic()
        assert not killed(self.command, self.cwd, 600)
        self.seconds = time.monotonic() - began
        self.new = {x: (self.cwd / x).read_bytes() for x in ("out.csv", "out.h5")}
        self.old = aezip.open(digit_archive())

    def trial(self, seconds: float) -> str:
        """Kill it after so long; what was found then. Raises AssertionError where anything was
        lost."""
        for path in self.cwd.glob("*.partial"):
            path.unlink()
        copied(digit_archive(), self.cwd)
        if not killed(self.command, self.cwd, seconds):
            return "had ended"
        archive = aezip.open(self.csv)
        found = aezip.verify(self.csv)
        assert found.wrong == [] and found.intact == len(archive)
        if archive.names == self.old.names:
            assert all(archive.row(i) == self.old.row(i) for i in range(len(archive)))
            state = "the old archive"
        else:
            assert len(archive) == IMAGES
            state = "the new archive"
        before = partial_path(self.csv).exists()
        told: list[tuple[int, int]] = []
        report = aezip.compress(
            self.cwd / "many", self.csv, quick_model(), force=True, resume=True, compare=False,
            progress=lambda *x: told.append(x),
        )  # fmt: skip
        assert report.images == IMAGES and aezip.verify(self.csv, self.cwd / "many").wrong == []
        after = files(self.cwd)
        assert {x: after[x] for x in self.new} == self.new
        assert [x for x in after if not x.startswith("many/")] == sorted(self.new), "leftovers"
        done = told[0][0]
        return f"{state}, {'some' if done else 'none'} done" if before else state


class Fitting:
    """`fit` over a model that is there."""

    def __init__(self) -> None:
        self.cwd = place("crashes")
        shutil.copy(quick_model(), self.cwd / "m.h5")
        self.command = ["fit", photos(), "--model", "m.h5", "--steps", 2, "--jobs", 1]
        began = time.monotonic()
        assert not killed(self.command, self.cwd, 600)
        self.seconds = time.monotonic() - began

    def trial(self, seconds: float) -> str:
        """As of `Compressing`."""
        shutil.copy(quick_model(), self.cwd / "m.h5")
        old = (self.cwd / "m.h5").read_bytes()
        was = killed(self.command, self.cwd, seconds)
        header, tensors = read_model(self.cwd / "m.h5")
        assert header["arch"] == "pyramid" and tensors
        if not was:
            return "had ended"
        return "the old model" if (self.cwd / "m.h5").read_bytes() == old else "a newer model"


@click.command()
@click.option("--kills", default=100, help="Of compress, and as many of fit.")
@click.option("--seed", default=0)
def main(kills: int, seed: int) -> None:
    rng = random.Random(seed)
    for name, target in (("compress", Compressing(1)), ("compress, 2 jobs", Compressing(2)),
                         ("fit", Fitting())):  # fmt: skip
        count = kills if "jobs" not in name else max(kills // 4, 1)
        began, found = time.monotonic(), Counter[str]()
        while sum(found.values()) - found["had ended"] < count:
            found[target.trial(rng.uniform(0, 1.1 * target.seconds))] += 1
        seconds = time.monotonic() - began
        click.echo(f"{name}: {count} kills, nothing lost, {seconds:.0f} s; {dict(found)}")


if __name__ == "__main__":
    main()
