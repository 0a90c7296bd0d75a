"""Archives: a collection written as a CSV and its decoder, and the images back out of them.

The decoder lies beside the CSV under the same name with `.h5`. The two are all that is needed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from typing import overload

from PIL import Image

from aezip import images as pictures
from aezip.autoencoders import ARCHITECTURES, Autoencoder, check_quality
from aezip.errors import AezipError, ArchiveError, ImageError, ModelError
from aezip.storage.files import one_line, reason
from aezip.storage.hdf5 import read_decoder
from aezip.storage.rows import MODES, Head, Row, RowFile

MAX_PIXELS = 178_956_970
"""A row that claims more is refused: what Pillow refuses to open, too."""


def decoder_path(csv: str | os.PathLike[str]) -> Path:
    """Where the decoder of an archive is."""
    path = Path(csv)
    if path.suffix.lower() != ".csv":
        # Two archives that differ in another ending would share one decoder.
        raise ArchiveError(f"{one_line(csv)}: the name of an archive ends in .csv, as in out.csv")
    return path.with_suffix(".h5")


class Archive(Sequence[Image.Image]):
    """A sequence of images, each decoded when it is asked for.

    `archive[3]` is a PIL image, `archive["IMG_1.jpg"]` too; a slice is an archive of those rows.
    Opening reads the decoder and where each row begins, nothing more.
    """

    def __init__(self, csv: str | os.PathLike[str]) -> None:
        """Raises ArchiveError or ModelError where one of the two files is not what it should be."""
        self.path = Path(csv)
        self.decoder_path = decoder_path(csv)
        self._file = RowFile(csv)
        self._decoder, self._defaults = _read_decoder(self.decoder_path, self._file.decoder_id, csv)
        self._rows = range(len(self._file))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, key: int | str) -> Image.Image: ...
    @overload
    def __getitem__(self, key: slice) -> Archive: ...
    def __getitem__(self, key: int | str | slice) -> Image.Image | Archive:
        """Raises IndexError or KeyError where there is no such row, ArchiveError for a damaged
        one."""
        if isinstance(key, slice):
            part = object.__new__(Archive)
            part.__dict__.update({k: v for k, v in self.__dict__.items() if k != "_index"})
            part._rows = self._rows[key]
            return part
        return self.decode(self.row(key))

    def __iter__(self) -> Iterator[Image.Image]:
        return (self[i] for i in range(len(self)))

    @property
    def names(self) -> list[str]:
        """The rows' names, in their order."""
        every = self._file.names()
        return [every[i] for i in self._rows]

    def heads(self) -> list[Head | ArchiveError]:
        """What the CSV says of each row, unchecked, and the bytes that it takes there."""
        every = self._file.heads(self._defaults)
        return [every[i] for i in self._rows]

    @property
    def decoder(self) -> Autoencoder:
        """What rebuilds the images."""
        return self._decoder

    def __contains__(self, name: object) -> bool:
        """Whether a row has this name."""
        return name in self._index

    def find(self, name: str) -> int:
        """The number of the row of that name. Raises KeyError."""
        return self._index[name]

    def row(self, key: int | str) -> Row:
        """What the CSV says of one image. Raises as `archive[key]` does."""
        number = self.find(key) if isinstance(key, str) else key
        try:
            number = self._rows[number]
        except IndexError:
            has = {0: "no rows", 1: "1 row, numbered 0"}.get(
                len(self), f"{len(self)} rows, numbered from 0 to {len(self) - 1}"
            )
            raise IndexError(f"{one_line(self.path)} has {has}; there is no row {key}") from None
        return self._file.row(number, self._defaults)

    def decode(self, row: Row) -> Image.Image:
        """The image of a row of this archive. Raises ArchiveError for damaged latents."""
        with self._decoding(row) as shape:
            pixels = self._decoder.decode([row.latents], shape, row.quality)[0]
        return pictures.from_array(pixels)

    def thumbnail(self, row: Row, side: int) -> Image.Image:
        """The image of a row with its longer side brought down to `side` pixels; it is decoded no
        further than that takes. Raises as `decode` does."""
        with self._decoding(row) as shape:
            pixels = self._decoder.preview(row.latents, shape, row.quality, side)
        image = pictures.from_array(pixels)
        scale = min(side, max(image.size)) / max(row.width, row.height)
        size = max(1, round(row.width * scale)), max(1, round(row.height * scale))
        return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)

    @contextmanager
    def _decoding(self, row: Row) -> Iterator[tuple[int, int, int]]:
        """The shape to decode; what goes wrong then is an ArchiveError that names the row."""
        try:
            if row.width * row.height > MAX_PIXELS:
                raise ArchiveError(f"it claims more than {MAX_PIXELS} pixels")
            check_quality(row.quality)
            yield row.height, row.width, MODES.index(row.mode) + 1
        except (ArchiveError, ModelError) as error:
            shown = f"{one_line(self.path)}: {one_line(row.name)}"
            raise ArchiveError(f"{shown} cannot be decoded: {error}") from error

    @cached_property
    def _index(self) -> dict[str, int]:
        try:
            return {name: number for number, name in enumerate(self.names)}
        except ArchiveError:  # of a row whose name is damaged; it hides no other
            readable = {}
            for number in range(len(self)):
                with suppress(ArchiveError):
                    readable[self.row(number).name] = number
            return readable


