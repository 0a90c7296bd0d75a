"""Fitted models and decoders as HDF5 files.

A model keeps everything that fitting produced, as named arrays. A decoder travels with an
archive, so each of its bytes counts: it is one header and one run of coded parameters, written
so that HDF5 itself adds 265 bytes (h5py's defaults add 6,500).

Files may come from strangers. Nothing is unpickled, only hard links and plain numbers are
followed, and every size is checked before memory is asked for.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5fd, h5p, h5s, h5t

from aezip.errors import ModelError
from aezip.storage.files import one_line, reason, replacing
from aezip.storage.limits import limit

MODEL_FORMAT = "aezip-model"
DECODER_FORMAT = "aezip-decoder"
VERSION = 1

_ATTRIBUTE_BYTES = 60_000  # HDF5 keeps an attribute of up to 64 KB in the object's header
_MAX_ARRAYS = 100_000
_MAX_PROFILES = 1000
_PROFILE = "profile_"

_KINDS = {
    MODEL_FORMAT: "a fitted model (what `aezip fit` writes)",
    DECODER_FORMAT: "a decoder (the .h5 beside an archive)",
}


def write_model(
    path: str | os.PathLike[str], header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a fitted model; the file appears whole or not at all.

    header: what JSON can hold, without NaN. tensors: numeric arrays of any shape by name, kept
    with their dtype; a `/` in a name makes HDF5 groups.

    Raises ModelError when the file cannot be written.
    """
    text = canonical(header)
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "biuf":
            raise TypeError(f"tensor {name!r} has dtype {tensor.dtype}, not a plain number")
    # Built in memory: what h5py raises when a disk is full is not an OSError.
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver="v108") as file:
        _put_identity(file.id, MODEL_FORMAT)
        _put_bytes(file.id, b"header", text)
        group = file.create_group("tensors", track_order=False)
        for name, tensor in tensors.items():
            group.create_dataset(name, data=tensor, track_times=False)
    with _writing(path) as temporary:
        temporary.write_bytes(memory.getbuffer())


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(header, tensors) as given to `write_model`; the tensors are new arrays.

    Raises ModelError: missing, not HDF5, not a model of this version, damaged, or larger than the
    limit.
    """
    with _reading(path, MODEL_FORMAT) as file:
        header = _parse(_get_bytes(file, "header"))
        group = _child(file, "tensors")
        if not isinstance(group, h5py.Group):
            raise _RefusedError("its tensors are not a group")
        datasets: dict[str, h5py.Dataset] = {}
        _collect(group, "", {_address(file), _address(group)}, datasets)
        _check_size("its arrays claim", sum(x.nbytes for x in datasets.values()), file)
        return header, {name: _read(dataset) for name, dataset in datasets.items()}


def canonical(header: Mapping[str, Any]) -> bytes:
    """A header as JSON: keys sorted, no spaces, ASCII."""
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def content_id(header: Mapping[str, Any], parameters: bytes) -> str:
    """16 hexadecimal digits that name a decoder by its content, however HDF5 lays it out.

    The first quarter of SHA-256 over the header as canonical JSON (keys sorted, no spaces, ASCII),
    one zero byte, and the parameters.
    """
    return _digest(canonical(header), parameters)


def write_decoder(
    path: str | os.PathLike[str],
    header: Mapping[str, Any],
    parameters: bytes,
    profiles: Mapping[str, bytes] | None = None,
    previous: str | None = None,
) -> str:
    """Write a decoder, whole or not at all, and return its `content_id`. A file that is this very
    one already is not touched.

    profiles: colour profiles by their ids, in whatever form the archive has them. previous: content
    id of a decoder in the file that is there, which the new file is to hold besides: a CSV that
    still needs it finds it.

    Raises ModelError when the file cannot be written, or the previous decoder is not there.
    """
    before: bytes | memoryview = b""
    if previous is not None:
        old_header, old_parameters, _ = read_decoder(path, previous)
        before = _decoder_image(old_header, old_parameters, read_profiles(path, previous), b"")
    image = _decoder_image(header, parameters, profiles or {}, before)
    if not _holds(path, image):
        with _writing(path) as temporary:
            temporary.write_bytes(image)
    return content_id(header, parameters)


def _holds(path: str | os.PathLike[str], data: memoryview) -> bool:
    try:
        return os.path.getsize(path) == len(data) and Path(path).read_bytes() == data
    except OSError:
        return False


def _decoder_image(
    header: Mapping[str, Any],
    parameters: bytes,
    profiles: Mapping[str, bytes],
    previous: bytes | memoryview,
) -> memoryview:
    """The bytes of the file."""
    text = canonical(header)
    # Built in memory; 4-byte offsets, the 1.8 format, no times and no space reserved for growth.
    # Not `get_file_image`: before HDF5 2.0 its result has a wrong checksum.
    memory = io.BytesIO()
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5fd.fileobj_driver, memory)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V18)
    access.set_meta_block_size(1)
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_sizes(4, 4)
    creation.set_obj_track_times(False)
    file = h5f.create(b"decoder", h5f.ACC_TRUNC, creation, access)
    try:
        _put_identity(file, DECODER_FORMAT)
        _put_text(file, b"content_id", _digest(text, parameters).encode())
        _put_bytes(file, b"header", text)
        _put_bytes(file, b"parameters", parameters)
        for name, profile in profiles.items():
            _put_bytes(file, f"{_PROFILE}{name}".encode(), profile)
        if previous:
            _put_bytes(file, b"previous", previous)
    finally:
        file.close()
    return memory.getbuffer()


def read_decoder(
    path: str | os.PathLike[str], wanted: str | None = None
) -> tuple[dict[str, Any], bytes, str]:
    """(header, parameters, content_id) of a decoder; the id was checked against the content.

    wanted: content id of the one to read where the file holds the previous one, too.

    Raises ModelError: missing, not HDF5, not a decoder of this version, or damaged.
    """
    with _reading(path, DECODER_FORMAT) as file, _one_wanted(file, wanted) as one:
        text = _get_bytes(one, "header")
        parameters = _get_bytes(one, "parameters")
        identity = _get_text(one, "content_id")
        if identity != _digest(text, parameters):
            raise _RefusedError("its content does not match its content id")
        return _parse(text), parameters, identity


def read_profiles(path: str | os.PathLike[str], wanted: str | None = None) -> dict[str, bytes]:
    """The colour profiles given to `write_decoder`; they are not part of its content id.

    Raises ModelError as `read_decoder` does.
    """
    with _reading(path, DECODER_FORMAT) as file, _one_wanted(file, wanted) as one:
        names = [*one.attrs.keys(), *one.keys()]
        found = [x for x in names if x.startswith(_PROFILE)]
        if len(found) > _MAX_PROFILES:
            raise _RefusedError("it holds too many colour profiles")
        profiles, size = {}, 0
        for name in found:
            data = _get_bytes(one, name)
            size += len(data)
            _check_size("its colour profiles claim", size, one)
            profiles[name.removeprefix(_PROFILE)] = data
        return profiles


def read_profile(
    path: str | os.PathLike[str], identity: str, wanted: str | None = None
) -> bytes | None:
    """The one of `read_profiles` that has this id, None where there is none. Raises as they do."""
    with _reading(path, DECODER_FORMAT) as file, _one_wanted(file, wanted) as one:
        name = f"{_PROFILE}{identity}"
        there = name in one.attrs or one.get(name, getlink=True) is not None
        return _get_bytes(one, name) if there else None


@contextlib.contextmanager
def _one_wanted(file: h5py.File, wanted: str | None) -> Iterator[h5py.File]:
    """The file, or the one that it holds of the decoder before."""
    names = [*file.attrs.keys(), *file.keys()]
    if wanted is None or "previous" not in names or _get_text(file, "content_id") == wanted:
        yield file
        return
    with h5py.File(io.BytesIO(_get_bytes(file, "previous")), "r") as before:
        _check_identity(before, "its previous decoder", DECODER_FORMAT)
        yield before if _get_text(before, "content_id") == wanted else file


def read_format(path: str | os.PathLike[str]) -> str:
    """`MODEL_FORMAT` or `DECODER_FORMAT`: which of the two the file is.

    Raises ModelError: missing, not HDF5, neither of them, or of another version.
    """
    with _reading(path, None) as file:
        return _get_text(file, "format")


class _RefusedError(Exception):
    """Why a file is refused, in the words that follow its name and 'is damaged: '."""


# --- bytes in, bytes out ---------------------------------------------------------------------


def _digest(text: bytes, parameters: bytes) -> str:
    digest = hashlib.sha256(text + b"\0")
    digest.update(parameters)
    return digest.hexdigest()[:16]


def _put_identity(file: h5f.FileID, form: str) -> None:
    _put_text(file, b"format", form.encode())
    attribute = h5a.create(_root(file), b"version", h5t.STD_U8LE, h5s.create(h5s.SCALAR))
    attribute.write(np.array(VERSION, np.uint8))


def _put_text(file: h5f.FileID, name: bytes, text: bytes) -> None:
    kind = h5t.C_S1.copy()
    kind.set_size(len(text))
    kind.set_strpad(h5t.STR_NULLPAD)
    attribute = h5a.create(_root(file), name, kind, h5s.create(h5s.SCALAR))
    attribute.write(np.array(text, f"S{len(text)}"))


def _put_bytes(file: h5f.FileID, name: bytes, data: bytes | memoryview) -> None:
    """As an attribute where it fits, which is 275 bytes smaller than a data set; text as text."""
    root = _root(file)
    if name == b"header" and len(data) <= _ATTRIBUTE_BYTES:
        return _put_text(file, name, bytes(data))
    values = np.frombuffer(data, np.uint8)
    shape = h5s.create_simple((len(data),)) if data else h5s.create(h5s.NULL)
    if len(data) <= _ATTRIBUTE_BYTES:
        attribute = h5a.create(root, name, h5t.STD_U8LE, shape)
        if data:
            attribute.write(values)
        return None
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_layout(h5d.CONTIGUOUS)
    creation.set_obj_track_times(False)
    creation.set_fill_time(h5d.FILL_TIME_NEVER)
    h5d.create(root, name, h5t.STD_U8LE, shape, creation).write(h5s.ALL, h5s.ALL, values)
    return None


def _get_bytes(file: h5py.File, name: str) -> bytes:
    if h5a.exists(_root(file.id), name.encode()):
        attribute = _attribute(file, name)
        if attribute.get_space().get_simple_extent_type() == h5s.NULL:
            return b""
        values = np.empty(attribute.shape, attribute.dtype)
        attribute.read(values)
        if values.dtype.kind == "S":  # NumPy would drop zero bytes at the end of a string
            return values.tobytes()
    else:
        dataset = _child(file, name)
        if not isinstance(dataset, h5py.Dataset):
            raise _RefusedError(f"{name} is not a data set")
        values = _read(dataset)
    if values.dtype != np.uint8:
        raise _RefusedError(f"{name} does not hold bytes")
    return values.tobytes()


def _get_text(file: h5py.File, name: str) -> str:
    if not h5a.exists(_root(file.id), name.encode()):
        raise _RefusedError(f"it has no {name}")
    attribute = _attribute(file, name)
    if attribute.dtype.kind != "S" or attribute.shape != ():
        raise _RefusedError(f"its {name} is not text")
    values = np.empty((), attribute.dtype)
    attribute.read(values)
    return values.tobytes().decode("ascii")


def _attribute(file: h5py.File, name: str) -> h5a.AttrID:
    """The attribute, once it is known to be plain and of a size that can be read."""
    attribute = h5a.open(_root(file.id), name.encode())
    kind = attribute.get_type()
    if kind.get_class() not in (h5t.STRING, h5t.INTEGER) or kind.detect_class(h5t.VLEN):
        raise _RefusedError(f"its {name} is neither text nor numbers")
    if kind.get_class() == h5t.STRING and kind.is_variable_str():
        raise _RefusedError(f"its {name} is not stored in place")
    count = attribute.get_space().get_simple_extent_npoints()
    _check_size(f"its {name} claims", count * kind.get_size(), file)
    return attribute


def _parse(text: bytes) -> dict[str, Any]:
    header = json.loads(text)
    if not isinstance(header, dict):
        raise _RefusedError("its header is not a JSON object")
    return header


# --- links and data sets of strangers --------------------------------------------------------


def _root(file: h5f.FileID) -> h5py.h5g.GroupID:
    return h5py.h5g.open(file, b"/")


def _address(node: h5py.Group | h5py.Dataset) -> int:
    return int(h5py.h5o.get_info(node.id).addr)


def _child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """What a hard link leads to; a soft or external link may lead out of the file."""
    link = group.get(name, getlink=True)
    if link is None:
        raise _RefusedError(f"it has no {one_line(name)}")
    if not isinstance(link, h5py.HardLink):
        raise _RefusedError(f"{one_line(name)} is a link to somewhere else")
    return group[name]


def _collect(
    group: h5py.Group, prefix: str, seen: set[int], into: dict[str, h5py.Dataset]
) -> None:
    """All data sets below `group`; an object met twice would make a loop of hard links."""
    for name in group:
        node = _child(group, name)
        address = _address(node)
        if address in seen or len(seen) > _MAX_ARRAYS or prefix.count("/") > 16:
            raise _RefusedError("its groups lead in a circle, or there are too many")
        seen.add(address)
        if isinstance(node, h5py.Group):
            _collect(node, f"{prefix}{name}/", seen, into)
        elif isinstance(node, h5py.Dataset):
            into[prefix + name] = _checked(node)
        else:
            raise _RefusedError(f"{one_line(prefix + name)} is not a data set")


def _checked(dataset: h5py.Dataset) -> h5py.Dataset:
    """The data set, if it is plain numbers in this very file and of a bounded size."""
    name = one_line(dataset.name)
    if dataset.dtype.kind not in "biuf" or dataset.dtype.metadata or dataset.shape is None:
        raise _RefusedError(f"{name} does not hold plain numbers")
    if dataset.external or dataset.is_virtual:
        raise _RefusedError(f"{name} is stored in another file")
    layout = dataset.id.get_create_plist()
    if layout.get_nfilters():  # nobody knows how much a packed one takes
        raise _RefusedError(f"{name} is packed")
    # A piece may be longer than all that it is for.
    piece = prod(dataset.chunks or ()) * dataset.dtype.itemsize
    _check_size(f"{name} claims", max(dataset.nbytes, piece), dataset.file)
    return dataset


def _check_size(what: str, size: int, file: h5py.File) -> None:
    most = limit("MAX_HDF5_BYTES")
    if size > most:
        raise _RefusedError(f"{what} more than {most >> 20} MiB")
    if size > file.id.get_filesize():
        raise _RefusedError(f"{what} more than the whole file has")


def _read(dataset: h5py.Dataset) -> np.ndarray:
    values = np.asarray(_checked(dataset)[()])
    return values.astype(values.dtype.newbyteorder("="), copy=False)


# --- opening and closing ---------------------------------------------------------------------


@contextlib.contextmanager
def _writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise ModelError(f"{one_line(path)} cannot be written: {reason(error)}") from error


@contextlib.contextmanager
def _reading(path: str | os.PathLike[str], wanted: str | None) -> Iterator[h5py.File]:
    """The open file, known to be of the wanted format and version; every failure a ModelError."""
    shown = one_line(path)
    if not os.path.exists(path):
        raise ModelError(f"{shown}: there is no such file")
    try:
        with open(path, "rb") as plain:
            plain.read(1)
        if not h5py.is_hdf5(path):
            raise ModelError(f"{shown} is not an HDF5 file")
        # Nobody writes to a file that was renamed into place, and some disks cannot lock.
        with h5py.File(path, "r", locking=False) as file:
            _check_identity(file, shown, wanted)
            yield file
    except ModelError:
        raise
    except _RefusedError as error:
        raise ModelError(f"{shown} is damaged: {error}") from error
    except OSError as error:
        # Without a number it is not the system's, but h5py's on a file cut short.
        what = "is damaged" if error.errno is None else "cannot be read"
        raise ModelError(f"{shown} {what}: {reason(error)}") from error
    except Exception as error:  # what h5py raises on a damaged file is of many kinds
        raise ModelError(f"{shown} is damaged: {one_line(error)}") from error


def _check_identity(file: h5py.File, shown: str, wanted: str | None) -> None:
    try:
        form = _get_text(file, "format")
    except (_RefusedError, UnicodeDecodeError):
        form = ""
    if form not in _KINDS:
        raise ModelError(f"{shown} is an HDF5 file, but neither a model nor a decoder of aezip")
    if wanted not in (None, form):
        raise ModelError(f"{shown} is {_KINDS[form]}; needed is {_KINDS[str(wanted)]}")
    version = file.attrs.get("version")
    if version is None or np.shape(version) != () or np.asarray(version).dtype.kind not in "iu":
        raise _RefusedError("it has no version")
    if int(version) != VERSION:
        newer = ", written by a newer aezip" if version > VERSION else ""
        raise ModelError(
            f"{shown} is of format version {int(version)}{newer}; "
            f"this aezip reads version {VERSION}"
        )
