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
from aezip import fitting, images, plots, stages
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


def figure_of(monkeypatch, draw):
    """What is saved, as matplotlib has it, after it was drawn."""
    figures, save = [], plots._save
    monkeypatch.setattr(plots, "_save", lambda figure, path: [figures.append(figure),
                                                               save(figure, path)])  # fmt: skip
    draw()
    return figures[0]


def coloured(path, colour: str) -> int:
    """How many pixels of a picture have a colour, written #rrggbb."""
    with Image.open(path) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    return int((np.abs(shown - np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])) < 3)
               .all(axis=2).sum())  # fmt: skip


@pytest.mark.parametrize("model", [photo_model, digit_model])
def test_the_curves_and_pictures_of_a_training_are_in_view(tmp_path, monkeypatch, model):
    header, path = fitting.load_model(model())[1], tmp_path / "x.png"
    figure = figure_of(monkeypatch, lambda: plots.training(header, path, title="a model"))
    rate, *places, quality = figure.axes
    minutes, bpp, db = np.array(header["history"]).T
    for axes, values, colour in ((rate, bpp, plots.OWN), (quality, db, plots._OTHERS[0])):
        line = axes.lines[0]
        assert np.array_equal(line.get_xdata(), minutes)
        assert np.array_equal(line.get_ydata(), values)
        low, high = axes.get_ylim()
        assert low < values.min() and values.max() < high
        assert coloured(path, colour) > 500
    with Image.open(path) as image:
        page = np.asarray(image.convert("RGB"))
    for place, picture in zip(places, pictures(model()), strict=True):
        assert np.array_equal(place.images[0].get_array(), np.broadcast_to(picture, (
            *picture.shape[:2], 3)))  # fmt: skip
        box = place.images[0].get_window_extent()
        scale = 130 / figure.dpi
        left, right = (round(x * scale) for x in (box.x0, box.x1))
        top, bottom = (round(len(page) - y * scale) for y in (box.y1, box.y0))
        shown = page[top + 2 : bottom - 2, left + 2 : right - 2].reshape(-1, 3).mean(0)
        assert np.abs(shown - picture.mean((0, 1))).max() < 6


def test_curves_are_in_view_and_the_legend_beside_them(tmp_path, monkeypatch):
    curves = {
        "aezip": [(0.2, 30.0), (0.5, 34.0), (1.0, 38.0)],
        "WebP": [(0.3, 29.0), (1.4, 29.5), (1.5, 38.0)],  # through the lower right corner
    }
    path = tmp_path / "x.png"
    figure = figure_of(monkeypatch, lambda: plots.rate_distortion(curves, path, title="x"))
    (axes,) = figure.axes
    assert axes.get_title() == "x"
    for line, (points, colour) in zip(
        axes.lines, zip(curves.values(), (plots.OWN, plots._OTHERS[0]), strict=True), strict=True
    ):
        assert list(zip(*line.get_data(), strict=True)) == points
        assert coloured(path, colour) > 1000
    legend = axes.get_legend()
    box = legend.get_window_extent()
    for line in axes.lines:
        for x, y in line.get_transform().transform(line.get_xydata()):
            assert not (box.x0 < x < box.x1 and box.y0 < y < box.y1)


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
    header, tensors = read_model(digit_model())
    stage = header["stages"][0]
    for wrong in (
        {"history": [[0, 1]]}, {"history": "abc"}, {"history": [[0, 1, "db"]]},
        {"history": [[0, 1, 10**400]]}, {"history": [[0, 1, True, 2]]},
        {"stages": "abc"}, {"stages": [stage, 1]}, {"stages": [{**stage, "psnr": "high"}]},
        {"stages": [{k: v for k, v in stage.items() if k != "minutes"}]},
        {"stages": [{**stage, "picture": None}]}, {"images": "many"}, {"progress": None},
    ):  # fmt: skip
        write_model(tmp_path / "x.h5", {**header, **wrong}, tensors)
        for more in ([], ["--plot", "x.png"]):
            refused(invoke("info", "x.h5", *more, cwd=tmp_path), "x.h5 is damaged")
    write_model(tmp_path / "x.h5", {**header, "history": []}, tensors)  # ended too early
    assert invoke("info", "x.h5", cwd=tmp_path).exit_code == 0
    refused(invoke("info", "x.h5", "--plot", "x.png", cwd=tmp_path), "before anything was measured")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(invoke("info", digit_model(), "--plot", "x.png", cwd=tmp_path), "aezip[plot]")
    assert list(tmp_path.glob("*.png")) == []
