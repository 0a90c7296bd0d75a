"""Mutates archives and reads them: `python tests/fuzzing.py --count 20000`.

Half of the mutants are damaged bytes of the two files: no row that still claims to be intact may
differ from what was written. The others come from a stranger who knows the format, with checksums
and ids that are right: what they decode to is theirs to say. Of all of them: only aezip's own
errors, no more than 5 seconds of one processor, no more than 1 GB, and no crash of a library.
"""

from __future__ import annotations

import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from folders import DIGITS, photos, place, quick_model
from PIL import Image, ImageCms

import aezip
from aezip.archive import profile_id
from aezip.errors import AezipError
from aezip.storage import secrecy
from aezip.storage.hdf5 import read_decoder, read_profiles, write_decoder
from aezip.storage.row import EXACT, Row
from aezip.storage.rows import write_rows

SECONDS = 5
MEMORY = 1 << 30
PIXELS = 1 << 20  # AEZIP_MAX_PIXELS: more could not be decoded within the seconds
_CHUNK = 250  # mutants in a process of their own, which a library may end
_PASSPHRASE = "fuzz"


@dataclass
class Seed:
    """A whole archive, and all that there is to know of it."""

    csv: bytes
    h5: bytes
    rows: dict[str, tuple[Row, bytes]]  # and pixels, by name
    header: dict[str, Any]
    parameters: bytes
    profiles: dict[str, bytes]
    passphrase: str | None


class HangError(BaseException):
    """Not an Exception: nothing may catch it."""


def seeds() -> list[Seed]:
    """dense; pyramid with everything that a row can have; the same encrypted."""
    folder = place("fuzz")
    (folder / "digits").mkdir()
    for number in range(5):
        with Image.open(DIGITS / f"{number:04}.png") as image:
            image.crop((9, 9, 17, 17)).save(folder / "digits" / f"{number}.png")
    small = folder / "small.h5"
    aezip.fit(folder / "digits", small, arch="dense", steps=30)
    (folder / "photos").mkdir()
    with Image.open(photos() / "lake.png") as image:
        crop = image.crop((0, 0, 13, 10))
        exif = Image.Exif()
        exif[0x010F] = "Camera"
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        crop.save(folder / "photos" / "a.jpg", exif=exif, icc_profile=profile)
        crop.convert("LA").save(folder / "photos" / "b, c.png")
        crop.convert("RGBA").rotate(20).save(folder / "photos" / "größe.png")
    (folder / "exact").mkdir()
    Image.effect_noise((9, 9), 99).save(folder / "exact" / "noise.png")
    dense, pyramid = folder / "dense.csv", folder / "pyramid.csv"
    aezip.compress(folder / "digits", dense, small, compare=False, min_psnr=0)
    options = {"keep_metadata": True, "compare": False, "quality": 50}
    aezip.compress(folder / "photos", pyramid, quick_model(), **options)
    secret = folder / "secret.csv"
    cost = dict(secrecy._COST)
    secrecy._COST["n"] = 4  # half a second for each mutant would be too long
    aezip.compress(folder / "photos", secret, quick_model(), passphrase=_PASSPHRASE, **options)
    secrecy._COST.update(cost)
    for path, model in ((dense, small), (pyramid, None), (secret, None)):
        passphrase = _PASSPHRASE if path == secret else None
        aezip.add(path, folder / "exact", model, lossless=True, passphrase=passphrase)
    found = []
    for path in (dense, pyramid, secret):
        passphrase = _PASSPHRASE if path == secret else None
        archive = aezip.open(path, passphrase)
        h5 = path.with_suffix(".h5")
        header, parameters, _ = read_decoder(h5)
        every = [archive.row(i) for i in range(len(archive))]
        rows = {row.name: (row, archive.decode(row).tobytes()) for row in every}
        found.append(
            Seed(path.read_bytes(), h5.read_bytes(), rows, header, parameters,
                 read_profiles(h5), passphrase)
        )  # fmt: skip
    used = {row.quality for row, _ in found[1].rows.values()}
    assert EXACT in used and len(used) > 1, used
    return found


# --- mutations ----------------------------------------------------------------------------------

