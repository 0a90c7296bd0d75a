"""Writing an archive's two files so that at every moment the two belong together.

No file system renames two files at once. So a decoder's file can hold the one before besides:
while a CSV gives way to another, both of them find their decoder in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aezip import interrupts
from aezip.archive import Archive, decoder_path
from aezip.errors import AezipError, ArchiveError, ModelError
from aezip.storage.files import one_line, reason, remove_leftovers, replacing
from aezip.storage.hdf5 import content_id, read_decoder, read_profiles, write_decoder
from aezip.storage.journal import Journal
from aezip.storage.rows import Row, RowFile


def replace_archive(
    csv: str | os.PathLike[str],
    header: Mapping[str, Any],
    parameters: bytes,
    profiles: Mapping[str, bytes],
    write_csv: Callable[[Path], None],
    check: Callable[[Path], object],
    journal: Journal | None = None,
) -> None:
    """Put an archive in the place of the one that is there, if any.

    header, parameters, profiles: of its decoder, as `write_decoder` takes them. write_csv: writes
    the CSV to the path it is given. check: reads what was written there, a whole archive, and
    raises ArchiveError where it is not what it should be. The caller holds the archive's journal.
    journal: if the work that it is of ends with this.

    Raises ArchiveError or ModelError where that cannot be done; the archive that was there is
    then as it was. Raises TooLateError after a Ctrl-C that came meanwhile; the archive is written.
    """
    target = decoder_path(csv)
    remove_leftovers(target)
    identity = content_id(header, parameters)
    before = decoder_in_use(csv)
    stored = read_profiles(target, identity) if before == identity else {}
    kept = {**stored, **profiles}  # the rows that are there still need theirs
    with interrupts.later(interrupts.TooLateError):
        try:
            with replacing(csv) as temporary:
                write_csv(temporary)
                _try(temporary, header, parameters, kept, check)
                # From here on the decoder's file serves both.
                other = None if before == identity else before
                write_decoder(target, header, parameters, kept, other)
            if journal is not None:
                journal.finished = True
        except ArchiveError as error:  # it names the temporary file
            if not isinstance(error.__cause__, OSError):
                raise
            shown = f"{one_line(csv)} cannot be written: {reason(error.__cause__)}"
            raise ArchiveError(shown) from error
        except OSError as error:
            raise ArchiveError(f"{one_line(csv)} cannot be written: {reason(error)}") from error
        with suppress(ModelError):  # only bytes would be saved
            write_decoder(target, header, parameters, profiles)


def _try(
    csv: Path,
    header: Mapping[str, Any],
    parameters: bytes,
    profiles: Mapping[str, bytes],
    check: Callable[[Path], object],
) -> None:
    """Check a CSV with its decoder beside it, while the archive that is there still is."""
    decoder = decoder_path(csv)
    try:
        write_decoder(decoder, header, parameters, profiles)
        check(csv)
    except ModelError as error:  # it names the temporary file
        raise ArchiveError(str(error)) from error.__cause__
    finally:
        with suppress(OSError):
            decoder.unlink()


def read_back(
    csv: Path, passphrase: str | None, kept: int, rows: Sequence[Row], shown: str
) -> Archive:
    """The archive at `csv`, which is to be called `shown`. Raises ArchiveError unless it has `kept`
    rows, then these, and knows of no others."""
    with suppress(AezipError):
        archive = Archive(csv, passphrase)
        if (
            len(archive) == kept + len(rows)
            and all(archive.row(kept + i) == row for i, row in enumerate(rows))
            and not archive.missing
            and not archive.disordered
        ):
            return archive
    raise ArchiveError(
        f"{shown} does not read back as it is to be; it was not written, keep the images"
    )


def decoder_in_use(csv: str | os.PathLike[str]) -> str | None:
    """The content id of the decoder that the archive there needs and has; None where there is no
    archive that could be read."""
    try:
        wanted = RowFile(csv).decoder_id
        return wanted if read_decoder(decoder_path(csv), wanted)[2] == wanted else None
    except AezipError:
        return None
