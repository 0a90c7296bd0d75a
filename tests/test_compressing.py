import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from folders import (
    DIGITS,
    decibels,
    digit_archive,
    digit_model,
    files,
    invoke,
    photo_archive,
    photo_model,
    photos,
    pixels,
    quick_model,
    refused,
    run,
    start,
)
from PIL import Image

import aezip
from aezip import changing, cli, compressing, images
from aezip.errors import ArchiveError, ImageError, ModelError
from aezip.fitting import load_model
from aezip.storage.hdf5 import write_decoder
from aezip.storage.row import EXACT

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and limits as of POSIX")


def table(text):
    """{what: bytes} of the table that compress prints, and the two PSNRs."""
    lines = re.findall(r"^ *(\S.*?) {2,}~?([\d,]+) +([\d.]+)$", text, re.MULTILINE)
    sizes = {what: int(size.replace(",", "")) for what, size, _ in lines}
    rates = {what: float(rate) for what, _, rate in lines}
    mean, worst, name = re.search(
        r"^PSNR ([\d.]+) dB on average, at worst ([\d.]+) dB \((.*)\)$", text, re.MULTILINE
    ).groups()
    return sizes, rates, float(mean), float(worst), name


def psnrs(folder, csv):
    """{name: PSNR} of an archive's images against the files of a folder."""
    archive = aezip.open(csv)
    return {
        name: decibels(pixels(folder / name), images.to_array(archive[name]))
        for name in archive.names
    }


# --- what is written and what is said -----------------------------------------------------------


