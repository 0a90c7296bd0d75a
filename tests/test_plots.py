from __future__ import annotations

import base64
import io
import json
import sys

import numpy as np
import pytest
from folders import DIGITS, digit_archive, digit_model, invoke, photo_model, photos, refused
from PIL import Image

import aezip
from aezip import fitting, images, stages
from aezip.metrics import psnr
from aezip.storage.hdf5 import read_model, write_model

pytest.importorskip("matplotlib", reason="needs the extra aezip[plot]")


def pictures(path) -> list[np.ndarray]:
    return [
        images.to_array(Image.open(io.BytesIO(base64.b64decode(stage["picture"]))))
        for stage in read_model(path)[0]["stages"]
    ]


def test_fit_keeps_pictures_of_several_stages():
    kept = read_model(photo_model())[0]["stages"]
    assert 3 <= len(kept) <= 8
    minutes = [stage["minutes"] for stage in kept]
    assert minutes == sorted(minutes) and len(set(minutes)) == len(minutes)
    names = images.find(photos()).names
    original = images.to_array(images.read(photos() / names[1]))
    for stage, picture in zip(kept, pictures(photo_model()), strict=True):
        assert psnr(original, picture) == pytest.approx(stage["psnr"], abs=0.01)
        assert 25 < stage["psnr"] < 60 and stage["bits_per_pixel"] > 0


def test_the_last_picture_is_what_an_archive_holds(tmp_path):
    for folder, model in ((photos(), photo_model()), (DIGITS, digit_model())):
        loaded, _ = fitting.load_model(model)
        names = images.find(folder).names
        shown = stages.sample([images.to_array(images.read(folder / x)) for x in names])
        taken = stages.take(loaded, shown, 0.0)
        assert taken["picture"] == read_model(model)[0]["stages"][-1]["picture"]
    aezip.compress(DIGITS, tmp_path / "x.csv", digit_model(), compare=False)
    archive = aezip.open(tmp_path / "x.csv")
    whole = np.repeat(pictures(digit_model())[-1][..., :1], 1, 2)
    assert whole.shape[:2] == (56, 112)
    assert np.array_equal(whole[:28, :28], images.to_array(archive[0]))
    assert np.array_equal(whole[28:, 84:], images.to_array(archive[39]))


def test_few_pictures_are_kept_of_many_trainings():
    many = [{"minutes": i} for i in range(20)]
    kept = stages.thinned(many)
    assert kept[0] == many[0] and kept[-1] == many[-1] and len(kept) == 5
    assert stages.thinned(many[:8]) == many[:8]


@pytest.mark.parametrize("model", [photo_model, digit_model])
def test_info_draws_the_training(tmp_path, model):
    done = invoke("info", model(), "--plot", "curve.png", cwd=tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.endswith("-> curve.png\n")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.format == "PNG" and image.height > 700
    data = json.loads(invoke("info", model(), "--plot", "x.png", "--json", cwd=tmp_path).stdout)
    assert data["kind"] == "model" and data["plot"] == "x.png"
    assert data["history"] == read_model(model())[0]["history"]


def test_a_model_without_pictures_has_its_curve(tmp_path):
    header, tensors = read_model(digit_model())
    del header["stages"]
    write_model(tmp_path / "x.h5", header, tensors)
    assert invoke("info", "x.h5", "--plot", "a.png", cwd=tmp_path).exit_code == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.height < 700


def test_what_cannot_be_drawn(tmp_path, monkeypatch):
    for name in (digit_archive(), digit_archive().with_suffix(".h5")):
        result = invoke("info", name, "--plot", "x.png", cwd=tmp_path)
        assert result.exit_code == 2 and "--plot draws the training of a model" in result.stderr
    refused(invoke("info", digit_model(), "--plot", "x.jpg", cwd=tmp_path), ".png")
    refused(invoke("info", digit_model(), "--plot", "none/x.png", cwd=tmp_path),
            "none/x.png cannot be written")  # fmt: skip
    header, tensors = read_model(digit_model())
    header["stages"][0]["picture"] = "AAAA"
    write_model(tmp_path / "x.h5", header, tensors)
    refused(invoke("info", "x.h5", "--plot", "x.png", cwd=tmp_path), "pictures are damaged")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(invoke("info", digit_model(), "--plot", "x.png", cwd=tmp_path), "aezip[plot]")
    assert list(tmp_path.glob("*.png")) == []
