"""Adding images to an archive and removing some; every other row stays as it is, byte by byte."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from aezip import images as pictures
from aezip.archive import Archive
from aezip.autoencoders import DEFAULT_EFFORT, Autoencoder, check_effort, check_quality
from aezip.coding import Coder, Settings
from aezip.compressing import (
    Report,
    code_with_journal,
    refuse_where_none_fits,
    report_on,
    sealed_profiles,
    start_journal,
)
from aezip.errors import AezipError, ArchiveError, LimitError, ModelError
from aezip.fitting import load_model
from aezip.metrics import psnr
from aezip.storage.files import one_line
from aezip.storage.hdf5 import read_decoder, read_profiles
from aezip.storage.journal import writing
from aezip.storage.row import EXACT, Row, quality_of
from aezip.storage.rows import RowFile, rewrite_rows
from aezip.writing import replace_archive


def add(
    csv: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    quality: int | None = None,
    lossless: bool = False,
    effort: int = DEFAULT_EFFORT,
    keep_metadata: bool = False,
    passphrase: str | None = None,
    force: bool = False,
    resume: bool = False,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Add the images of a folder to an archive, after the rows that are there, which stay as they
    are, byte by byte. All keep the promise that the archive was made with.

    model: what the archive was compressed with; `pyramid` can do without, and by default it is
    looked for in `models`. quality: by default that of most of the archive. force: add even where
    rows are missing or in disorder. The other arguments are those of `compress`.

    An image that is in the archive already is counted, another one of the same name is named in
    the report and left out. Raises as `compress` does.
    """
    began = time.monotonic()
    if quality is not None:
        check_quality(quality)
    check_effort(effort)
    found = pictures.find(folder)
    with writing(csv) as journal:
        archive = Archive(csv, passphrase)
        _check_whole(archive, force)
        usual = quality_of(archive.defaults.get("quality", ""))
        used = EXACT if lossless else quality or usual or archive.decoder.config["quality"]
        settings = Settings(used, archive.promise, keep_metadata, effort)
        autoencoder = _encoder(archive, model)
        new, there, failed = _new_names(archive, Path(folder), found.names)
        going_on = resume and journal.settings is not None
        cipher, before = start_journal(
            journal, autoencoder, settings, passphrase, csv, going_on, archive.cipher
        )
        coder = Coder(autoencoder, Path(folder), settings, cipher)
        coded = code_with_journal(coder, new, before, journal, jobs, progress)
        rows = [x.row for x in coded if x.row is not None]
        if coded:
            refuse_where_none_fits(coded, lossless)
        if rows:
            stored = read_profiles(archive.decoder_path, archive.decoder_id)
            profiles = {**stored, **sealed_profiles(coded, cipher)}
            _rewrite(archive, range(len(archive)), rows, profiles)
            _check_added(Archive(csv, passphrase), rows)
        journal.finished = True
    report = report_on(coded, Path(csv), settings, found.skipped, began)
    report.there = there
    report.failed += failed
    return report


def remove(
    csv: str | os.PathLike[str],
    names: Sequence[str] = (),
    *,
    damaged: bool = False,
    passphrase: str | None = None,
    force: bool = False,
) -> list[str]:
    """Remove the images of these names from an archive; the other rows stay as they are, byte by
    byte. Returns the names of what was removed.

    damaged: remove all rows that are damaged. force: also where rows are missing or in disorder.

    Raises ArchiveError where a name is not in the archive; nothing is removed then.
    """
    with writing(csv) as journal:
        archive = Archive(csv, passphrase)
        _check_whole(archive, force, ordered=not damaged)
        profiles = read_profiles(archive.decoder_path, archive.decoder_id)
        wanted, removed, keep = set(names), [], []
        used: set[str] = set()
        for number, head in enumerate(archive.heads()):
            row = _intact(archive, number, decoded=damaged)
            name = "" if isinstance(head, ArchiveError) else head.name
            if name in wanted or (damaged and row is None):
                removed.append(name or f"row {number}")
            else:
                keep.append(number)
                used |= {row.profile} if row else profiles.keys()  # a damaged row's is unknown
        unknown = [x for x in names if x not in removed]
        if unknown:
            raise ArchiveError(f"{one_line(csv)} has no image named {one_line(unknown[0])}")
        if removed or force:
            _rewrite(archive, keep, [], {k: v for k, v in profiles.items() if k in used})
        journal.finished = not journal.useful
    return removed