def test_the_table_tells_the_truth(tmp_path):
    options = ["--model", photo_model(), "--quality", 60]
    done = run("compress", photos(), "out.csv", *options, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(files(tmp_path)) == ["out.csv", "out.h5"]
    sizes, rates, mean, worst, name = table(done.stdout)
    csv, decoder = (os.path.getsize(tmp_path / x) for x in ("out.csv", "out.h5"))
    originals = sum(len(x) for x in files(photos()).values())
    area = sum(pixels(photos() / x)[..., 0].size for x in files(photos()))
    assert sizes["3 images, as they were"] == originals
    assert (sizes["out.csv"], sizes["out.h5"]) == (csv, decoder)
    assert sizes["aezip archive, quality 60"] == csv + decoder
    assert 0 < sizes["WebP at equal PSNR"] < sizes["JPEG at equal PSNR"] < originals
    # Three small images do not pay for a decoder, and that is said.
    smaller = r"JPEG would be \d+ % smaller and WebP would be \d+ % smaller at equal PSNR; the "
    assert re.search(smaller, done.stdout)
    for what, rate in rates.items():
        assert rate == pytest.approx(8 * sizes[what] / area, abs=2e-3)
    found = psnrs(photos(), tmp_path / "out.csv")
    assert mean == pytest.approx(np.mean(list(found.values())), abs=0.006)
    assert name == min(found, key=found.get)
    assert worst == pytest.approx(found[name], abs=0.006)
    assert worst > 25


def test_the_report_tells_the_truth(tmp_path):
    told = []
    report = aezip.compress(
        DIGITS, tmp_path / "o.csv", digit_model(), min_psnr=0, progress=lambda *x: told.append(x)
    )
    assert (report.csv_bytes, report.decoder_bytes) == (
        os.path.getsize(tmp_path / "o.csv"), os.path.getsize(tmp_path / "o.h5")
    )  # fmt: skip
    assert (report.images, report.pixels, report.failed) == (40, 40 * 28 * 28, [])
    assert report.compared == 40 and report.quality == 50
    assert report.bits_per_pixel == 8 * (report.csv_bytes + report.decoder_bytes) / report.pixels
    found = psnrs(DIGITS, tmp_path / "o.csv")
    assert report.mean_psnr == pytest.approx(np.mean(list(found.values())))
    assert report.worst_psnr == pytest.approx(found[report.worst_name])
    assert all(report.peers[x] > 0 for x in ("JPEG", "WebP"))
    assert told[-1] == (40, 40)
    for more, says in ((1, False), (-1, True)):
        report.peers = {"WebP": report.archive_bytes + more, "JPEG": None}
        told = re.search(r"WebP would be \d+ % smaller at equal PSNR", cli._table(report))
        assert bool(told) is says


def test_as_many_processes_as_one_likes_write_the_same(tmp_path):
    options = ["--model", photo_model()]
    assert run("compress", photos(), "1.csv", *options, "--jobs", 1, cwd=tmp_path).returncode == 0
    assert run("compress", photos(), "2.csv", *options, "--jobs", 2, cwd=tmp_path).returncode == 0
    written = files(tmp_path)
    assert written["1.csv"] == written["2.csv"] and written["1.h5"] == written["2.h5"]


@pytest.mark.parametrize("arch", ["pyramid", "dense"])
def test_more_quality_takes_more_bytes(tmp_path, arch):
    folder, model = {"pyramid": (photos(), photo_model), "dense": (DIGITS, digit_model)}[arch]
    sizes, values = [], []
    for quality in (20, 50, 80):
        report = aezip.compress(
            folder, tmp_path / "o.csv", model(), quality=quality, min_psnr=0, force=True,
            compare=False,
        )  # fmt: skip
        assert aezip.open(report.csv).row(0).quality == report.quality == quality
        sizes.append(report.csv_bytes)
        values.append(report.mean_psnr)
    assert sizes == sorted(set(sizes)) and values == sorted(set(values))


@pytest.mark.parametrize("archive", [photo_archive, digit_archive])
def test_the_two_files_are_all_that_is_needed(tmp_path, archive):
    for path in (archive(), archive().with_suffix(".h5")):
        shutil.copy(path, tmp_path)
    done = run("extract", "out.csv", "images", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    expected = aezip.open(archive())
    for name in expected.names:
        path = (tmp_path / "images" / name).with_suffix(".png")
        assert np.array_equal(pixels(path), images.to_array(expected[name]))


def test_the_model_is_looked_for_where_fit_puts_it(tmp_path):
    refused(invoke("compress", DIGITS, "o.csv", cwd=tmp_path),
            "models/digits.h5: there is no such model", f"aezip fit {DIGITS}")  # fmt: skip
    (tmp_path / "models").mkdir()
    shutil.copy(digit_model(), tmp_path / "models" / "digits.h5")
    assert invoke("compress", DIGITS, "o.csv", cwd=tmp_path).exit_code == 0
    assert sorted(x.name for x in tmp_path.iterdir()) == ["models", "o.csv", "o.h5"]


def test_an_archive_is_replaced_only_when_told(tmp_path):
    def compress(quality, **options):
        aezip.compress(
            DIGITS, tmp_path / "o.csv", digit_model(), quality=quality, min_psnr=0,
            compare=False, **options,
        )  # fmt: skip

    compress(20)
    before = files(tmp_path)
    with pytest.raises(ArchiveError, match=r"o\.csv is there already: --force replaces it, aezip "):
        compress(60)
    (tmp_path / "o.csv").rename(tmp_path / "p.csv")
    with pytest.raises(ArchiveError, match=r"o\.h5 is there already: --force replaces it"):
        compress(60)
    (tmp_path / "p.csv").rename(tmp_path / "o.csv")
    assert files(tmp_path) == before
    compress(60, force=True)
    assert {x.quality for x in map(aezip.open(tmp_path / "o.csv").row, range(40))} == {60}
    assert sorted(files(tmp_path)) == ["o.csv", "o.h5"]


# --- images that cannot be had ------------------------------------------------------------------


def test_an_unreadable_image_is_named_and_left_out(tmp_path):
    folder = shutil.copytree(photos(), tmp_path / "photos")
    (folder / "broken.png").write_bytes((folder / "lake.png").read_bytes()[:99])
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes((folder / "lake.png").read_bytes())
    options = ["--model", photo_model(), "--jobs", 1]
    result = invoke("compress", folder, "o.csv", *options, cwd=tmp_path)
    assert result.exit_code == 1
    assert re.fullmatch("aezip: [^\n]*broken.png [^\n]*\n", result.stderr)
    assert "3 images, as they were" in result.stdout
    assert "skipped 2 files" in result.stdout
    archive = aezip.open(tmp_path / "o.csv")
    assert archive.names == sorted(archive.names) == aezip.open(photo_archive()).names
    whole = aezip.open(photo_archive())
    assert all(a.tobytes() == b.tobytes() for a, b in zip(archive, whole, strict=True))


def test_an_image_of_another_size_than_a_dense_models_is_stored_exactly(tmp_path):
    folder = shutil.copytree(DIGITS, tmp_path / "digits")
    Image.new("L", (28, 27), 5).save(folder / "0000 low.png")
    with Image.open(photos() / "lake.png") as image:
        image.save(folder / "colour.png")
    options = ["--model", digit_model(), "--min-psnr", 0]
    result = invoke("compress", folder, "o.csv", *options, cwd=tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "2 images stored exactly" in result.stdout
    archive = aezip.open(tmp_path / "o.csv")
    assert archive.names == sorted(files(folder))
    for name in ("0000 low.png", "colour.png"):
        assert np.array_equal(images.to_array(archive[name]), pixels(folder / name))
        assert archive.row(name).quality == EXACT
    with pytest.raises(ImageError, match="none of the 3 images could be compressed"):
        aezip.compress(photos(), tmp_path / "p.csv", digit_model())
    assert not (tmp_path / "p.csv").exists() and not (tmp_path / "p.h5").exists()


# --- places where nothing can be written --------------------------------------------------------


def test_where_no_archive_can_be(tmp_path):
    model = shutil.copy(digit_model(), tmp_path / "m.h5")
    shutil.copy(digit_model(), tmp_path / "other.h5")
    (tmp_path / "notes.h5").write_text("no decoder")
    (tmp_path / "folder.csv").mkdir()
    before = files(tmp_path)

    def compress(target):
        return invoke("compress", DIGITS, target, "--model", model, cwd=tmp_path)

    refused(compress("out.h5"), "out.h5: the name of an archive ends in .csv")
    refused(compress("m.csv"), "m.csv would have its decoder at m.h5, where the model is")
    refused(compress("other.csv"), "other.csv would have its decoder at other.h5", "another name")
    refused(compress("notes.csv"), "notes.csv would have its decoder at notes.h5")
    refused(compress("folder.csv"), "folder.csv cannot be written: it exists and is not a file")
    refused(compress("none/o.csv"), "none/o.csv cannot be written: no such file or directory")
    refused(compress("m.h5/o.csv"), "m.h5/o.csv cannot be written: not a directory")
    assert files(tmp_path) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    result = invoke("compress", DIGITS, "closed/o.csv", "--model", digit_model(), cwd=tmp_path)
    refused(result, "closed/o.csv cannot be written: permission denied")


def test_where_no_images_or_no_model_are(tmp_path):
    (tmp_path / "empty").mkdir()
    options = ["--model", digit_model()]
    refused(invoke("compress", "empty", "o.csv", *options, cwd=tmp_path), "empty holds no images")
    refused(invoke("compress", "none", "o.csv", *options, cwd=tmp_path), "no such folder")
    for model in (digit_archive(), digit_archive().with_suffix(".h5")):
        refused(invoke("compress", DIGITS, "o.csv", "--model", model, cwd=tmp_path), str(model))
    assert [x.name for x in tmp_path.iterdir()] == ["empty"]


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ModelError, match="from 1 to 100"):
        aezip.compress(DIGITS, tmp_path / "o.csv", digit_model(), quality=101)
    with pytest.raises(ArchiveError, match=r"ends in \.csv"):
        aezip.compress(DIGITS, tmp_path / "O.H5", digit_model())
    for options in (["--quality", 0], ["--jobs", 0], ["--quality", "high"]):
        assert invoke("compress", DIGITS, "o.csv", *options, cwd=tmp_path).exit_code == 2
    assert not list(tmp_path.iterdir())


# --- an archive that is there stays what it was -------------------------------------------------


@pytest.fixture
def earlier(tmp_path):
    """A folder with an archive of other images in it, and what is in its files."""
    for suffix in (".csv", ".h5"):
        shutil.copy(digit_archive().with_suffix(suffix), tmp_path / f"o{suffix}")
    return tmp_path, files(tmp_path)


@POSIX
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_interrupted(earlier, tmp_path_factory, seconds):
    many = tmp_path_factory.mktemp("many")
    with Image.open(photos() / "lake.png") as image:
        large = image.resize((480, 320))
    for number in range(40):
        large.save(many / f"{number}.png")
    folder, before = earlier
    arguments = ["compress", many, "o.csv", "--model", photo_model(), "--jobs", 2, "--force"]
    process = start(*arguments, cwd=folder)
    try:
        while not workers(process.pid) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)  # at once: the processes are still being started
        os.killpg(process.pid, signal.SIGINT)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (1, "")
    assert err.startswith("aezip: interrupted; o.csv was not written")
    assert time.monotonic() - began < 15  # all images take longer
    left = files(folder)
    assert ("--resume goes on from here" in err) == (left.pop("o.csv.partial", None) is not None)
    assert left == before


def workers(pid):
    """Whether a process has started others (Linux says; elsewhere some time passes)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return len(file.read().split()) >= 2
    except OSError:
        time.sleep(2)
        return True


@POSIX
def test_the_disk_is_full(earlier):
    folder, before = earlier
    # Room for the decoder, and not for the rows.
    most = os.path.getsize(digit_archive().with_suffix(".h5")) + 100
    with Image.open(photos() / "lake.png") as image:
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
        (folder / "big").mkdir()
        Image.fromarray(noise).save(folder / "big" / "a.png")
        image.save(folder / "big" / "b.png")

    def limit():
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    options = ["--model", photo_model(), "--quality", 95, "--jobs", 1, "--force"]
    done = run("compress", "big", "o.csv", *options, cwd=folder, preexec_fn=limit)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "aezip: o.csv cannot be written: file too large\n"
    shutil.rmtree(folder / "big")
    left = files(folder)
    left.pop("o.csv.partial", None)
    assert left == before


def test_a_decoder_of_another_archive_may_be_replaced(tmp_path):
    write_decoder(tmp_path / "o.h5", {"arch": "dense"}, b"")
    aezip.compress(DIGITS, tmp_path / "o.csv", digit_model(), force=True, compare=False)
    assert len(aezip.open(tmp_path / "o.csv")) == 40


# --- nothing is lost ----------------------------------------------------------------------------


def test_a_file_that_is_no_archive_is_not_replaced(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    options = ["--model", digit_model()]
    refused(invoke("compress", DIGITS, "table.csv", *options, cwd=tmp_path), "is no archive")
    assert (tmp_path / "table.csv").read_text() == "a,b\n1,2\n"
    shutil.copy(DIGITS / "0000.png", tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    refused(invoke("compress", DIGITS, "a.png", *options, cwd=tmp_path), "ends in .csv")
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="signals to a group")
def test_ctrl_c_that_only_the_workers_get_loses_no_image(tmp_path):
    # As for a background job of a script: the parent ignores SIGINT.
    script = (
        "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "sys.argv[0] = 'aezip'; runpy.run_module('aezip', run_name='__main__')"
    )
    folder = shutil.copytree(photos(), tmp_path / "photos")
    for copy in range(1, 8):
        for image in sorted(photos().rglob("*.png")):
            shutil.copy(image, folder / f"{copy}-{image.name}")
    count = len(images.find(folder).names)
    words = [sys.executable, "-c", script, "compress", folder, "o.csv", "--jobs", "2"]
    process = subprocess.Popen(
        [*map(str, words), "--model", str(photo_model())],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for _ in range(8):
        time.sleep(0.4)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and f"{count} images, as they were" in said
    assert len(aezip.open(tmp_path / "o.csv")) == count


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[1:],
        lambda rows: [*rows[:-1], replace(rows[-1], modified=10**14)],
        lambda rows: [replace(rows[0], latents=rows[1].latents), *rows[1:]],
    ],
)
def test_what_is_to_be_written_is_read_before_anything_is_replaced(earlier, monkeypatch, change):
    folder, before = earlier

    def careless(path, rows, *rest):
        write_rows(path, change([*rows]), *rest)

    write_rows = compressing.write_rows
    monkeypatch.setattr(compressing, "write_rows", careless)
    with pytest.raises(ArchiveError, match=r"o\.csv does not read back as it is to be"):
        aezip.compress(DIGITS, folder / "o.csv", digit_model(), force=True, compare=False)
    left = files(folder)
    assert left.pop("o.csv.partial") and left == before


def test_the_decoder_is_read_before_anything_is_replaced(earlier, monkeypatch):
    folder, before = earlier
    other = load_model(quick_model())[0].frozen()
    sealed = compressing.sealed_decoder
    monkeypatch.setattr(
        compressing, "sealed_decoder",
        lambda header, _, cipher: sealed(header, other.pack(), cipher),
    )  # fmt: skip
    with pytest.raises(ArchiveError, match=r"the decoder of .*o\.csv would not be that which"):
        aezip.compress(photos(), folder / "o.csv", photo_model(), force=True, compare=False)
    left = files(folder)
    assert left.pop("o.csv.partial") and left == before


def test_an_image_that_no_row_can_hold_is_named_and_left_out(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    Image.new("L", (10_000_000, 1)).save(tmp_path / "in" / "wide.png")
    Image.effect_noise((70, 70), 99).save(tmp_path / "in" / "noise.png")
    Image.new("L", (9, 9)).save(tmp_path / "in" / "small.png")
    monkeypatch.setenv("AEZIP_MAX_ROW_BYTES", "9000")
    result = invoke("compress", "in", "o.csv", "--lossless", "--jobs", 1, cwd=tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "aezip: noise.png: its row would be longer than 9,000 bytes (AEZIP_MAX_ROW_BYTES)",
        "aezip: wide.png: it has more than 9,999,999 pixels a side",
    ]
    assert aezip.open(tmp_path / "o.csv").names == ["small.png"]
    monkeypatch.setenv("AEZIP_MAX_ROW_BYTES", "8")
    result = invoke("view", "o.csv", cwd=tmp_path)
    refused(result, "row 0 is longer than 8 bytes")


@POSIX
@pytest.mark.parametrize("command", ["compress", "add"])
def test_ctrl_c_while_the_archive_is_written_says_that_it_was(earlier, monkeypatch, command):
    folder, _ = earlier
    module = compressing if command == "compress" else changing
    name = "write_rows" if command == "compress" else "rewrite_rows"
    real = getattr(module, name)

    def pressed(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        real(*arguments)

    monkeypatch.setattr(module, name, pressed)
    options = ["--lossless", "--model", digit_model(), "--delete-originals", "--yes"]
    shutil.copytree(photos(), folder / "in")
    more = ["in", "o.csv", "--force"] if command == "compress" else ["o.csv", "in"]
    # Tests that run in the background of a shell would have Ctrl-C ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = invoke(command, *more, *options, cwd=folder)
    finally:
        signal.signal(signal.SIGINT, handler)
    refused(result, "aezip: interrupted; o.csv was written before")
    assert len(aezip.open(folder / "o.csv")) == (3 if command == "compress" else 43)
    assert len(files(folder / "in")) == 3
    assert sorted(x.name for x in folder.iterdir()) == ["in", "o.csv", "o.h5"]
