"""The originals of an archive: where they lie, and deleting them, each one only after its row was
compared with it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from aezip import images as pictures
from aezip.archive import Archive
from aezip.coding import lost_colours
from aezip.errors import AezipError, ArchiveError, ImageError
from aezip.metrics import psnr
from aezip.storage.files import one_line, reason

_SLACK = 0.01  # dB


@dataclass
class Deleted:
    """What `delete_originals` did. kept: (name, why) of the files that are still there."""

    count: int = 0
    bytes: int = 0
    kept: list[tuple[str, str]] = field(default_factory=list)


def delete_originals(
    csv: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    psnrs: Mapping[str, float],
    *,
    passphrase: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Deleted:
    """Delete the files of a folder that an archive was just made of.

    psnrs: by name what each was measured to be, as `compress` reports it. Each row is read from the
    disk once more and decoded; the file is only removed if the image is as near to it as that.
    Files that hold more than the archive keeps of them stay: further frames, more than 8 bits a
    channel, other colours; and so do links and what is reached through them.

    Raises ArchiveError or ModelError where the archive cannot be opened.
    """
    archive, root, result = Archive(csv, passphrase), Path(folder), Deleted()
    if archive.missing or archive.disordered:
        raise ArchiveError(f"{archive.missing or archive.disordered}; no original was deleted")
    for done, (name, size, why) in enumerate(_delete(archive, root, psnrs), 1):
        if why:
            result.kept.append((name, f"{one_line(root / name)} is kept: {why}"))
        else:
            result.count += 1
            result.bytes += size
        if progress is not None:
            progress(done)
    return result


def read_original(folder: str | os.PathLike[str], name: str) -> Image.Image:
    """The image that an archive calls by this name, its colour profile in its `info`.

    Raises ImageError where it cannot be read, or as `original_path` does.
    """
    loaded = pictures.load(original_path(folder, name))
    if loaded.profile:
        loaded.image.info["icc_profile"] = loaded.profile
    return loaded.image


def original_path(folder: str | os.PathLike[str], name: str) -> Path:
    """Where the file lies that an archive calls by this name, whether or not it is there.

    Names are those of the archive, which may be a stranger's: raises ImageError for one that leads
    out of the folder. Links in it are its owner's, and are followed as `compress` does.
    """
    root = Path(folder)
    path = root / name
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        raise ImageError(f"{one_line(name)} lies outside of {one_line(folder)}")
    return path


def _delete(
    archive: Archive, root: Path, psnrs: Mapping[str, float]
) -> Iterator[tuple[str, int, str]]:
    real = Path(os.path.realpath(root))
    for name, expected in psnrs.items():
        path = root / name
        try:
            if path.is_symlink() or Path(os.path.realpath(path)) != real / name:
                yield name, 0, "it is a link, or in a folder that is one"
                continue
            before = os.stat(path)
            loaded = pictures.load(path)
            if loaded.lost:
                yield name, 0, f"{loaded.lost} would be lost"
                continue
            original = pictures.to_array(loaded.image)
            decoded = pictures.to_array(archive.decode(archive.row(name)))
            db = psnr(original, decoded) if original.shape == decoded.shape else -math.inf
            if db < expected - _SLACK:
                yield name, 0, "its row does not decode to it"
                continue
            if lost := lost_colours(original, decoded, db, archive.promise - _SLACK):
                yield name, 0, f"{lost} would be lost"
                continue
            after = os.stat(path)
            if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
                yield name, 0, "it was changed meanwhile"
                continue
            path.unlink()
            yield name, before.st_size, ""
        except KeyError:
            yield name, 0, "it is not in the archive"
        except AezipError as error:
            yield name, 0, str(error)
        except OSError as error:
            yield name, 0, reason(error)
