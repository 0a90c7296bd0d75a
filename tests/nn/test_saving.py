from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from aezip.nn import (
    AvgPool2D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    Reshape,
    Sequential,
)


def model_of_everything():
    return Sequential(
        [
            Conv2D(4, (3, 2), 2, "same", "leaky_relu", input_shape=(8, 6, 2)),
            MaxPool2D((2, 1)),
            AvgPool2D(2, 1, "same"),
            Dropout(0.25),
            Flatten(),
            Dense(12, "tanh"),
            Reshape((2, 3, 2)),
            Conv2DTranspose(3, 3, (2, 1), activation="sigmoid"),
        ],
        seed=3,
    )


X = np.random.default_rng(0).normal(size=(5, 8, 6, 2)).astype(np.float32)


def test_a_loaded_model_is_the_saved_one(tmp_path):
    model = model_of_everything()
    model.save(tmp_path / "model.h5")
    loaded = Sequential.load(str(tmp_path / "model.h5"))
    assert loaded.layers == model.layers
    assert loaded.input_shape == model.input_shape
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    loaded.compile()
    loaded.fit(X, model.predict(X), verbose=False)  # it can be trained on
    assert [path.name for path in tmp_path.iterdir()] == ["model.h5"]


def test_a_model_is_saved_in_the_same_bytes(tmp_path):
    model_of_everything().save(tmp_path / "a")
    time.sleep(1.1)  # HDF5 would store the second in which it was made
    model_of_everything().save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_loaded_model_is_trained_on_from_its_seed(tmp_path):
    model_of_everything().save(tmp_path / "model.h5")

    def trained(seed):
        model = Sequential.load(tmp_path / "model.h5", seed=seed)
        model.compile()
        return model.fit(X, model.predict(X), batch_size=2, verbose=False)

    assert trained(1) == trained(1) != trained(2)


