"""Writing an archive: every image of a folder coded, and compared with other formats."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aezip import images as pictures
from aezip import peers, starting
from aezip._version import __version__
from aezip.archive import Archive, decoder_path, sealed_decoder, sealed_profile
from aezip.autoencoders import DEFAULT_EFFORT, Autoencoder, check_effort, check_quality
from aezip.coding import (
    Coded,
    Coder,
    Settings,
    as_header,
    default_promise,
    from_entry,
    mean_and_worst,
    to_entry,
)
from aezip.errors import AezipError, ArchiveError, ImageError, ModelError
from aezip.fitting import default_model, load_model
from aezip.storage.files import one_line, reason
from aezip.storage.hdf5 import DECODER_FORMAT, content_id, read_format
from aezip.storage.journal import Journal, writing
from aezip.storage.row import EXACT, unstorable
from aezip.storage.rows import Row, RowFile, default_cells, write_rows
from aezip.storage.secrecy import Cipher, new_cipher, unlock
from aezip.writing import read_back, replace_archive

_COMPARED = 200  # images at most that are encoded as JPEG and WebP for the comparison
_COMPARED_PIXELS = 12_000_000  # of them, about


@dataclass
class Report:
    """What `compress` or `add` did: sizes in bytes, times in seconds, PSNR in dB.

    Of `add`, only of the images that were added; csv_bytes and decoder_bytes are those of the
    whole archive. psnrs: of each image as decoded, infinite where nothing that is seen differs; the
    mean is that of the others, infinite where there are none. finer: how many images were coded
    finer to keep the promise. exact: how many exactly, to keep it or for fewer bytes. dropped:
    bytes of EXIF that are not in the archive; kept: those that are, compressed. lost: (name, what)
    where pixels of a file are not in the archive. there: images that were in the archive before.
    """

    csv: Path
    decoder: Path
    quality: int
    promise: float
    images: int
    pixels: int
    original_bytes: int
    csv_bytes: int
    decoder_bytes: int
    mean_psnr: float
    worst_psnr: float
    worst_name: str
    seconds: float
    skipped: int
    psnrs: dict[str, float] = field(default_factory=dict)
    finer: int = 0
    exact: int = 0
    kept: int = 0
    dropped: int = 0
    there: int = 0
    lost: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    peers: dict[str, float | None] = field(default_factory=dict)
    compared: int = 0  # images that the peers' bytes are extrapolated from
    budget: int | None = None  # bytes of latents that each image may take, instead of a quality

    @property
    def archive_bytes(self) -> int:
        return self.csv_bytes + self.decoder_bytes

    @property
    def bits_per_pixel(self) -> float:
        return 8 * self.archive_bytes / self.pixels


def compress(
    folder: str | os.PathLike[str],
    csv: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    quality: int | None = None,
    min_psnr: float | None = None,
    lossless: bool = False,
    effort: int = DEFAULT_EFFORT,
    keep_metadata: bool = False,
    passphrase: str | None = None,
    force: bool = False,
    resume: bool = False,
    jobs: int = 1,
    compare: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write the images of a folder as an archive: `csv`, and its decoder beside it.

    model: a fitted model, by default `models/<folder name>.h5`. quality: 1 to 100, by default
    what the model was fitted for. min_psnr: what each image is promised, in dB, by default a value
    that only images fail which the model does not serve; those are coded finer, or exactly.
    lossless: code all images exactly. effort: 1 to 9, time spent on fewer bytes at the same
    quality. keep_metadata: EXIF, too. passphrase: encrypt the archive.
    force: replace an archive that is there. resume: go on where the same work was interrupted.
    jobs: processes that work side by side; more than one needs the usual
    `if __name__ == "__main__"` in a script. compare: also measure what JPEG and WebP take at equal
    PSNR. progress: called with (images done, images in all).

    An image that cannot be read or coded is named in the report and left out.
    Raises ImageError, ModelError or ArchiveError where nothing could be written; an archive that
    was there is then as it was.
    """
    began = time.monotonic()
    target = decoder_path(csv)
    if quality is not None:
        check_quality(quality)
    check_effort(effort)
    found = pictures.find(folder)
    path = _model_of(folder, model, lossless)
    if os.path.realpath(target) == os.path.realpath(path):
        raise ArchiveError(
            f"{one_line(csv)} would have its decoder at {one_line(target)}, where the model is; "
            "choose another name"
        )
    check_place(Path(csv), target)
    with writing(csv) as journal:
        fitted, _ = load_model(path)
        autoencoder = fitted.frozen()
        used: int = EXACT if lossless else quality or autoencoder.config["quality"]
        if autoencoder.budget is not None and (min_psnr or quality is not None):
            raise ModelError(
                f"{one_line(path)} was fitted for {autoencoder.budget} bytes an image, and cannot "
                f"promise a {'PSNR' if min_psnr else 'quality'} besides"
            )
        if min_psnr is not None:
            promise = min_psnr
        else:
            promise = 0.0 if autoencoder.budget is not None else default_promise(used)
        settings = Settings(used, promise, keep_metadata, effort)
        going_on = resume and journal.settings is not None
        if not (force or going_on):
            _check_free(Path(csv), target, journal)
        work = work_of("compress", folder, autoencoder, settings)
        replaced = (journal.settings or {}).get("replaces") if going_on else _title_of(csv)
        cipher, before = start_journal(
            journal, {**work, "replaces": replaced}, passphrase, csv, going_on
        )
        if going_on and not force and _title_of(csv) != replaced:
            _check_written_by(before, Path(csv), target, passphrase)
        coder = Coder(autoencoder, Path(folder), settings, cipher)
        coded = code_with_journal(coder, found.names, before, journal, jobs, progress)
        rows = [x.row for x in coded if x.row is not None]
        refuse_where_none_fits(coded, lossless)

        # What most rows say alike is said once, in the decoder.
        defaults = _most_common(rows)
        header = {
            "arch": autoencoder.arch, "config": autoencoder.config, "defaults": defaults,
            "promise": promise,
        }  # fmt: skip
        outer, parameters = sealed_decoder(header, autoencoder.pack(), cipher)
        identity = content_id(outer, parameters)
        replace_archive(
            csv, outer, parameters, sealed_profiles(coded, cipher),
            lambda where: write_rows(where, rows, identity, defaults, cipher),
            lambda where: _check_written(where, rows, autoencoder, passphrase, one_line(csv)),
            journal,
        )  # fmt: skip
    report = report_on(coded, Path(csv), settings, found.skipped, began)
    report.budget = autoencoder.budget
    if compare:
        try:
            _compare(report, Path(folder), coded)
        except (AezipError, OSError, MemoryError, KeyboardInterrupt):
            report.peers.clear()  # the archive is written, and only the comparison is not made
    return report


