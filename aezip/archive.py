"""Archives: a collection written as a CSV and its decoder, and the images back out of them.

The decoder lies beside the CSV under the same name with `.h5`. The two are all that is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, overload

from PIL import Image

from aezip import images as pictures
from aezip import lossless
from aezip.autoencoders import ARCHITECTURES, Autoencoder, check_quality
from aezip.errors import ArchiveError, LimitError, ModelError
from aezip.storage.files import one_line
from aezip.storage.hdf5 import canonical, read_decoder, read_profile
from aezip.storage.limits import limit
from aezip.storage.row import Head, expanded
from aezip.storage.rows import EXACT, MODES, Row, RowFile
from aezip.storage.secrecy import ENCRYPTED, TAG, Cipher, passphrase_for, unlock


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

    def __init__(self, csv: str | os.PathLike[str], passphrase: str | None = None) -> None:
        """passphrase: of an encrypted archive; by default that in AEZIP_PASSPHRASE.

        Raises ArchiveError or ModelError where one of the two files is not what it should be.
        """
        self.path = Path(csv)
        self.decoder_path = decoder_path(csv)
        self._file = RowFile(csv)
        if not self.decoder_path.exists():
            raise ModelError(
                f"{one_line(self.decoder_path)}, the decoder of {one_line(csv)}, is missing: keep "
                "the two together"
            )
        self._opened = load_decoder(self.decoder_path, self._file.decoder_id, passphrase)
        if self._opened.identity != self._file.decoder_id:
            raise ModelError(
                f"{one_line(self.decoder_path)} is not the decoder that {one_line(csv)} was "
                "written with"
            )
        self._file.cipher = self.cipher
        self._rows = range(len(self._file))
        self._held = "", b""  # a profile and its id

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
        every = self._file.heads(self.defaults)
        return [every[i] for i in self._rows]

    @property
    def decoder(self) -> Autoencoder:
        """What rebuilds the images."""
        return self._opened.decoder

    @property
    def promise(self) -> float:
        """The PSNR in dB that each image had at least when it was compressed."""
        return self._opened.promise

    @property
    def decoder_id(self) -> str:
        """Content id of the decoder."""
        return self._opened.identity

    @property
    def defaults(self) -> Mapping[str, str]:
        """What blank cells of the CSV mean."""
        return self._opened.defaults

    @property
    def cipher(self) -> Cipher | None:
        """Of an encrypted archive."""
        return self._opened.cipher

    @property
    def missing(self) -> str:
        """One line where there are fewer rows than were written, or more; empty where not."""
        return self._file.missing()

    @property
    def disordered(self) -> str:
        """One line where whole rows are not those that were written, or in another order; empty
        where they are. Reads all of the file."""
        return self._file.disordered()

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
        return self._file.row(number, self.defaults)

    def decode(self, row: Row) -> Image.Image:
        """The image of a row of this archive, its colour profile and EXIF in its `info` as Pillow
        has them. Raises ArchiveError for damaged latents."""
        with self._decoding(row) as shape:
            if row.quality == EXACT:
                pixels = lossless.decode(row.latents, shape)
            else:
                pixels = self.decoder.decode([row.latents], shape, row.quality)[0]
            image = pictures.from_array(pixels)
            self._give_profile(image, row)
            if row.exif:
                image.info["exif"] = pictures.EXIF_START + expanded(row.exif)
        return image

    def thumbnail(self, row: Row, side: int) -> Image.Image:
        """The image of a row with its longer side brought down to `side` pixels; it is decoded no
        further than that takes. Its colour profile is in its `info`. Raises as `decode` does."""
        with self._decoding(row) as shape:
            if row.quality == EXACT:
                pixels = lossless.decode(row.latents, shape)
            else:
                pixels = self.decoder.preview(row.latents, shape, row.quality, side)
            image = pictures.from_array(pixels)
            self._give_profile(image, row)
        scale = min(side, max(image.size)) / max(row.width, row.height)
        size = max(1, round(row.width * scale)), max(1, round(row.height * scale))
        return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)

    @contextmanager
    def _decoding(self, row: Row) -> Iterator[tuple[int, int, int]]:
        """The shape to decode; what goes wrong then is an ArchiveError that names the row."""
        try:
            most = limit("MAX_PIXELS")
            if row.width * row.height > most:
                raise LimitError(f"it claims more than {most} pixels (AEZIP_MAX_PIXELS)")
            if row.quality != EXACT:
                check_quality(row.quality)
                # Of a line of pixels most is padding; of an image that anyone has, little.
                if self.decoder.computed_pixels(row.height, row.width) > 2 * most:
                    raise LimitError(f"it takes more than {2 * most} pixels (AEZIP_MAX_PIXELS)")
            yield row.height, row.width, MODES.index(row.mode) + 1
        except (ArchiveError, ModelError) as error:
            shown = f"{one_line(self.path)}: {one_line(row.name)}"
            kind = LimitError if isinstance(error, LimitError) else ArchiveError
            raise kind(f"{shown} cannot be decoded: {error}") from error

    def _give_profile(self, image: Image.Image, row: Row) -> None:
        if row.profile:
            image.info["icc_profile"] = self._profile(row.profile)

    def _profile(self, identity: str) -> bytes:
        """Only the last one is held: each may be large, and there may be many."""
        if self._held[0] != identity:
            stored = read_profile(self.decoder_path, identity, self._file.decoder_id)
            try:
                if stored is None:
                    raise ArchiveError("it is missing")
                self._held = identity, open_profile(identity, stored, self.cipher)
            except LimitError:
                raise
            except ArchiveError as error:
                where = one_line(self.decoder_path)
                raise ArchiveError(
                    f"its colour profile is not in {where}, or is damaged there"
                ) from error
        return self._held[1]

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


# --- the decoder's file -------------------------------------------------------------------------


@dataclass(frozen=True)
class OpenedDecoder:
    """What an archive's HDF5 file holds.

    defaults: what blank cells mean. identity: content id. promise: PSNR in dB that each image has
    at least. cipher: of an encrypted archive.
    """

    decoder: Autoencoder
    defaults: Mapping[str, str]
    identity: str
    promise: float
    cipher: Cipher | None


def load_decoder(
    path: str | os.PathLike[str], wanted: str | None = None, passphrase: str | None = None
) -> OpenedDecoder:
    """The decoder of an archive. wanted: its content id, where the file may hold another besides.

    Raises ModelError.
    """
    shown = one_line(path)
    header, parameters, identity = read_decoder(path, wanted)
    cipher = None
    if header.get("arch") == ENCRYPTED:
        asked = passphrase_for(shown) if passphrase is None else passphrase
        cipher = unlock(header, asked, shown)
        try:
            header, parameters = _opened(cipher, parameters)
        except ArchiveError as error:
            raise ModelError(f"{shown}: {error}") from error
    kind = ARCHITECTURES.get(str(header.get("arch")))
    if kind is None:
        raise ModelError(f"{shown} is of an architecture that this aezip does not know")
    config, defaults, promise = (header.get(k) for k in ("config", "defaults", "promise"))
    if not isinstance(config, dict) or not isinstance(defaults, dict):
        raise ModelError(f"{shown} is damaged: its header is incomplete")
    if not isinstance(promise, int | float):
        promise = 0.0
    try:
        count = sum(prod(shape) for shape in kind.shapes(config).values())
        most = limit("MAX_PARAMETERS_PER_BYTE") * (len(parameters) + 16)
        if count > min(most, limit("MAX_PARAMETERS")):
            raise ModelError("the decoder is damaged: it claims too many parameters")
        decoder = kind.unpack(config, parameters)
    except ModelError as error:
        raise ModelError(f"{shown}: {error}") from error
    defaults = {str(k): str(v) for k, v in defaults.items()}
    return OpenedDecoder(decoder, defaults, identity, float(promise), cipher)


def sealed_decoder(
    header: Mapping[str, Any], parameters: bytes, cipher: Cipher | None
) -> tuple[Mapping[str, Any], bytes]:
    """(header, parameters) as they go into the file: hidden, where there is a cipher."""
    if cipher is None:
        return header, parameters
    return cipher.header, b"".join(cipher.seal(canonical(header) + b"\0" + parameters, "decoder"))


def _opened(cipher: Cipher, data: bytes) -> tuple[dict[str, Any], bytes]:
    text, _, parameters = cipher.open(data[:TAG], data[TAG:], "decoder").partition(b"\0")
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise ArchiveError("it does not describe a decoder")
    return header, parameters


def profile_id(profile: bytes, cipher: Cipher | None) -> str:
    """8 hexadecimal digits that name an ICC profile by its content; with a cipher only to those who
    have its key, since everybody has the profiles."""
    digest = hashlib.sha256(profile).digest() if cipher is None else cipher.mac(profile)
    return digest[:4].hex()


def sealed_profile(profile: bytes, cipher: Cipher | None) -> bytes:
    """An ICC profile as it goes into the file."""
    data = zlib.compress(profile, 9)
    if cipher is None:
        return data
    return b"".join(cipher.seal(data, f"profile {profile_id(profile, cipher)}"))


def open_profile(identity: str, data: bytes, cipher: Cipher | None) -> bytes:
    """The ICC profile of `sealed_profile`. Raises ArchiveError where it is damaged."""
    if cipher is not None:  # which binds the id to it
        return expanded(cipher.open(data[:TAG], data[TAG:], f"profile {identity}"))
    profile = expanded(data)
    if profile_id(profile, None) != identity:
        raise ArchiveError("its colour profile is damaged")
    return profile