_INTERESTING = [
    b"", b"\0", b"\n", b"\r\n", b",", b'"', b"~", b"%", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe",
    b"%00", b"9" * 20, b"-1", b"1x1", b"q0", b"exact", b"=", b"t-9",
]  # fmt: skip


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """Damaged in one to four places."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1) if data else 0
        length = rng.choice([1, 1, 2, 4, 8, 30, 200])
        kind = rng.randrange(7)
        if kind == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 1 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + data[at + length :]
        elif kind == 3:
            data = data[:at] + rng.randbytes(length) + data[at:]
        elif kind == 4:
            data = data[:at] + data[at : at + length] + data[at:]
        elif kind == 5:
            data = data[:at] + rng.choice(_INTERESTING) + data[at + rng.randrange(3) :]
        elif rng.random() < 0.3:
            data = data[:at]
    return data


def _lines(data: bytes, rng: random.Random) -> bytes:
    """Rows or cells exchanged, doubled or removed."""
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 1:
        lines.insert(one, lines[other])
    elif kind == 2:
        del lines[one]
    else:
        a, b = lines[one].split(b","), lines[other].split(b",")
        at = rng.randrange(min(len(a), len(b)))
        a[at], b[at] = b[at], a[at]
        lines[one], lines[other] = b",".join(a), b",".join(b)
    return b"\n".join(lines)


def _value(value: Any, rng: random.Random) -> Any:
    """Another number or text in the place of one in a header."""
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _value(value[key], rng)}
    choices = [0, 1, -1, 2, 7, 255, 256, 1 << 14, 1 << 31, 1 << 64, 0.5, True, None, "", "x" * 99,
               [], {}, "9999999x9999999", "icc_none", "t99", "exact"]  # fmt: skip
    if isinstance(value, int):
        choices += [value + 1, value - 1, value * 2]
    return rng.choice(choices)


def _row(row: Row, seed: Seed, rng: random.Random) -> Row:
    other = rng.choice(list(seed.rows.values()))[0]
    kind = rng.randrange(8)
    if kind == 0:
        size = rng.choice([1, 2, 16, 17, 500, 1024, 9999, 9_999_999])
        return replace(row, width=size)
    if kind == 1:
        return replace(row, height=rng.choice([1, 3, 31, 32, 700, 9_999_999]))
    if kind == 2:
        return replace(row, mode=rng.choice(["L", "LA", "RGB", "RGBA"]))
    if kind == 3:
        return replace(row, quality=rng.choice([0, 1, 50, 100, EXACT, 102, 999]))
    if kind == 4:
        return replace(row, latents=_bytes(row.latents, rng))
    if kind == 5:
        return replace(row, latents=rng.choice([b"", other.latents, rng.randbytes(300), bytes(99)]))
    if kind == 6:
        return replace(row, exif=_bytes(row.exif, rng), profile=rng.choice(["", "01234567"]))
    names = ["../x", "/x", "a/../../b", "\0", "x" * 300, ".", "con", "\udcff", "a\nb", "C:\\x"]
    return replace(row, name=rng.choice(names), modified=rng.choice([None, -(10**11), 10**12]))


def mutant(seed: Seed, rng: random.Random, csv: Path) -> bool:
    """Write one; whether it is a stranger's, which may decode to anything."""
    h5, kind = csv.with_suffix(".h5"), rng.randrange(8)
    csv.write_bytes(seed.csv)
    h5.write_bytes(seed.h5)
    if kind < 2:
        csv.write_bytes(_bytes(seed.csv, rng))
    elif kind == 2:
        csv.write_bytes(_lines(seed.csv, rng))
    elif kind == 3:
        h5.write_bytes(_bytes(seed.h5, rng))
    else:
        rows = [row for row, _ in seed.rows.values()]
        header, parameters, profiles = seed.header, seed.parameters, seed.profiles
        if kind < 6 and seed.passphrase is None:
            at = rng.randrange(len(rows))
            rows[at] = _row(rows[at], seed, rng)
        elif kind == 6:
            header = _value(header, rng)
        elif rng.random() < 0.3:
            profiles = {k: _bytes(v, rng) for k, v in profiles.items()}
        else:
            parameters = _bytes(parameters, rng)
        with suppress(AezipError, struct.error, TypeError, AttributeError):
            # Where the writer refuses it, the files are whole ones.
            defaults = header.get("defaults", {}) if isinstance(header, dict) else {}
            identity = write_decoder(h5, header, parameters, profiles)
            write_rows(csv, rows, identity, defaults)
        return True
    return False


# --- reading them -------------------------------------------------------------------------------


