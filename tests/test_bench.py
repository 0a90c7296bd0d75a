from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
from folders import (
    DIGITS,
    copied,
    digit_archive,
    digit_model,
    files,
    invoke,
    photo_model,
    photos,
    refused,
)
from PIL import Image

import aezip
from aezip import bench, images, metrics, peers, plots

pytest.importorskip("matplotlib", reason="needs the extra aezip[plot]")
QUALITIES = {"pyramid": (30, 60), "dense": (40, 50)}
PEERS = {"JPEG": (20, 90), "WebP": (1, 85), "AVIF": (20, 60), "JPEG XL": (20, 80)}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bench, "QUALITIES", QUALITIES)
    monkeypatch.setattr(bench, "PEER_QUALITIES", PEERS)


def test_every_figure_is_that_of_a_file(tmp_path, quick):
    result = bench.bench(photos(), photo_model(), keep=tmp_path)
    names = images.find(photos()).names
    originals = [images.read(photos() / name) for name in names]
    assert (result.images, result.measured, result.failed) == (3, 3, [])
    assert result.pixels == sum(x.width * x.height for x in originals)
    default = aezip.fitting.load_model(photo_model())[0].config["quality"]
    assert [x.quality for x in result.curves["aezip"]] == sorted({30, 60, default})
    assert result.default.quality == default
    for quality, size, db, each in result.curves["aezip"]:
        files = [tmp_path / f"q{quality}{end}" for end in (".csv", ".h5")]
        assert size == sum(map(os.path.getsize, files))
        found = [
            metrics.psnr(images.to_array(a), images.to_array(b))
            for a, b in zip(originals, aezip.open(files[0]), strict=True)
        ]
        assert db == pytest.approx(np.mean(found))
        assert [x[1] for x in each] == pytest.approx(found)
        assert sum(x[0] for x in each) == pytest.approx(size)
    for name in ("JPEG", "WebP"):
        for quality, size, db, each in result.curves[name]:
            found = [peers.measure(peers.PEERS[name], x, quality) for x in originals]
            assert size == sum(x[0] for x in found)
            assert db == pytest.approx(np.mean([x[1] for x in found]))
            assert list(each) == found
    for name in {"AVIF", "JPEG XL"}:
        assert (name in result.curves) == peers.is_available(name) != (name in result.missing)


def test_a_sample_is_extrapolated_but_for_the_decoder(tmp_path, quick):
    result = bench.bench(DIGITS, digit_model(), most=10, keep=tmp_path)
    assert (result.images, result.measured, result.pixels) == (40, 10, 40 * 784)
    names = aezip.open(tmp_path / "q50.csv").names
    assert names[0] == "0000.png" and names[-1] == "0039.png" and len(names) == 10
    point = result.curves["aezip"][-1]
    csv, decoder = (os.path.getsize(tmp_path / x) for x in ("q50.csv", "q50.h5"))
    assert point.size == 4 * csv + decoder
    few = bench.bench(DIGITS, digit_model(), most_pixels=5 * 784, keep=tmp_path)
    assert few.measured == 5


def test_what_curves_say_at_one_psnr():
    point = bench.Point
    curves = {
        "aezip": [point(1, 100, 30.0), point(2, 200, 34.0), point(3, 400, 38.0)],
        "WebP": [point(1, 150, 30.0), point(2, 300, 34.0), point(3, 600, 38.0)],
        "AVIF": [point(1, 10, 20.0), point(2, 20, 25.0)],
    }
    result = bench.Bench(3, 1000, 3, curves["aezip"][1], curves)
    assert result.levels() == [32.0, 34.0, 36.0]
    assert result.size_at("WebP", 34.0) == pytest.approx(300)
    assert result.size_at("aezip", 32.0) == pytest.approx(100 * 2**0.5, rel=0.01)
    assert result.size_at("WebP", 39.0) is None
    average, low, high = result.bd_rate("WebP")
    assert (average, low, high) == (pytest.approx(-100 / 3, abs=0.01), 30.0, 38.0)
    assert result.bd_rate("AVIF") is None
    lines = bench.table(result, result.levels()).splitlines()
    assert lines[2].split() == ["WebP", "212", "-33", "%", "300", "-33", "%", "424", "-33", "%",
                                "-33.3", "%"]  # fmt: skip
    assert lines[3].split() == ["AVIF", "-", "-", "-"]
    assert len({line.rindex("%") for line in lines if "%" in line}) == 1  # in columns
    for quality in (0, 2):  # the coarsest or the finest
        result.default = curves["aezip"][quality]
        assert len(set(result.levels())) == len(result.levels()) == 2
        assert result.default.psnr in result.levels()