def test_a_symbolic_link_stays_one(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("model.h5")
    model_of_everything().save(link)
    assert link.is_symlink() and h5py.is_hdf5(tmp_path / "model.h5")


def test_a_shape_that_the_data_told_is_stored(tmp_path):
    model = Sequential([Dense(3)])
    model.predict(np.zeros((2, 4)))
    model.save(tmp_path / "model.h5")
    assert Sequential.load(tmp_path / "model.h5").input_shape == (4,)


def test_a_model_of_no_known_shape_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="input_shape"):
        Sequential([Dense(3)]).save(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


def test_a_layer_that_nobody_could_load_is_not_saved(tmp_path):
    class Own(Dense):
        pass

    with pytest.raises(ValueError, match="Own"):
        Sequential([Own(3, input_shape=(4,))]).save(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


def test_saving_replaces_and_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "model.h5"
    path.write_bytes(b"old")
    model = model_of_everything()
    for place in ((Path, "write_bytes"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(*place, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                model.save(path)
        assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
    model.save(path)
    assert Sequential.load(path).layers == model.layers


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model_of_everything().save(tmp_path / "nowhere" / "model.h5")
    with pytest.raises(FileNotFoundError):
        Sequential.load(tmp_path / "model.h5")


def seal(path):
    """Make the checksum right again, so that what else is wrong has to be seen."""
    with h5py.File(path, "r+") as file:
        digest = hashlib.sha256(file.attrs["architecture"].encode())
        for number in (0, 5, 7):
            for name in "wb":
                digest.update(file[f"parameters/{number}.{name}"][()].tobytes())
        file.attrs["checksum"] = digest.hexdigest()


def test_a_checksum_is_of_the_architecture_and_all_parameters(tmp_path):
    path = tmp_path / "model.h5"
    model_of_everything().save(path)
    before = path.read_bytes()
    seal(path)
    with h5py.File(path) as file:
        checksum = file.attrs["checksum"].encode()
    assert checksum in before


def change(path, number=0, **settings):
    """Replace settings of a layer in a stored architecture."""
    with h5py.File(path, "r+") as file:
        architecture = json.loads(file.attrs["architecture"])
        architecture["layers"][number].update(settings)
        file.attrs["architecture"] = json.dumps(architecture)
    seal(path)


def reshape(path, shape):
    with h5py.File(path, "r+") as file:
        architecture = json.loads(file.attrs["architecture"])
        architecture["input_shape"] = shape
        file.attrs["architecture"] = json.dumps(architecture)
    seal(path)


def replace_first(path, shape, dtype, data=None):
    with h5py.File(path, "r+") as file:
        del file["parameters/0.w"]
        file.create_dataset("parameters/0.w", shape, dtype, data)


def put(path, name, value):
    with h5py.File(path, "r+") as file:
        if value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value


def remove(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]


def lead_away(path, name):
    """Replace a part by an external link to the same part of a sound file."""
    sound = path.with_name("sound.h5")
    sound.write_bytes(path.read_bytes())
    remove(path, name)
    with h5py.File(path, "r+") as file:
        file[name] = h5py.ExternalLink(str(sound), name)


def put_outside(path, virtual):
    """Have the first weights lie in another file, as HDF5 can."""
    with h5py.File(path, "r+") as file:
        data = file["parameters/0.w"][()]
        del file["parameters/0.w"]
        if virtual:
            with h5py.File(path.with_name("outside.h5"), "w") as outside:
                outside["w"] = data
            layout = h5py.VirtualLayout(data.shape, "f4")
            layout[...] = h5py.VirtualSource(path.with_name("outside.h5"), "w", data.shape)
            file.create_virtual_dataset("parameters/0.w", layout)
        else:
            raw = path.with_name("outside.raw")
            raw.write_bytes(data.tobytes())
            file.create_dataset(
                "parameters/0.w", data.shape, "f4", external=[(str(raw), 0, data.nbytes)]
            )


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    values = model_of_everything().get_weights()[0].tobytes()
    data[data.index(values) + 5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"not HDF5"), "not an HDF5 file"),
        (lambda path: path.write_bytes(b""), "not an HDF5 file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "is not a stored network"),
        (lambda path: put(path, "format", "another"), "no network"),
        (lambda path: put(path, "version", 2), "version 2"),
        (lambda path: put(path, "architecture", "{"), "is not a stored network"),
        (lambda path: put(path, "architecture", "[1, 2]"), "is not a stored network"),
        (lambda path: put(path, "architecture", 3), "is not a stored network"),
        (lambda path: put(path, "checksum", "0" * 64), "checksum"),
        (lambda path: put(path, "checksum", None), "checksum"),
        (flip_a_bit, "checksum"),
        (lambda path: remove(path, "parameters/0.w"), "0.w"),
        (lambda path: remove(path, "parameters"), "parameters"),
        (lambda path: lead_away(path, "parameters/0.w"), "no 0.w of its own"),
        (lambda path: lead_away(path, "parameters"), "no parameters of its own"),
        (lambda path: put_outside(path, virtual=True), "in another file"),
        (lambda path: put_outside(path, virtual=False), "in another file"),
        (lambda path: change(path, layer="Sequential"), "Sequential"),
        (lambda path: change(path, filters=5), r"0\.w"),
        (lambda path: change(path, filters=10**12), r"0\.w"),
        (lambda path: change(path, activation="__import__"), "__import__"),
        (lambda path: change(path, more=1), "more"),
        (lambda path: change(path, input_shape=[10**10]), r"\(10000000000,\).*\(8, 6, 2\)"),
        (lambda path: change(path, input_shape=[8, 6, 3]), r"\(8, 6, 3\).*\(8, 6, 2\)"),
        (lambda path: change(path, input_shape="abc"), "'abc'"),
        (lambda path: change(path, input_shape=5), "5"),
        (lambda path: change(path, 5, input_shape=[3]), r"\(3,\).*\(24,\)"),
        (lambda path: reshape(path, [8, 6, 0]), r"\(8, 6, 0\)"),
        (lambda path: reshape(path, [8, 6, 2.0]), r"\(8, 6, 2.0\)"),
        (lambda path: reshape(path, [8, 6, True]), r"\(8, 6, True\)"),
        (lambda path: reshape(path, "862"), "'862'"),
        (lambda path: reshape(path, None), "None"),
        (lambda path: replace_first(path, (3, 2, 2, 4), "f8", np.ones((3, 2, 2, 4))), "float32"),
        # Of the shape, but never written.
        (lambda path: replace_first(path, (3, 2, 2, 4), "f4"), "not all there"),
        (lambda path: replace_first(path, (3, 2, 2, 5), "f4", np.ones(60)), r"\(3, 2, 2, 4\)"),
    ],
)
def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path, damage, said):
    path = tmp_path / "model.h5"
    model_of_everything().save(path)
    damage(path)
    with pytest.raises(ValueError, match=said) as error:
        Sequential.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