def read(csv: Path, seed: Seed, stranger: bool, thorough: bool) -> str:
    """All that can be done with an archive; what came of it. Raises where a promise is broken."""
    try:
        archive = aezip.open(csv, seed.passphrase or "")
    except AezipError as error:
        assert str(error).isprintable(), repr(str(error))
        return "refused"
    with suppress(AezipError):
        archive.names  # noqa: B018
    archive.heads()
    damaged = 0
    for number in range(len(archive)):
        try:
            row = archive.row(number)
            image = archive.decode(row)
        except AezipError as error:
            damaged += 1
            assert str(error).isprintable(), repr(str(error))
            continue
        assert image.size == (row.width, row.height) and image.mode == row.mode
        if not stranger:
            known, pixels = seed.rows[row.name]
            assert row == known and image.tobytes() == pixels, "a silent wrong image"
            profile = image.info.get("icc_profile", b"")
            assert (profile_id(profile, archive.cipher) if profile else "") == row.profile
    noticed = bool(damaged or archive.missing or archive.disordered)
    if thorough:  # decodes all of it twice more
        found = aezip.verify(csv, passphrase=seed.passphrase or "")
        assert found.intact == len(archive) - damaged
        assert bool(found.wrong) == noticed or len(archive.names) > len(set(archive.names))
        root = csv.parent / "extracted"
        failed = aezip.extract(archive, root / "in", force=True)
        assert len(failed) >= damaged
        assert not root.exists() or os.listdir(root) == ["in"]
        shutil.rmtree(root, ignore_errors=True)
    if noticed:
        return "damage named"
    if not stranger:
        assert archive.names == list(seed.rows), "rows are missing, and nobody noticed"
    return "whole"


def _on_time(*_: object) -> None:
    raise HangError


def run(number: int, every: list[Seed], folder: Path) -> str:
    """The mutant of that number: what came of it."""
    rng = random.Random(number)
    np.random.seed(number % (1 << 32))
    seed = rng.choice([*every[:1] * 8, *every[1:]])  # most often the one that is read fastest
    stranger = mutant(seed, rng, folder / "out.csv")
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return read(folder / "out.csv", seed, stranger, thorough=number % 8 == 0)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(first: int, count: int, told: Callable[[str], None]) -> Counter[str]:
    """Mutants `first` and following: how many there were of each outcome, failures among them."""
    every, folder, outcomes = seeds(), place("mutants"), Counter[str]()
    os.environ["AEZIP_MAX_PIXELS"] = str(PIXELS)
    at = first
    while at < first + count:
        end = min(at + _CHUNK, first + count)
        shared = mmap.mmap(-1, 1 << 16)  # what the child has come to: number, then a count for each
        child = os.fork()
        if not child:
            _work(at, end, every, folder, shared)
        status = os.waitpid(child, 0)[1]
        text = shared[:].rstrip(b"\0").decode()
        *lines, last = text.split("\n") if text else [str(at)]
        for line in lines:
            what, _, number = line.rpartition(" ")
            outcomes[what.split(":")[0]] += 1
            if what.startswith("FAILED"):
                told(f"mutant {number}: {what}")
        if os.WIFSIGNALED(status) or os.WEXITSTATUS(status):
            told(f"mutant {last}: FAILED: ended the process, status {status}")
            outcomes["FAILED"] += 1
            at = int(last) + 1
        else:
            at = end
    return outcomes


def _work(start: int, end: int, every: list[Seed], folder: Path, shared: mmap.mmap) -> None:
    status = 1
    try:
        signal.signal(signal.SIGPROF, _on_time)
        os.fsync = lambda _: None  # a crash of the machine is not what is looked for here
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        shared.seek(0)
        for number in range(start, end):
            place_of_number = shared.tell()
            shared.write(str(number).encode())
            try:
                outcome = run(number, every, folder)
            except HangError:
                outcome = "FAILED: more than 5 seconds"
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                said = f"{type(error).__name__} {error}"[:60].replace("\n", " ")
                outcome = f"FAILED: {said} {where.name} {where.lineno}"
            shared.seek(place_of_number)
            shared.write(f"{outcome} {number}\n".encode())
        status = 0
    finally:
        os._exit(status)


@click.command()
@click.option("--count", default=20_000, help="Mutants.")
@click.option("--first", default=0, help="The number of the first; the same gives the same.")
def main(count: int, first: int) -> None:
    began = time.monotonic()
    found = fuzz(first, count, lambda line: click.echo(line))
    seconds = time.monotonic() - began
    click.echo(f"{count:,} mutants in {seconds:.0f} s: {dict(found)}")
    sys.exit(1 if found["FAILED"] else 0)


if __name__ == "__main__":
    main()
