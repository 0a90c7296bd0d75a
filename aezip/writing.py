"""Writing an archive's two files so that at every moment the two belong together.

No file system renames two files at once. So a decoder's file can hold the one before besides:
while a CSV gives way to another, both of them find their decoder in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from aezip import interrupts
from aezip.archive import decoder_path
from aezip.errors import AezipError, ArchiveError, ModelError
from aezip.storage.files import one_line, reason, remove_leftovers, replacing
from aezip.storage.hdf5 import content_id, read_decoder, read_profiles, write_decoder
from aezip.storage.rows import RowFile


def replace_archive(
    csv: str | os.PathLike[str],
    header: Mapping[str, Any],
    parameters: bytes,
    profiles: Mapping[str, bytes],
    write_csv: Callable[[Path], None],
) -> None:
    """Put an archive in the place of the one that is there, if any.

    header, parameters, profiles: of its decoder, as `write_decoder` takes them. write_csv: writes
    the CSV to the path it is given. The caller holds the archive's journal.

    Raises ArchiveError or ModelError where that cannot be done; the archive that was there is
    then as it was.
    """
    target = decoder_path(csv)
    remove_leftovers(target)
    identity = content_id(header, parameters)
    before = decoder_in_use(csv)
    stored = read_profiles(target, identity) if before == identity else {}
    kept = {**stored, **profiles}  # the rows that are there still need theirs
    with interrupts.later():  # what is to be said then: written or not written
        try:
            with replacing(csv) as temporary:
                write_csv(temporary)
                # From here on the decoder's file serves both.
                other = None if before == identity else before
                write_decoder(target, header, parameters, kept, other)
        except ArchiveError as error:  # it names the temporary file
            if not isinstance(error.__cause__, OSError):
                raise
            shown = f"{one_line(csv)} cannot be written: {reason(error.__cause__)}"
            raise ArchiveError(shown) from error
        except OSError as error:
            raise ArchiveError(f"{one_line(csv)} cannot be written: {reason(error)}") from error
        with suppress(ModelError):  # only bytes would be saved
            write_decoder(target, header, parameters, profiles)


def decoder_in_use(csv: str | os.PathLike[str]) -> str | None:
    """The content id of the decoder that the archive there needs and has; None where there is no
    archive that could be read."""
    try:
        wanted = RowFile(csv).decoder_id
        return wanted if read_decoder(decoder_path(csv), wanted)[2] == wanted else None
    except AezipError:
        return None