def test_columns_stay_apart_whatever_is_in_them():
    point = bench.Point
    curves = {
        "aezip": [point(1, 3e12, 30.0), point(2, 5e12, 34.0), point(3, 6e12, 38.0)],
        "A codec of a long name": [point(1, 10, 30.0), point(2, 300, 34.0), point(3, 600, 38.0)],
    }
    result = bench.Bench(3, 1000, 3, curves["aezip"][1], curves)
    title, own, other = bench.table(result, result.levels()).splitlines()
    assert len(re.split(r" {2,}", title.strip())) == 5
    assert len(re.split(r" {2,}", own)) == 4 and len(re.split(r" {2,}", other)) == 8


def test_progress_names_what_is_being_done(quick, monkeypatch):
    said, working = [], []
    own, measure = bench._own_point, peers.measure
    monkeypatch.setattr(
        bench, "_own_point", lambda *x: [working.append((said[-1][0], "aezip")), own(*x)][1]
    )

    def measured(peer, image, quality):
        working.append((said[-1][0], next(k for k, v in known.items() if v is peer)))
        return measure(peer, image, quality)

    known = peers.PEERS | peers.SLOW_PEERS
    monkeypatch.setattr(peers, "measure", measured)
    result = bench.bench(photos(), photo_model(), progress=lambda *step: said.append(step))
    assert all(a == b for a, b in working) and {b for _, b in working} == set(result.curves)
    total = sum(map(len, result.curves.values()))
    assert [x[1:] for x in said] == [(i, total) for i in range(total)]


