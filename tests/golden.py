"""Archives that were written once and must decode to the same integers for ever.

`python tests/golden.py` prints a digest of what each row of `tests/golden` decodes to, `--check`
compares it with what was noted when the archives were made, and `--make NAME` makes archives of
the present format version, once, when that is released.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

import aezip
from aezip.entropy import coder
from aezip.storage import secrecy
from aezip.storage.row import EXACT

GOLDEN = Path(__file__).parent / "golden"
NOTED = "decoded.json"
PASSPHRASE = "golden"


def decoded(folder: Path) -> dict[str, dict[str, str]]:
    """Of each archive in a folder, by its name: of each row, by its name, a digest of its latents
    (of an exact row, of its pixels), and of its decoder's parameters (by an empty name)."""
    found = {}
    for csv in sorted(folder.glob("*.csv")):
        archive = aezip.open(csv, PASSPHRASE if csv.stem == "secret" else None)
        parameters = hashlib.sha256()
        for name, tensor in sorted(archive.decoder.travelling().items()):
            parameters.update(name.encode() + tensor.astype("<f4").tobytes())
        rows = {"": parameters.hexdigest()[:16]}
        for number in range(len(archive)):
            row = archive.row(number)
            rows[row.name] = _digest_of_row(archive, row)
        found[csv.name] = rows
    return found


def _digest_of_row(archive: aezip.Archive, row: Any) -> str:
    digest = hashlib.sha256(repr((row.width, row.height, row.mode, row.quality, row.modified,
                                  row.profile, row.exif)).encode())  # fmt: skip
    decode = coder.Decoder.decode

    def noted(self: coder.Decoder, rows: Any) -> Any:
        values = decode(self, rows)
        digest.update(values.astype("<i8").tobytes())
        return values

    coder.Decoder.decode = noted  # type: ignore[method-assign]
    try:
        image = archive.decode(row)
    finally:
        coder.Decoder.decode = decode  # type: ignore[method-assign]
    if row.quality == EXACT:
        digest.update(image.tobytes())
    return digest.hexdigest()[:16]


def make(folder: Path) -> None:
    """Archives with everything that the format has."""
    from folders import DIGITS, digit_model, photo_model, photos
    from PIL import Image, ImageCms

    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "digits").mkdir()
        for number in range(12):
            shutil.copy(DIGITS / f"{number:04}.png", work / "digits")
        shutil.copytree(photos(), work / "photos")
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        exif = Image.Exif()
        exif[0x010F] = "Camera"
        with Image.open(photos() / "lake.png") as image:
            image.save(work / "photos" / "Grüße, 写真.jpg", exif=exif, icc_profile=profile)
            image.convert("LA").save(work / "photos" / "grey.png")
            alpha = Image.linear_gradient("L").resize(image.size)
            image.putalpha(alpha)
            image.save(work / "photos" / "through.png")
        noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(noise).save(work / "photos" / "noise.png")
        for number, path in enumerate(sorted(work.rglob("*.*"))):
            os.utime(path, (10**9 + number // 3,) * 2)
        aezip.compress(work / "digits", folder / "digits.csv", digit_model(), min_psnr=18,
                       compare=False)  # fmt: skip
        options: dict[str, Any] = {"quality": 60, "keep_metadata": True, "compare": False}
        photo = photo_model()
        aezip.compress(work / "photos", folder / "photos.csv", photo, min_psnr=34, **options)
        secrecy._COST["n"] = 16  # so that tests need not wait
        aezip.compress(work / "photos", folder / "secret.csv", photo, passphrase=PASSPHRASE,
                       **options)  # fmt: skip
    note = json.dumps(decoded(folder), indent=1, ensure_ascii=False, sort_keys=True)
    (folder / NOTED).write_text(note + "\n", "utf-8")


@click.command()
@click.option("--check", is_flag=True)
@click.option("--make", "name", metavar="NAME")
def main(check: bool, name: str | None) -> None:
    if name is not None:
        make(GOLDEN / name)
    for folder in sorted(x for x in GOLDEN.iterdir() if x.is_dir()):
        found = decoded(folder)
        noted = json.loads((folder / NOTED).read_text("utf-8"))
        if check and found != noted:
            sys.exit(f"{folder.name} does not decode to what it did: {found}")
        click.echo(f"{folder.name} {json.dumps(found, sort_keys=True)}")


if __name__ == "__main__":
    main()
