"""A gallery of the digits and one of the photographs, served as `aezip browse` does."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from folders import digit_archive, environment, place

import aezip
from aezip.storage.hdf5 import read_decoder
from aezip.storage.rows import Row, write_rows

MANY = 10_000


@cache
def many() -> Path:
    """The digits' archive with its rows repeated under other names."""
    archive = aezip.open(digit_archive())
    header, _, identity = read_decoder(archive.decoder_path)
    rows = [archive.row(i) for i in range(len(archive))]
    path = place("many") / "many.csv"
    write_rows(
        path,
        (Row(**{**vars(rows[i % len(rows)]), "name": f"{i:05}.png"}) for i in range(MANY)),
        identity,
        header["defaults"],
    )
    path.with_suffix(".h5").write_bytes(archive.decoder_path.read_bytes())
    return path


@contextlib.contextmanager
def browsing(*arguments: object, cwd: Path) -> Iterator[str]:
    """The address of `aezip browse`, which is ended with Ctrl-C and must end well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aezip", "browse", *map(str, arguments)],
        cwd=cwd, env=environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        said = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert found, said + process.stderr.read()
        yield found[0]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()
