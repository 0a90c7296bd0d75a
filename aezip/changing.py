"""Adding images to an archive and removing some; every other row stays as it is, byte by byte."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from aezip import images as pictures
from aezip.archive import Archive
from aezip.autoencoders import DEFAULT_EFFORT, Autoencoder, check_effort, check_quality
from aezip.coding import Coder, Settings
from aezip.comparing import compare
from aezip.compressing import (
    Report,
    code_with_journal,
    refuse_where_none_fits,
    report_on,
    sealed_profiles,
    start_journal,
    work_of,
)
from aezip.errors import ArchiveError, LimitError, ModelError
from aezip.fitting import load_model
from aezip.storage.files import one_line
from aezip.storage.hdf5 import read_decoder, read_profiles
from aezip.storage.journal import Journal, writing
from aezip.storage.row import EXACT, Row, quality_of
from aezip.storage.rows import RowFile, rewrite_rows
from aezip.writing import read_back, replace_archive


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

    An image that is in the archive already, by its pixels and its colour profile, is counted; one
    that may be another of the same name is named in the report and left out. Raises as `compress`
    does.
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
        if autoencoder.budget is not None and quality is not None:
            raise ModelError(
                f"{one_line(csv)} is for {autoencoder.budget} bytes an image, not for a quality"
            )
        new = [name for name in found.names if name not in archive]
        known = [name for name in found.names if name in archive]
        failed = _other_images(archive, autoencoder, Path(folder), known, effort, jobs, progress)
        going_on = resume and journal.settings is not None
        cipher, before = start_journal(
            journal, work_of("add", folder, autoencoder, settings), passphrase, csv, going_on,
            archive.cipher,
        )  # fmt: skip
        coder = Coder(autoencoder, Path(folder), settings, cipher)
        coded = code_with_journal(coder, new, before, journal, jobs, progress)
        rows = [x.row for x in coded if x.row is not None]
        if coded:
            refuse_where_none_fits(coded, lossless)
        if rows:
            stored = read_profiles(archive.decoder_path, archive.decoder_id)
            profiles = {**stored, **sealed_profiles(coded, cipher)}
            _rewrite(archive, range(len(archive)), rows, profiles, passphrase, journal)
        else:
            journal.finished = True
    report = report_on(coded, Path(csv), settings, found.skipped, began)
    report.budget = autoencoder.budget
    report.there = len(known) - len(failed)
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
    with writing(csv):
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
            profiles = {k: v for k, v in profiles.items() if k in used}
            _rewrite(archive, keep, [], profiles, passphrase)
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


def _other_images(
    archive: Archive,
    autoencoder: Autoencoder,
    folder: Path,
    names: Sequence[str],
    effort: int,
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> list[tuple[str, str]]:
    """(name, why) of the files that may be something else than the rows of their names."""
    failed, done = [], 0
    with closing(compare(archive, autoencoder, folder, names, effort, jobs)) as batches:
        for batch in batches:
            failed += [(name, why) for name, why in batch if why]
            done += len(batch)
            if progress is not None:
                progress(done, len(names))
    return failed


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
    archive: Archive,
    keep: Sequence[int],
    rows: Sequence[Row],
    profiles: dict[str, bytes],
    passphrase: str | None,
    journal: Journal | None = None,
) -> None:
    file = RowFile(archive.path)
    file.cipher = archive.cipher
    header, parameters, _ = read_decoder(archive.decoder_path, file.decoder_id)
    shown = one_line(archive.path)
    replace_archive(
        archive.path, header, parameters, profiles,
        lambda where: rewrite_rows(where, file, keep, rows, archive.defaults),
        lambda where: read_back(where, passphrase, len(keep), rows, shown),
        journal,
    )  # fmt: skip
