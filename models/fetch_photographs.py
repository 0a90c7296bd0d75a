"""Fetch freely licensed photographs on which a model that others start from can be fitted.

Such a collection is too large to ship: this script downloads the Debian packages that
`photographs.tsv` names, takes the named photographs out of them, downscales each by a factor of at
least 2, so that the compression artefacts of the original vanish, and writes them as PNG files
beside a table of their sources.

Usage: fetch_photographs.py TARGET_FOLDER [--cache FOLDER]

It needs Debian (or a system with apt and Debian's archive keyring), the packages' suites on the
mirror that apt is configured for, about 1 GB of disk, and Pillow; no root rights.
"""

import argparse
import csv
import hashlib
import io
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageCms, ImageOps

TARGET_PIXELS = 600_000
SMALLEST_FACTOR = 2.0
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# Some of the originals have more pixels than Pillow expects of a harmless file.
Image.MAX_IMAGE_PIXELS = None


class Photograph(NamedTuple):
    """One line of the list: a PNG file to write and where it comes from."""

    name: str
    suite: str
    package: str
    file: str
    """Path in the package; `archive.rcc::path` for a file in a Qt resource archive."""
    author: str
    licence: str
    sha256: str


def read_list(path: Path) -> list[Photograph]:
    """Read the tab-separated list of photographs."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        return [Photograph(*row) for row in rows]


def debian_mirror() -> str:
    """The address of the Debian mirror that apt is configured for, e.g. "http://.../debian"."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(SITE)"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    sites = {
        site
        for origin, codename, site in (line.split() for line in targets.splitlines()
                                       if line.count(" ") == 2)
        if origin == "Debian" and "-" not in codename
    }  # fmt: skip
    if not sites:
        sys.exit("apt knows no Debian mirror; run 'apt-get update' once")
    return sorted(sites)[0]


class Suite:
    """A private apt configuration for one Debian suite, so that the system's stays as it is."""

    def __init__(self, suite: str, mirror: str, cache: Path) -> None:
        self.folder = (cache / suite).resolve()
        for name in ("lists/partial", "archives/partial", "debs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        sources = self.folder / "sources.list"
        sources.write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
        self.options = [
            "-o", f"Dir::Etc::sourcelist={sources}",
            "-o", "Dir::Etc::sourceparts=/dev/null",
            "-o", f"Dir::State::lists={self.folder}/lists",
            "-o", f"Dir::Cache={self.folder}",
            "-o", "APT::Sandbox::User=",
            "-o", "Acquire::Languages=none",
        ]  # fmt: skip
        subprocess.run(["apt-get", *self.options, "-qq", "update"], check=True)

    def extract(self, package: str) -> Path:
        """Download and unpack a package; return the folder of its files."""
        folder = self.folder / package
        if not folder.exists():
            debs = self.folder / "debs"
            subprocess.run(
                ["apt-get", *self.options, "-qq", "download", package], check=True, cwd=debs
            )
            deb = next(debs.glob(f"{package}_*.deb"))
            partial = folder.with_suffix(".partial")  # an interrupted run leaves no half package
            subprocess.run(["dpkg-deb", "--extract", str(deb), str(partial)], check=True)
            partial.rename(folder)
            deb.unlink()
        return folder


def resource_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of a Qt binary resource archive (version 2 or 3) as (path, content)."""
    version, tree, contents, names = struct.unpack(">4I", data[4:20])
    if data[:4] != b"qres" or version not in (2, 3):
        raise ValueError("no Qt resource archive of version 2 or 3")

    def walk(index: int, prefix: str) -> Iterator[tuple[str, bytes]]:
        node = tree + 22 * index
        name_at, flags = struct.unpack_from(">IH", data, node)
        length = struct.unpack_from(">H", data, names + name_at)[0]
        start = names + name_at + 6
        path = prefix + data[start : start + 2 * length].decode("utf-16-be")
        if flags & 2:
            count, first = struct.unpack_from(">II", data, node + 6)
            for child in range(first, first + count):
                yield from walk(child, path + "/" if index else "")
            return
        at = contents + struct.unpack_from(">I", data, node + 10)[0]
        size = struct.unpack_from(">I", data, at)[0]
        content = data[at + 4 : at + 4 + size]
        if not flags & 4:  # 4: compressed with Zstandard, which no photograph is
            yield path, zlib.decompress(content[4:]) if flags & 1 else content

    yield from walk(0, "")


def original_bytes(package_folder: Path, file: str) -> bytes:
    """The content of a file in a package, or of one in a resource archive in it."""
    archive, _, inner = file.partition("::")
    data = (package_folder / archive).read_bytes()
    return dict(resource_files(data))[inner] if inner else data


def downscale(data: bytes) -> tuple[Image.Image, float]:
    """Decode a photograph to sRGB and downscale it; return it and the factor."""
    stored = Image.open(io.BytesIO(data))
    profile = stored.info.get("icc_profile")
    image = ImageOps.exif_transpose(stored)
    if profile and image.mode == "RGB":
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), inPlace=True)
    image = image.convert("RGB")
    factor = max(SMALLEST_FACTOR, (image.width * image.height / TARGET_PIXELS) ** 0.5)
    size = (int(image.width / factor), int(image.height / factor))
    small = image.resize(size, Image.Resampling.LANCZOS)
    small.info.clear()  # the original's profile no longer holds, nor does its other metadata
    return small, factor


def main() -> None:
    """Fetch all photographs of the list; exit with 1 where some could not be had."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("target", type=Path, metavar="TARGET_FOLDER")
    parser.add_argument("--cache", type=Path, default=Path("debian-packages"))
    options = parser.parse_args()
    photographs = read_list(Path(__file__).with_name("photographs.tsv"))
    options.target.mkdir(parents=True, exist_ok=True)
    mirror = debian_mirror()
    suites: dict[str, Suite] = {}
    failures = 0
    table = [
        "# Sources of the photographs",
        "",
        "Each was downscaled with a Lanczos filter by the factor given and keeps the licence of its"
        " original. Authors and licences are those that the package's copyright file, the"
        " photograph's metadata or a file beside it states; for gcompris-qt-data, the README files"
        " of GCompris's source tree (src/activities/*/resource).",
        "",
        "| File | Size | Factor | Package | Original file | Author | Licence |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for photograph in photographs:
        try:
            if photograph.suite not in suites:
                suites[photograph.suite] = Suite(photograph.suite, mirror, options.cache)
            folder = suites[photograph.suite].extract(photograph.package)
            data = original_bytes(folder, photograph.file)
        except (OSError, KeyError, ValueError, StopIteration, subprocess.CalledProcessError) as e:
            print(f"{photograph.name}: not to be had: {e!r}", file=sys.stderr)
            failures += 1
            continue
        if hashlib.sha256(data).hexdigest() != photograph.sha256:
            print(f"{photograph.name}: the original differs from the listed one", file=sys.stderr)
            failures += 1
            continue
        image, factor = downscale(data)
        image.save(options.target / photograph.name)
        file = re.sub(r"^usr/share/", "", photograph.file)
        table.append(
            f"| {photograph.name} | {image.width} x {image.height} | {factor:.1f}"
            f" | {photograph.package} ({photograph.suite}) | `{file}` | {photograph.author}"
            f" | {photograph.licence} |"
        )
    (options.target / "SOURCES.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    print(f"{len(photographs) - failures} of {len(photographs)} photographs in {options.target}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
