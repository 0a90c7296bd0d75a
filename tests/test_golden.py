import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from folders import environment
from golden import GOLDEN, NOTED, PASSPHRASE, decoded

import aezip
from aezip.storage.rows import EXACT

VERSIONS = sorted(x for x in GOLDEN.iterdir() if x.is_dir())
CORES = [("Prescott", "1"), ("Haswell", "1"), ("Haswell", "2"), ("SkylakeX", "2")]


def noted(folder):
    return json.loads((folder / NOTED).read_text("utf-8"))


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda x: x.name)
def test_every_version_decodes_to_what_it_did(folder):
    assert decoded(folder) == noted(folder)
    for csv in folder.glob("*.csv"):
        passphrase = PASSPHRASE if csv.stem == "secret" else None
        assert aezip.verify(csv, passphrase=passphrase).wrong == []


def test_they_have_everything_that_the_format_has():
    newest = VERSIONS[-1]
    every = [aezip.open(newest / f"{x}.csv", PASSPHRASE) for x in ("photos", "digits", "secret")]
    rows = [archive.row(i) for archive in every for i in range(len(archive))]
    assert {x.mode for x in rows} == {"L", "LA", "RGB", "RGBA"}
    assert EXACT in {x.quality for x in rows} and len({x.quality for x in rows}) > 2
    assert any(x.profile for x in rows) and any(x.exif for x in rows)
    assert {x.decoder.arch for x in every} == {"dense", "pyramid"}


def test_the_processors_are_others():
    """OpenBLAS says which kernels it took: its own choice where it does not know a name, or where
    the processor cannot run them."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("OpenBLAS has these kernels for x86-64 alone")
    said = set()
    for core in dict(CORES):
        settings = {"OPENBLAS_CORETYPE": core, "OPENBLAS_VERBOSE": "2"}
        done = subprocess.run(
            [sys.executable, "-c", "import numpy"], env=environment() | settings,
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        said.update(re.findall(r"Core: (\w+)", done.stderr))
    assert len(said) == (3 if has_avx512() else 2), said  # names of its own, Katmai for Prescott


def has_avx512():
    from numpy._core._multiarray_umath import __cpu_features__

    return __cpu_features__["AVX512_SKX"]


@pytest.mark.parametrize(("core", "threads"), CORES)
def test_the_same_on_every_processor(threads, core):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("OpenBLAS has these kernels for x86-64 alone")
    settings = {
        "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "OPENBLAS_CORETYPE": core,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("golden.py"), "--check"],
        env=environment() | settings, capture_output=True, text=True, check=False, timeout=120,
        cwd=os.getcwd(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for folder in VERSIONS:
        assert f"{folder.name} {json.dumps(noted(folder), sort_keys=True)}" in done.stdout