# --- before the work ----------------------------------------------------------------------------


def _model_of(
    folder: str | os.PathLike[str], model: str | os.PathLike[str] | None, lossless: bool
) -> Path:
    path = default_model(folder) if model is None else Path(model)
    if path.exists():
        return path
    any_models = starting.models_for("pyramid")
    if lossless and model is None and any_models:  # its decoder is not used
        return any_models[0]
    raise ModelError(
        f"{one_line(path)}: there is no such model; run aezip fit {one_line(folder)} first"
    )


def check_place(csv: Path, decoder: Path) -> None:
    """Refuse, before the work and not after it, to write over what is no archive."""
    try:
        if csv.exists() and not csv.is_file():
            raise ArchiveError(f"{one_line(csv)} cannot be written: it exists and is not a file")
        if csv.exists() and os.path.getsize(csv) and not _is_archive(csv):
            raise ArchiveError(f"{one_line(csv)} is there and is no archive; choose another name")
    except OSError as error:
        raise ArchiveError(f"{one_line(csv)} cannot be written: {reason(error)}") from error
    if not decoder.exists():
        return
    try:
        replaceable = read_format(decoder) == DECODER_FORMAT
    except ModelError:
        replaceable = False
    if not replaceable:
        raise ArchiveError(
            f"{one_line(csv)} would have its decoder at {one_line(decoder)}, where something "
            "else is; choose another name"
        )


def _is_archive(csv: Path) -> bool:
    try:
        RowFile(csv)
    except ArchiveError:
        return False
    return True


def _check_free(csv: Path, decoder: Path, journal: Journal | None = None) -> None:
    """An archive may be all that is left of its images."""
    for path in (csv, decoder):
        if path.exists() and os.path.getsize(path):
            begun = journal.settings if journal is not None and journal.useful else None
            ours = begun is not None and begun.get("command") == "compress"
            more = "; --resume goes on with the interrupted work" if ours else ""
            raise ArchiveError(
                f"{one_line(path)} is there already: --force replaces it, aezip add adds to an "
                f"archive{more}"
            )


