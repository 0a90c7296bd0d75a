import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from folders import DIGITS, STEPS, digit_model, invoke, photo_model, photos, refused, run, start
from PIL import Image
from samples import digits

import aezip
from aezip import fitting, images
from aezip.autoencoders import Pyramid
from aezip.errors import AezipError, ImageError, ModelError
from aezip.fitting import load_model
from aezip.storage.hdf5 import read_model, write_model


def everything(folder):
    return [images.to_array(images.read(folder / name)) for name in images.find(folder).names]


def loss(model, folder):
    """What is minimised: of all images, the decoder's bits among them, per pixel."""
    images, autoencoder = everything(folder), load_model(model)[0].frozen()
    bits = 8 * len(autoencoder.pack())
    return autoencoder.evaluate(images).value + bits / sum(x.shape[0] * x.shape[1] for x in images)


# --- fit as a command ---------------------------------------------------------------------------


def test_the_model_goes_below_models_by_the_folders_name_and_can_be_made_again(tmp_path):
    shutil.copytree(photos(), tmp_path / "my photos")
    (tmp_path / "my photos" / "notes.txt").write_text("no image")
    done = run("fit", "my photos", "--steps", STEPS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pyramid model of 3 images" in done.stdout and "models/my photos.h5" in done.stdout
    assert "skipped 1 file that" in done.stdout
    assert os.listdir(tmp_path / "models") == ["my photos.h5"]
    header, tensors = read_model(tmp_path / "models" / "my photos.h5")
    again, same = read_model(photo_model())
    assert header["decoder"] == again["decoder"]
    assert tensors.keys() == same.keys()
    assert all(np.array_equal(tensors[k], same[k]) for k in same)


def test_dense_on_request_learns(tmp_path):
    shutil.copytree(DIGITS, tmp_path / "digits")
    result = invoke("fit", "digits/", "--arch", "dense", "--steps", 200, cwd=tmp_path)
    assert result.exit_code == 0 and "dense model of 40 images" in result.stdout
    assert loss(tmp_path / "models" / "digits.h5", DIGITS) == loss(digit_model(), DIGITS)
    invoke("fit", "digits", "--arch", "dense", "--steps", 0, "--model", "0.h5", cwd=tmp_path)
    assert loss(tmp_path / "0.h5", DIGITS) > 1.05 * loss(digit_model(), DIGITS)


def test_another_seed_gives_another_model(tmp_path):
    options = ["--arch", "dense", "--steps", 10]
    for seed in (0, 1):
        invoke("fit", DIGITS, *options, "--seed", seed, "--model", f"{seed}.h5", cwd=tmp_path)
    ids = [read_model(tmp_path / f"{seed}.h5")[0] for seed in (0, 1)]
    assert [x["seed"] for x in ids] == [0, 1]
    assert ids[0]["decoder"] != ids[1]["decoder"]


@pytest.mark.parametrize("arch", ["pyramid", "dense"])
def test_running_again_goes_on(tmp_path, arch):
    folder, model = {"pyramid": (photos(), photo_model), "dense": (DIGITS, digit_model)}[arch]
    path = shutil.copy(model(), tmp_path / "m.h5")
    before, history = loss(path, folder), read_model(path)[0]["history"]
    result = invoke("fit", folder, "--model", path, "--steps", 3, cwd=tmp_path)
    assert result.exit_code == 0
    later = read_model(path)[0]["history"]
    assert later[: len(history)] == history and len(later) > len(history)
    assert later[-1][0] >= history[-1][0]
    assert loss(path, folder) <= 1.006 * before  # the grids are chosen anew


def test_no_steps_keep_the_closed_form(tmp_path):
    steps = []
    aezip.fit(DIGITS, tmp_path / "m.h5", arch="dense", steps=0, progress=lambda p: steps.append(p))
    assert steps == []
    assert load_model(tmp_path / "m.h5")[1]["progress"] == 1


@pytest.mark.parametrize("arch", ["pyramid", "dense"])
def test_processes_change_nothing_but_the_time(tmp_path, arch):
    folder = {"pyramid": photos(), "dense": DIGITS}[arch]
    for jobs in (1, 2):
        aezip.fit(folder, tmp_path / f"{jobs}.h5", arch=arch, steps=3, jobs=jobs)
    one, two = (read_model(tmp_path / f"{jobs}.h5") for jobs in (1, 2))
    assert one[0]["decoder"] == two[0]["decoder"]
    assert all(np.array_equal(one[1][k], two[1][k]) for k in one[1])


def test_parameters_pay_for_their_bits(tmp_path, monkeypatch):
    """On a small collection they cost the most; without their part in the gradient, more."""
    options = {"arch": "dense", "steps": 60}
    paying = aezip.fit(DIGITS, tmp_path / "paying.h5", **options).autoencoder
    monkeypatch.setattr(fitting, "bits_slope", lambda tensor, grid: np.zeros_like(tensor))
    free = aezip.fit(DIGITS, tmp_path / "free.h5", **options).autoencoder
    assert len(paying.pack()) < 0.97 * len(free.pack())


def test_with_a_budget_the_decoder_may_take_more(tmp_path, monkeypatch):
    """What images take being settled, training could save on nothing else."""
    options = {"budget": 12, "steps": 60}
    roomy = aezip.fit(DIGITS, tmp_path / "roomy.h5", **options).autoencoder
    monkeypatch.setattr(type(roomy), "decoder_weight", 1.0)
    tight = aezip.fit(DIGITS, tmp_path / "tight.h5", **options).autoencoder
    assert len(roomy.pack()) > 1.2 * len(tight.pack())


def test_dense_fits_images_larger_than_what_is_shown_of_a_photograph(tmp_path):
    """They can only be coded whole."""
    for number in range(3):
        shade = np.linspace(0, 200, 200 * 210).reshape(200, 210) + 20 * number
        Image.fromarray(shade.astype(np.uint8)).save(tmp_path / f"{number}.png")
    fitted = aezip.fit(tmp_path, tmp_path / "m.h5", arch="dense", steps=1)
    assert fitted.images == 3


def test_what_is_fitted_for_a_budget_has_no_other_quality(tmp_path):
    aezip.fit(DIGITS, tmp_path / "m.h5", budget=8, steps=1)
    for asked in ({"quality": 60}, {"min_psnr": 20}):
        with pytest.raises(ModelError, match="fitted for 8 bytes an image, and cannot"):
            aezip.compress(DIGITS, tmp_path / "out.csv", tmp_path / "m.h5", **asked)
    assert not (tmp_path / "out.csv").exists()
    result = invoke("compress", DIGITS, "out.csv", "--model", "m.h5", cwd=tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "aezip archive, 8 bytes " in result.stdout + result.stderr
    with pytest.raises(ModelError, match="is for 8 bytes an image, not for a quality"):
        aezip.add(tmp_path / "out.csv", DIGITS, quality=60, model=tmp_path / "m.h5")
    assert aezip.add(tmp_path / "out.csv", DIGITS, model=tmp_path / "m.h5").budget == 8


def test_a_look_is_at_the_parameters_of_now():
    """Training changes them in place; what a model once derived from them is of before."""
    pixels = [np.asarray(Image.open(photos() / "lake.png").convert("RGB"))[:64, :96]]
    pyramid = Pyramid.start(pixels, 75, np.random.default_rng(0))
    run = fitting._Run(pyramid, pixels, np.random.default_rng(0), 0.5, [], [])
    first = run._look()
    pyramid.parameters["context.b3"][[1, 5]] += 3
    now = {k: v.copy() for k, v in pyramid.parameters.items()}
    assert run._look() == Pyramid(pyramid.config, now).evaluate(pixels) != first


def test_training_ends_on_rounded_parameters(tmp_path, monkeypatch):
    real, seen = fitting._Run._advance, []

    def watched(self, gradients_of):
        def noting(used, progress, rngs):
            a = self.autoencoder
            frozen = a.frozen().parameters
            rounded = [np.array_equal(used.parameters[k], frozen[k]) for k in frozen]
            exact = [np.array_equal(used.parameters[k], a.parameters[k]) for k in frozen]
            assert bool(used.grids) == all(rounded)  # what tells that they are rounded
            seen.append((progress, all(rounded), all(exact)))
            return gradients_of(used, progress, rngs)

        real(self, noting)

    monkeypatch.setattr(fitting._Run, "_advance", watched)
    aezip.fit(DIGITS, tmp_path / "m.h5", arch="dense", steps=20)
    late = [progress >= fitting._ROUND_FROM for progress, _, _ in seen]
    assert len(late) == 20 and 2 <= sum(late) <= 4
    assert [rounded for _, rounded, _ in seen] == late
    assert [exact for _, _, exact in seen] == [not x for x in late]


def test_a_process_that_dies_ends_the_training(tmp_path, monkeypatch):
    real = fitting._Run._advance

    def killing(self, gradients):
        real(self, gradients)
        for process in multiprocessing.active_children():
            process.kill()

    monkeypatch.setattr(fitting._Run, "_advance", killing)
    with pytest.raises(AezipError, match="ended from outside"):
        aezip.fit(DIGITS, tmp_path / "m.h5", arch="dense", steps=3, jobs=2)
    load_model(tmp_path / "m.h5")


def test_minutes_limit_the_training(tmp_path):
    began = time.monotonic()
    options = ["--arch", "dense", "--minutes", 0.01, "--model", "m.h5"]
    result = invoke("fit", DIGITS, *options, cwd=tmp_path)
    assert result.exit_code == 0 and time.monotonic() - began < 15


def test_progress_tells_where_it_is(tmp_path):
    told = []
    aezip.fit(DIGITS, tmp_path / "m.h5", arch="dense", steps=5, progress=told.append)
    assert [x.step for x in told] == [1, 2, 3, 4, 5]
    assert [x.fraction for x in told] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert all(x.psnr > 10 and x.bits_per_pixel > 0 and x.seconds_left >= 0 for x in told)


# --- Ctrl-C -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="signals as of a terminal")
@pytest.mark.parametrize("seconds", [0.0, 1.5])
def test_an_interrupted_training_can_be_gone_on_with(tmp_path, seconds):
    model = tmp_path / "m.h5"
    process = start("fit", photos(), "--model", model, "--minutes", 30, cwd=tmp_path)
    try:
        while not model.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)  # at once: nothing has been measured yet
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert "interrupted; run the same command again to go on" in out
    assert [x.name for x in tmp_path.iterdir()] == ["m.h5"]
    header, before = load_model(model)[1], loss(model, photos())
    assert 0 <= header["progress"] < 1 and header["history"]
    told = invoke("info", model, cwd=tmp_path)
    assert "interrupted at" in told.stdout
    result = invoke("fit", photos(), "--model", model, "--steps", 1, cwd=tmp_path)
    assert result.exit_code == 0 and "interrupted;" not in result.stdout
    after = load_model(model)[1]
    assert after["history"][: len(header["history"])] == header["history"]
    assert after["progress"] == 1 and loss(model, photos()) <= before


# --- which architecture -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """The digits, each also shifted and turned: 1000 images of one size."""
    folder = tmp_path_factory.mktemp("thousand")
    for number in range(1000):
        turned = np.rot90(digits()[number % 40], number // 40 % 4)
        shifted = np.roll(turned, (number // 160) - 3, axis=1)
        Image.fromarray(np.ascontiguousarray(shifted[..., 0])).save(folder / f"{number:04}.bmp")
    return folder


def test_many_small_images_of_one_size_get_dense(thousand):
    found, rng = everything(thousand), np.random.default_rng(0)
    assert fitting._choose(found, 50, "none", rng)[0].arch == "dense"
    other = found[-1][:-1]
    assert fitting._choose([*found, other], 50, "none", rng)[0].arch == "pyramid"
    large = [np.zeros((65, 64, 4), np.uint8)] * 9
    assert fitting._choose(large, 50, "none", rng)[0].arch == "pyramid"


def test_auto_is_what_the_command_does(thousand, tmp_path):
    result = invoke("fit", thousand, "--steps", 1, "--model", "m.h5", cwd=tmp_path)
    assert result.stdout.startswith("dense model of 1,000 images"), result.output


# --- what can go wrong --------------------------------------------------------------------------


def test_minutes_and_steps_exclude_each_other(tmp_path):
    result = invoke("fit", photos(), "--minutes", 1, "--steps", 1, cwd=tmp_path)
    assert result.exit_code == 2 and "exclude each other" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [["--steps", "-1"], ["--minutes", "-1"], ["--quality", "0"], ["--quality", "101"],
                ["--arch", "convolutional"], ["--seed", "-1"]]
)  # fmt: skip
def test_options_out_of_range_are_wrong_usage(tmp_path, options):
    assert invoke("fit", photos(), *options, cwd=tmp_path).exit_code == 2


def test_one_unreadable_image_is_named_and_the_others_are_taken(tmp_path):
    folder = shutil.copytree(DIGITS, tmp_path / "digits")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    result = invoke("fit", folder, "--arch", "dense", "--steps", 1, cwd=tmp_path)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "broken.jpg" in result.stderr
    assert "dense model of 40 images" in result.stdout
    fitted = aezip.fit(folder, tmp_path / "models" / "digits.h5", steps=1)
    assert [x[0] for x in fitted.failed] == ["broken.jpg"] and fitted.images == 40


def test_none_readable(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    refused(invoke("fit", tmp_path, cwd=tmp_path), "none of its 1 images can be read")
    with pytest.raises(ImageError, match="none of its 1"):
        aezip.fit(tmp_path, tmp_path / "m.h5", steps=1)


def test_a_model_in_the_way(tmp_path):
    path = shutil.copy(digit_model(), tmp_path / "m.h5")
    before = path.read_bytes()
    options = ["--model", path, "--steps", 1]
    line = refused(invoke("fit", DIGITS, *options, "--arch", "pyramid", cwd=tmp_path))
    assert "of architecture dense" in line and f"remove {path}" in line
    line = refused(invoke("fit", photos(), *options, cwd=tmp_path))
    assert "for images of 28x28 L, and this is 64x96 RGB" in line and f"remove {path}" in line
    line = refused(invoke("fit", DIGITS, *options, "--quality", 51, cwd=tmp_path))
    assert "fitted for quality 50" in line and f"remove {path}" in line
    assert path.read_bytes() == before
    assert invoke("fit", DIGITS, *options, "--quality", 50, cwd=tmp_path).exit_code == 0


def test_dense_takes_one_size_only(tmp_path):
    result = invoke("fit", photos(), "--arch", "dense", "--steps", 1, cwd=tmp_path)
    refused(result, "one size", "3 sizes")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file/m.h5", ".", "text.h5"])
def test_where_no_model_can_be(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "text.h5").write_text("no model")
    options = ["--arch", "dense", "--steps", 1, "--model", place]
    refused(invoke("fit", DIGITS, *options, cwd=tmp_path), place.split("/")[0])
    assert sorted(x.name for x in tmp_path.iterdir()) == ["file", "text.h5"]
    assert (tmp_path / "text.h5").read_text() == "no model"


@pytest.mark.parametrize("what", ["missing", "file", "empty"])
def test_where_no_images_are(tmp_path, what):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").mkdir()
    refused(invoke("fit", what, cwd=tmp_path), what)


# --- models from elsewhere ----------------------------------------------------------------------


def changed(path, change):
    header, tensors = read_model(digit_model())
    change(header, tensors)
    json.dumps(header)
    write_model(path, header, tensors)
    return path


@pytest.mark.parametrize(
    "change",
    [
        *(lambda h, t, k=k: h.pop(k) for k in fitting._HEADER),
        lambda h, t: h.update(arch="other"),
        lambda h, t: h.update(config=[1, 2]),
        lambda h, t: h.update(grids=[]),
        lambda h, t: h["grids"].pop("synthesis.w1"),
        lambda h, t: h["config"].update(hidden=0),
        lambda h, t: h["config"].update(hidden=64),
        lambda h, t: t.pop("synthesis.w1"),
        lambda h, t: t["synthesis.b2"].fill(np.nan),
    ],
)
def test_a_damaged_model_is_one_line_for_every_command(tmp_path, change):
    path = changed(tmp_path / "m.h5", change)
    with pytest.raises(ModelError, match="damaged"):
        load_model(path)
    for arguments in (["info", path], ["fit", DIGITS, "--model", path],
                      ["compress", DIGITS, "o.csv", "--model", path]):  # fmt: skip
        refused(invoke(*arguments, cwd=tmp_path), "m.h5 is damaged")
    assert [x.name for x in tmp_path.iterdir()] == ["m.h5"]


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ModelError, match="from 1 to 100"):
        aezip.fit(DIGITS, tmp_path / "m.h5", quality=0)


@pytest.mark.parametrize(
    "options", [{"arch": "bogus"}, {"minutes": 1, "steps": 1}, {"quality": 75.5}, {"quality": 0}]
)
def test_arguments_that_make_no_sense(tmp_path, options):
    with pytest.raises(ModelError):
        aezip.fit(DIGITS, tmp_path / "m.h5", **options)
    assert not (tmp_path / "m.h5").exists()


def test_minutes_that_are_no_time(tmp_path):
    result = invoke("fit", DIGITS, "--minutes", "nan", cwd=tmp_path)
    assert result.exit_code == 2 and "--minutes is a number of minutes" in result.stderr


# --- from another model -------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["pyramid", "dense"])
def test_starting_from_a_model_of_other_images(tmp_path, arch):
    folder, model = {"pyramid": (photos(), photo_model), "dense": (DIGITS, digit_model)}[arch]
    options = ["--arch", arch, "--steps", 0, "--quality", 40]
    for name, other in (("from none.h5", "none"), ("from other.h5", model())):
        at = ["--start", other, "--model", tmp_path / name]
        result = invoke("fit", folder, *options, *at, cwd=tmp_path)
        assert result.exit_code == 0, result.stderr
    assert load_model(tmp_path / "from other.h5")[0].config["quality"] == 40
    assert loss(tmp_path / "from other.h5", folder) < loss(tmp_path / "from none.h5", folder)


def test_the_model_that_comes_with_aezip_is_the_start_unless_one_says_otherwise(
    tmp_path, monkeypatch
):
    asked, model = [], photo_model()

    def models_for(arch):
        asked.append(arch)
        return [model] if arch == "pyramid" else []

    monkeypatch.setattr(fitting.starting, "models_for", models_for)
    starts = {"ours": {}, "theirs": {"start": photo_model()}, "0": {"start": "none"}}
    for name, options in starts.items():
        aezip.fit(photos(), tmp_path / f"{name}.h5", steps=0, **options)
    aezip.fit(DIGITS, tmp_path / "digits.h5", arch="dense", steps=0)
    assert asked == ["pyramid", "dense"]
    ids = [read_model(tmp_path / f"{name}.h5")[0]["decoder"] for name in ("ours", "theirs", "0")]
    assert ids[0] == ids[1] != ids[2]


def test_a_model_to_start_from_comes_with_aezip():
    """Wherever it is installed."""
    large, small = (load_model(x)[0] for x in fitting.starting.models_for("pyramid"))
    assert large.arch == small.arch == "pyramid"
    assert len(large.pack()) > 1.5 * len(small.pack())
    assert fitting.starting.models_for("dense") == []


def test_a_model_of_other_widths_can_be_begun(tmp_path):
    script = Path(__file__).parents[1] / "models" / "begin.py"
    widths = ("--hidden", "9", "--prediction", "7", "--filter", "8")
    subprocess.run([sys.executable, script, photos(), tmp_path / "m.h5", *widths], check=True)
    aezip.fit(photos(), tmp_path / "m.h5", steps=1)
    fitted, header = load_model(tmp_path / "m.h5")
    assert fitted.config == {"levels": 6, "hidden": 9, "prediction": 7, "filter": 8, "quality": 75}
    assert header["progress"] == 1 and len(header["history"]) > 1


@pytest.mark.parametrize("start", ["pyramid", "digits", "missing", "damaged"])
def test_a_start_that_is_none(tmp_path, start):
    """Of another architecture, of images of another size, or no model at all."""
    path, folder = tmp_path / "start.h5", DIGITS
    if start == "pyramid":
        shutil.copy(photo_model(), path)
    elif start == "digits":
        folder = tmp_path / "small"
        folder.mkdir()
        Image.new("L", (5, 5)).save(folder / "a.png")
        shutil.copy(digit_model(), path)
    elif start == "damaged":
        path.write_bytes(b"no model")
    says = {"pyramid": "architecture pyramid, not dense", "digits": "other images"}
    options = ["--arch", "dense", "--start", path]
    refused(invoke("fit", folder, *options, cwd=tmp_path), "start.h5", says.get(start, ""))
    assert not (tmp_path / "models").exists()