def _check_whole(archive: Archive, force: bool, ordered: bool = True) -> None:
    wrong = archive.missing or (archive.disordered if ordered else "")
    if wrong and not force:
        raise ArchiveError(
            f"{wrong}; aezip verify tells more, and --force takes the rows as they are from now on"
        )


def _encoder(archive: Archive, model: str | os.PathLike[str] | None) -> Autoencoder:
    """The autoencoder whose decoder the archive has."""
    decoder = archive.decoder
    if model is None and not decoder.analysis_shapes(decoder.config):
        return decoder  # it encodes with what decoding needs
    paths = sorted(Path("models").glob("*.h5")) if model is None else [Path(model)]
    for path in paths:
        try:
            fitted, _ = load_model(path)
        except ModelError:
            if model is not None:
                raise
            continue
        if (fitted.arch, fitted.config) == (decoder.arch, decoder.config):
            frozen = fitted.frozen()
            if all(
                np.array_equal(frozen.parameters[k], v) for k, v in decoder.travelling().items()
            ):
                return frozen
    where = one_line(model) if model is not None else "none in models/"
    raise ModelError(
        f"{one_line(archive.path)} was compressed with another model ({where} is it); to add to "
        "it, --model has to name the very one, not trained any further"
    )


def _new_names(
    archive: Archive, folder: Path, names: Sequence[str]
) -> tuple[list[str], int, list[tuple[str, str]]]:
    """(names to add, how many are there already, what cannot be added and why)."""
    new, there, failed = [], 0, []
    for name in names:
        if name not in archive:
            new.append(name)
            continue
        try:
            same = _same(archive, archive.row(name), folder)
        except AezipError as error:
            failed.append((name, str(error)))
            continue
        if same:
            there += 1
        else:
            failed.append((name, f"{one_line(name)}: another image of this name is in the archive"))
    return new, there, failed


def _same(archive: Archive, row: Row, folder: Path) -> bool:
    """Whether a file is what the row was made of, as far as that can be told."""
    path = folder / row.name
    with suppress(OSError):
        if row.modified == os.stat(path).st_mtime_ns // 10**9:
            return True
    original = pictures.to_array(pictures.read(path))
    decoded = pictures.to_array(archive.decode(row))
    return original.shape == decoded.shape and psnr(original, decoded) >= archive.promise


def _intact(archive: Archive, number: int, decoded: bool) -> Row | None:
    """The row, None where it is damaged. decoded: whether its image is tried, too."""
    try:
        row = archive.row(number)
        with suppress(LimitError):  # the row itself is whole
            if decoded:
                archive.decode(row)
    except LimitError:
        if decoded:  # nobody knows whether it is damaged
            raise
        return None
    except ArchiveError:
        return None
    return row


def _rewrite(
    archive: Archive, keep: Sequence[int], rows: Sequence[Row], profiles: dict[str, bytes]
) -> None:
    file = RowFile(archive.path)
    file.cipher = archive.cipher
    header, parameters, _ = read_decoder(archive.decoder_path, file.decoder_id)
    replace_archive(
        archive.path, header, parameters, profiles,
        lambda where: rewrite_rows(where, file, keep, rows, archive.defaults),
    )  # fmt: skip


def _check_added(archive: Archive, rows: Sequence[Row]) -> None:
    first = len(archive) - len(rows)
    same = all(archive.row(first + i) == row for i, row in enumerate(rows))
    if not same or archive.missing or archive.disordered:
        raise ArchiveError(
            f"{one_line(archive.path)} does not read back as it was written; keep the images"
        )