def _title_of(csv: str | os.PathLike[str]) -> str:
    """What the archive that is there calls itself, blank where there is none."""
    try:
        return RowFile(csv).title
    except ArchiveError:
        return ""


def _check_written_by(
    before: Sequence[Coded], csv: Path, decoder: Path, passphrase: str | None
) -> None:
    """Refuse to replace an archive which came after the work began, unless it is what the work
    came to: nothing is in it that the journal does not have."""
    known = {x.name: x.row for x in before}
    try:
        archive = Archive(csv, passphrase)
        if all(known.get(row.name) == row for row in map(archive.row, range(len(archive)))):
            return
    except AezipError:
        pass
    _check_free(csv, decoder)


# --- the work -----------------------------------------------------------------------------------


def work_of(
    command: str,
    folder: str | os.PathLike[str],
    autoencoder: Autoencoder,
    settings: Settings,
) -> dict[str, Any]:
    """What has to be the same where one command goes on with the work of another. The folder
    is not named: the archive may hide its names."""
    key = hashlib.sha256(repr((autoencoder.arch, sorted(autoencoder.config.items()))).encode())
    key.update(autoencoder.pack())
    place = hashlib.sha256(os.fsencode(os.path.realpath(folder)))
    return {
        "aezip": __version__, "command": command, "folder": place.hexdigest(),
        "decoder": key.hexdigest(), **as_header(settings),
    }  # fmt: skip


def start_journal(
    journal: Journal,
    work: Mapping[str, Any],
    passphrase: str | None,
    csv: str | os.PathLike[str],
    going_on: bool,
    cipher: Cipher | None = None,
) -> tuple[Cipher | None, list[Coded]]:
    """(the cipher of the archive, what was coded before). work: as `work_of` says. cipher: of an
    archive that is there.

    Raises ArchiveError where the interrupted work was another.
    """
    found = journal.settings or {}
    if going_on and passphrase is not None and cipher is None and found.get("cipher"):
        cipher = unlock(found["cipher"], passphrase, one_line(csv))
    elif passphrase is not None and cipher is None:
        cipher = new_cipher(passphrase)
    work = {**work, "cipher": None if cipher is None else cipher.header}
    if cipher is not None:  # what is hidden could be guessed by its plain digest
        work |= {name: cipher.mac(str(work[name]).encode()).hex() for name in ("folder", "decoder")}
    if not going_on:
        journal.begin(work, cipher)
        return cipher, []
    if found != work:
        raise ArchiveError(
            f"{one_line(csv)}: what was interrupted was another command, or had another folder, "
            "model or other options; give the same again, or leave out --resume to start anew"
        )
    before = []
    for entry in journal.go_on(cipher):
        try:
            before.append(from_entry(entry))
        except (ArchiveError, ValueError, TypeError, KeyError):  # of another hand
            continue
    return cipher, before