def _read_decoder(
    path: Path, wanted: str, csv: str | os.PathLike[str]
) -> tuple[Autoencoder, Mapping[str, str]]:
    if not path.exists():
        raise ModelError(
            f"{one_line(path)}, the decoder of {one_line(csv)}, is missing: keep the two together"
        )
    decoder, defaults, identity = load_decoder(path)
    if identity != wanted:
        raise ModelError(
            f"{one_line(path)} is not the decoder that {one_line(csv)} was written with"
        )
    return decoder, defaults


def load_decoder(path: str | os.PathLike[str]) -> tuple[Autoencoder, Mapping[str, str], str]:
    """(autoencoder, what blank cells of its archive mean, content id). Raises ModelError."""
    header, parameters, identity = read_decoder(path)
    kind = ARCHITECTURES.get(str(header.get("arch")))
    if kind is None:
        raise ModelError(f"{one_line(path)} is of an architecture that this aezip does not know")
    config, defaults = header.get("config"), header.get("defaults")
    if not isinstance(config, dict) or not isinstance(defaults, dict):
        raise ModelError(f"{one_line(path)} is damaged: its header is incomplete")
    try:
        decoder = kind.unpack(config, parameters)
    except ModelError as error:
        raise ModelError(f"{one_line(path)}: {error}") from error
    return decoder, {str(k): str(v) for k, v in defaults.items()}, identity


def extract(
    archive: Archive,
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[str, str]]:
    """Write each image of an archive into a folder as PNG, under its own name.

    Returns (name, why not) for each image that was not written: damaged, already there (unless
    `force`), or a name that leads out of the folder. Of names that differ in their extension
    alone each keeps its own: a.jpg.png and a.tif.png. progress: called with the images done.
    """
    failed = []
    for done, (name, error) in enumerate(_extract(archive, Path(folder), force), 1):
        if error is not None:
            failed.append((name, error))
        if progress is not None:
            progress(done)
    return failed


def _extract(archive: Archive, root: Path, force: bool) -> Iterator[tuple[str, str | None]]:
    names: list[str] = []
    rows: list[int] = []
    for number in range(len(archive)):
        try:
            names.append(archive.row(number).name)
            rows.append(number)
        except ArchiveError as error:
            yield f"row {number}", str(error)
    plain = [_without_extension(name) for name in names]
    # A name is also taken where another has it before its extension: a.jpg of a.jpg.png.
    count = Counter([*plain, *set(names)])
    for number, name, stem in zip(rows, names, plain, strict=True):
        try:
            path = root / _inside(f"{stem if count[stem] == 1 else name}.png")
            if os.path.lexists(path) and not force:
                raise ImageError(f"{one_line(path)} is there already (--force overwrites it)")
            if not path.resolve().is_relative_to(root.resolve()):  # by a link that is there
                raise ImageError(f"{one_line(name)} would be written outside of {one_line(root)}")
            image = archive[number]
            path.parent.mkdir(parents=True, exist_ok=True)
            pictures.write(image, path)
        except AezipError as error:
            yield name, str(error)
        except OSError as error:
            yield name, f"{one_line(name)} cannot be written: {reason(error)}"
        except ValueError:  # a zero byte, or what else no path can hold
            yield name, f"{one_line(name)} cannot be written: no file can have this name"
        else:
            yield name, None


def _without_extension(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def _inside(name: str) -> PurePosixPath:
    """`name`, if it stays below the folder that it is joined to."""
    path, here = PurePosixPath(name), PurePath(name)
    if path.is_absolute() or here.drive or here.root or ".." in {*path.parts, *here.parts}:
        raise ImageError(f"{one_line(name)} would be written outside of the folder")
    return path
