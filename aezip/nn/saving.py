"""Models as HDF5 files: the architecture as JSON text, each parameter as a data set.

    attributes   format "aezip-network", version 1, architecture (JSON: input_shape, layers),
                 checksum (SHA-256 of the architecture and then all parameters, in hexadecimal)
    parameters/0.w, parameters/0.b, ...   float32, by the number of the layer and the name

Nothing is unpickled, no size that a file claims is believed before it is checked, and no other
file is opened that it may lead to.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aezip.nn.modules import LAYERS, Layer, Parameters, Shape, as_shape, shapes_through

_FORMAT = "aezip-network"
_VERSION = 1


def write(
    path: str | os.PathLike[str],
    input_shape: Shape,
    layers: Sequence[Layer],
    parameters: Sequence[Parameters],
) -> None:
    """Write a model; the file appears whole or not at all.

    parameters: of each layer, arrays of NumPy by name. Raises OSError where it cannot be written,
    ValueError for a layer that `read` would not know.
    """
    for layer in layers:
        if type(layer) not in LAYERS.values():
            raise ValueError(f"a layer of class {type(layer).__name__} cannot be stored")
    settings = [{"layer": type(x).__name__, **asdict(x)} for x in layers]
    architecture = json.dumps({"input_shape": input_shape, "layers": settings})
    # Built in memory: what h5py raises for a place that cannot be written to is several lines long.
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver="v108") as file:
        file.attrs["format"], file.attrs["version"] = _FORMAT, _VERSION
        file.attrs["architecture"] = architecture
        file.attrs["checksum"] = _checksum(architecture, parameters)
        group = file.create_group("parameters")
        for number, named in enumerate(parameters):
            for name, values in named.items():
                group.create_dataset(f"{number}.{name}", data=values, track_times=False)
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(memory.getbuffer())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def read(
    path: str | os.PathLike[str],
) -> tuple[Shape, list[Layer], list[Parameters]]:
    """(shape of an input, layers, parameters of each) of a model that `write` wrote.

    Raises ValueError for a file that is none or is damaged, OSError where it cannot be read.
    """
    with open(path, "rb") as plain:  # for the system's own error where it is missing
        plain.read(1)
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise ValueError("it holds no network")
            if file.attrs["version"] != _VERSION:
                raise ValueError(f"its format has version {file.attrs['version']}, not {_VERSION}")
            architecture = json.loads(file.attrs["architecture"])
            layers = [_layer(settings) for settings in architecture["layers"]]
            input_shape = as_shape(architecture["input_shape"])
            parameters = _parameters(file, input_shape, layers)
            if file.attrs["checksum"] != _checksum(file.attrs["architecture"], parameters):
                raise ValueError("it is damaged: its checksum is another")
            return input_shape, layers, parameters
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a stored network: {error}") from error


def _layer(settings: dict[str, Any]) -> Layer:
    return LAYERS[settings.pop("layer")](**settings)


def _checksum(architecture: str, parameters: Sequence[Parameters]) -> str:
    digest = hashlib.sha256(architecture.encode())
    for named in parameters:
        for values in named.values():
            digest.update(values.astype("<f4").tobytes())
    return digest.hexdigest()


def _child(group: h5py.Group, name: str) -> Any:
    """What a hard link leads to; another link may lead out of the file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"it has no {name} of its own")
    return group[name]


def _parameters(file: h5py.File, shape: Shape, layers: Sequence[Layer]) -> list[Parameters]:
    group = _child(file, "parameters")
    result: list[Parameters] = []
    for number, (layer, before) in enumerate(
        zip(layers, shapes_through(layers, shape), strict=False)
    ):
        named: dict[str, np.ndarray] = {}
        for name, wanted in layer.parameter_shapes(before).items():
            data = _child(group, f"{number}.{name}")
            if data.external or data.is_virtual:
                raise ValueError(f"parameters {number}.{name} are in another file")
            if data.shape != wanted or data.dtype != np.float32:
                raise ValueError(f"parameters {number}.{name} are not float32 of shape {wanted}")
            if data.id.get_storage_size() < 4 * math.prod(wanted):
                raise ValueError(f"parameters {number}.{name} are not all there")
            named[name] = data[()]
        result.append(named)
    return result