def code_with_journal(
    coder: Coder,
    names: Sequence[str],
    before: Sequence[Coded],
    journal: Journal,
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> list[Coded]:
    """All images in their order; those coded before are not coded again if they are as they were.

    Raises ArchiveError where one got lost.
    """
    wanted = set(names)
    done = {x.name: x for x in before if x.name in wanted and _unchanged(coder.folder, x)}
    left = [name for name in names if name not in done]
    if progress is not None:
        progress(len(done), len(names))
    with closing(coder.code_all(left, jobs)) as batches:
        for batch in batches:
            for coded in batch:
                done[coded.name] = kept = _if_storable(coded)
                if kept.row is not None:
                    journal.add(to_entry(kept))
            if progress is not None:
                progress(len(done), len(names))
    if done.keys() != wanted:
        raise ArchiveError("not every image was compressed; nothing was written")
    return [done[name] for name in names]


def _if_storable(coded: Coded) -> Coded:
    """Without its row, where no archive could hold that."""
    why = coded.row and unstorable(coded.row)
    return Coded(coded.name, None, error=f"{one_line(coded.name)}: {why}") if why else coded


def _unchanged(folder: Path, coded: Coded) -> bool:
    try:
        state = os.stat(folder / coded.name)
    except (OSError, ValueError):
        return False
    # Not the first two alone: other files may have the same names, sizes and times.
    now = state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
    return now == (coded.size, coded.modified, coded.changed, coded.inode)


def refuse_where_none_fits(coded: Sequence[Coded], lossless: bool) -> None:
    """Raise ImageError where no image could be read, or the model is that of others."""
    errors = [x.error for x in coded if x.row is None]
    misfits = [x.misfit for x in coded if x.misfit]
    if len(errors) == len(coded) or (not lossless and len(errors) + len(misfits) == len(coded)):
        first = (misfits or errors)[0]
        raise ImageError(f"none of the {len(coded)} images could be compressed: {first}")


def sealed_profiles(coded: Iterable[Coded], cipher: Cipher | None) -> dict[str, bytes]:
    """The colour profiles of the rows by their ids, as they go into the decoder's file."""
    distinct = {x.row.profile: x.profile for x in coded if x.row is not None and x.profile}
    return {name: sealed_profile(profile, cipher) for name, profile in distinct.items()}


def _most_common(rows: Sequence[Row]) -> dict[str, str]:
    width, height, mode = Counter((x.width, x.height, x.mode) for x in rows).most_common(1)[0][0]
    quality, modified, profile = (
        Counter(getattr(x, name) for x in rows).most_common(1)[0][0]
        for name in ("quality", "modified", "profile")
    )
    return default_cells(width, height, mode, quality, modified, profile)


def _check_written(
    csv: Path,
    rows: Sequence[Row],
    autoencoder: Autoencoder,
    passphrase: str | None,
    shown: str,
) -> None:
    """Read back what was written: the very rows and the very decoder that were measured."""
    decoder = read_back(csv, passphrase, 0, rows, shown).decoder
    same = (decoder.arch, decoder.config) == (autoencoder.arch, autoencoder.config) and all(
        np.array_equal(decoder.parameters[name], tensor)
        for name, tensor in autoencoder.travelling().items()
    )
    if not same:
        raise ArchiveError(f"the decoder of {shown} would not be that which was measured")


# --- after the work -----------------------------------------------------------------------------


def report_on(
    coded: Sequence[Coded], csv: Path, settings: Settings, skipped: int, began: float
) -> Report:
    """What there is to say of the images that were coded."""
    kept = [x for x in coded if x.row is not None]
    rows = [x.row for x in kept if x.row is not None]
    mean, worst, worst_name = mean_and_worst({x.name: x.psnr for x in kept})
    return Report(
        csv=csv,
        decoder=decoder_path(csv),
        quality=settings.quality,
        promise=settings.promise,
        images=len(kept),
        pixels=sum(x.width * x.height for x in rows),
        original_bytes=sum(x.size for x in kept),
        csv_bytes=os.path.getsize(csv),
        decoder_bytes=os.path.getsize(decoder_path(csv)),
        mean_psnr=mean,
        worst_psnr=worst,
        worst_name=worst_name,
        seconds=time.monotonic() - began,
        skipped=skipped,
        psnrs={x.name: x.psnr for x in kept},
        finer=sum(settings.quality < x.quality < EXACT for x in rows),
        exact=sum(x.quality == EXACT for x in rows),
        kept=sum(len(x.exif) for x in rows),
        dropped=sum(x.dropped for x in kept),
        lost=[(x.name, x.lost) for x in kept if x.lost],
        failed=[(x.name, x.error) for x in coded if x.row is None],
    )


def _compare(report: Report, folder: Path, coded: Sequence[Coded]) -> None:
    """Fill in what JPEG and WebP take for the same images at the same mean PSNR, from a sample
    spread evenly over those that differ. What is exact is in any format what it is here."""
    rows = [x.row for x in coded if x.row is not None]
    exact = [x for x in rows if x.quality == EXACT]
    coded = [x for x in coded if x.row is not None and math.isfinite(x.psnr)]
    if not coded:
        return
    each = max(report.pixels / max(len(rows), 1), 1)
    count = int(np.clip(_COMPARED_PIXELS / each, 1, min(len(coded), _COMPARED)))
    chosen = np.unique(np.linspace(0, len(coded) - 1, count).astype(int))
    sample = [pictures.read(folder / coded[i].name) for i in chosen]
    pixels = report.pixels - sum(x.width * x.height for x in exact)
    share = sum(x.width * x.height for x in sample) / pixels
    same = sum(len(x.latents) for x in exact)
    wanted = float(np.mean([coded[i].psnr for i in chosen]))
    for name, peer in peers.PEERS.items():
        found = peers.bytes_at(peer, sample, wanted)
        report.peers[name] = None if found is None else found / share + same
    report.compared = len(sample)