def test_the_command(tmp_path, quick):
    done = invoke("bench", photos(), "--model", photo_model(), cwd=tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    title, *_ = done.stdout.splitlines()
    assert title.startswith("bytes of 3 images at equal mean PSNR")
    with open(tmp_path / "bench.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    result = bench.bench(photos(), photo_model())
    assert len(rows) == sum(map(len, result.curves.values()))
    for row in rows:
        points = result.curves[row["codec"]]
        (point,) = (x for x in points if x.quality == int(row["quality"]))
        assert int(row["bytes"]) == point.size
        bpp = 8 * point.size / result.pixels
        assert float(row["bits per pixel"]) == pytest.approx(bpp, abs=1e-4)
        assert float(row["PSNR"]) == pytest.approx(point.psnr, abs=1e-3)
    with Image.open(tmp_path / "bench.png") as image:
        assert image.format == "PNG" and image.width > 600
        shown = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
    drawn = (plots.OWN, *plots._OTHERS)[: len(result.curves)]
    assert shown >= {tuple(bytes.fromhex(colour[1:])) for colour in drawn}


def test_the_command_for_scripts(tmp_path, quick):
    done = invoke("bench", DIGITS, "--model", digit_model(), "--images", 4, "--json",
                  "--csv", "a.csv", "--plot", "b.png", cwd=tmp_path)  # fmt: skip
    data = json.loads(done.stdout)
    assert (data["images"], data["measured"], data["csv"]) == (40, 4, "a.csv")
    assert data["aezip_against_percent"].keys() <= data["curves"].keys()
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "b.png"]


def test_what_cannot_be_compared(tmp_path, quick, monkeypatch):
    refused(invoke("bench", photos(), cwd=tmp_path), "there is no such model; run aezip fit")
    refused(invoke("bench", "none", cwd=tmp_path), "none: there is no such folder")
    refused(invoke("bench", photos(), "--model", photo_model(), "--plot", "x.jpg", cwd=tmp_path),
            "x.jpg: plots are written as .png")  # fmt: skip
    said = refused(invoke("bench", photos(), "--model", photo_model(), "--csv", "none/x.csv",
                          cwd=tmp_path), "none/x.csv cannot be written")  # fmt: skip
    assert "no such file or directory" in said
    assert invoke("bench", photos(), "--images", 0, cwd=tmp_path).exit_code == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(invoke("bench", photos(), cwd=tmp_path), "pip install 'aezip[plot]'")


def test_image_by_image_nothing_is_gained_by_spending_it_elsewhere():
    """Two images, of which one takes a tenth of the bytes per dB: the same curves for both codecs,
    but one is better at the one, worse at the other, for fewer bytes in all."""

    def curve(shifts: tuple[float, float]) -> list[bench.Point]:
        points = []
        for q in range(5):
            each = tuple(
                (scale * 1.2 ** (3 * q + shift), 30.0 + 3 * q + shift)
                for scale, shift in zip((100, 1000), shifts, strict=True)
            )
            mean = sum(x[1] for x in each) / 2
            points.append(bench.Point(q, sum(x[0] for x in each), mean, each))
        return points

    curves = {"aezip": curve((1, -1)), "WebP": curve((0, 0))}
    result = bench.Bench(2, 1, 2, curves["aezip"][2], curves)
    assert result.bd_rate("WebP")[0] < -10
    assert result.bd_rate_by_image("WebP") == pytest.approx(0, abs=0.01)
    *_, row = bench.table(result, [36.0]).splitlines()
    assert re.search(r"WebP .* -1\d\.\d % +[+-]0\.0 %$", row)


@pytest.fixture
def no_work(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("it began to measure")

    monkeypatch.setattr(bench, "bench", fail)


def test_a_csv_is_only_replaced_by_another_of_its_kind(tmp_path, no_work):
    csv = copied(digit_archive(), tmp_path)
    before = files(tmp_path)
    for name in ("out.csv", "none/x.csv", "link.csv"):
        if name == "link.csv":
            (tmp_path / name).symlink_to(csv)
            before = files(tmp_path)
        refused(invoke("bench", DIGITS, "--csv", name, cwd=tmp_path), name)
    assert files(tmp_path) == before
    result = bench.Bench(1, 1, 1, bench.Point(1, 1, 1), {"aezip": [bench.Point(1, 1, 1)]})
    for _ in range(2):  # its own, it may
        result.write_csv(tmp_path / "bench.csv")
    with pytest.raises(aezip.ArchiveError, match="is no table of aezip bench"):
        result.write_csv(csv)


def test_a_plot_never_lies_among_the_images(tmp_path, no_work):
    folder = shutil.copytree(photos(), tmp_path / "photos")
    (tmp_path / "link").symlink_to(folder)
    before = files(folder)
    for given, plot in (("photos", "photos/lake.png"), ("photos", "link/animals/dogs.png"),
                        ("link", "photos/new.png"), (".", "bench.png")):  # fmt: skip
        refused(invoke("bench", given, "--plot", plot, cwd=tmp_path), plot, "among the images")
    assert files(folder) == before


def test_a_folder_without_a_name_gives_the_plot_its_title(tmp_path, quick, monkeypatch):
    folder = shutil.copytree(photos(), tmp_path / "photos")
    titles = []
    monkeypatch.setattr(plots, "rate_distortion", lambda *_, title: titles.append(title))
    arguments = ("--model", photo_model(), "--csv", "../x.csv", "--plot", "../x.png")
    assert invoke("bench", ".", *arguments, cwd=folder).exit_code == 0
    assert titles == ["photos, 3 images"]


def test_a_broken_image_is_named_and_left_out(tmp_path, quick):
    folder = shutil.copytree(photos(), tmp_path / "photos")
    (folder / "broken.png").write_bytes(b"no image")
    result = bench.bench(folder, photo_model())
    assert (result.images, result.measured) == (3, 3)
    assert [name for name, _ in result.failed] == ["broken.png"]
