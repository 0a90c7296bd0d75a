from __future__ import annotations

import json

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
    monkeypatch.setattr(json, "dumps", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.save(path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    model.save(path)
    assert Sequential.load(path).layers == model.layers


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model_of_everything().save(tmp_path / "nowhere" / "model.h5")
    with pytest.raises(FileNotFoundError):
        Sequential.load(tmp_path / "model.h5")


def change(path, **settings):
    """Replace settings of the first layer in a stored architecture."""
    with h5py.File(path, "r+") as file:
        architecture = json.loads(file.attrs["architecture"])
        architecture["layers"][0].update(settings)
        file.attrs["architecture"] = json.dumps(architecture)


def replace_first(path, shape, dtype, data=None):
    with h5py.File(path, "r+") as file:
        del file["parameters/0.w"]
        file.create_dataset("parameters/0.w", shape, dtype, data)


def put(path, name, value):
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


def remove(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"not HDF5"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-2000]),
        lambda path: put(path, "format", "another"),
        lambda path: put(path, "version", 2),
        lambda path: put(path, "architecture", "{"),
        lambda path: put(path, "architecture", "[1, 2]"),
        lambda path: put(path, "architecture", 3),
        lambda path: remove(path, "parameters/0.w"),
        lambda path: remove(path, "parameters"),
        lambda path: change(path, layer="Sequential"),
        lambda path: change(path, filters=5),
        lambda path: change(path, filters=10**12),
        lambda path: change(path, activation="__import__"),
        lambda path: change(path, more=1),
        lambda path: replace_first(path, (3, 2, 2, 4), "f8", np.ones((3, 2, 2, 4))),
        lambda path: replace_first(path, (3, 2, 2, 4), "f4"),  # of the shape, but never written
        lambda path: replace_first(path, (3, 2, 2, 5), "f4", np.ones((3, 2, 2, 5))),
    ],
)
def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "model.h5"
    model_of_everything().save(path)
    damage(path)
    with pytest.raises(ValueError) as error:
        Sequential.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
