import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from folders import (
    DIGITS,
    digit_archive,
    digit_model,
    environment,
    files,
    invoke,
    photo_archive,
    photo_model,
    photos,
    pixels,
    refused,
    run,
)
from PIL import Image

import aezip
from aezip import images
from aezip.storage.hdf5 import read_decoder, read_model, write_decoder, write_model
from aezip.storage.rows import Row, write_rows


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the digits' archive in it, on a machine without a screen."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for path in (digit_archive(), digit_archive().with_suffix(".h5")):
        shutil.copy(path, tmp_path)
    return tmp_path


def damage_row(path, number):
    lines = path.read_bytes().split(b"\n")
    line = lines[number + 1]
    lines[number + 1] = line[:-1] + (b"A" if line[-1:] != b"A" else b"B")
    path.write_bytes(b"\n".join(lines))


# --- the program --------------------------------------------------------------------------------


def test_help_names_the_commands_in_the_order_of_use(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    commands = ["fit", "compress", "view", "list", "info", "extract", "add", "remove", "verify",
                "browse", "export", "sheet", "bench"]  # fmt: skip
    assert re.findall(r"^  (\w+)  ", done.stdout.split("Commands:")[1], re.MULTILINE) == commands
    for command in commands:
        assert invoke(command, "-h", cwd=tmp_path).exit_code == 0
    assert invoke("--version", cwd=tmp_path).stdout == f"aezip {aezip.__version__}\n"


def test_no_such_command_is_wrong_usage(tmp_path):
    for arguments in (["shrink"], ["view"], ["extract", "out.csv"], ["view", "--sideways"]):
        done = invoke(*arguments, cwd=tmp_path)
        assert done.exit_code == 2 and "Traceback" not in done.stderr


# --- view ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "number"),
    [([], 0), (["--row", 3], 3), (["--row", -1], 39), (["--name", "0007.png"], 7)],
)
def test_view_saves_the_row_one_asks_for(here, options, number):
    result = invoke("view", "out.csv", *options, "--save", "x.png", cwd=here)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{number:04}.png: 28x28 L -> x.png\n"
    expected = images.to_array(aezip.open(here / "out.csv")[number])
    assert np.array_equal(pixels(here / "x.png"), expected)


def test_view_saves_by_the_extension(here):
    shutil.copy(photo_archive(), here / "p.csv")
    shutil.copy(photo_archive().with_suffix(".h5"), here / "p.h5")
    expected = images.to_array(aezip.open(here / "p.csv")["lake.png"]).astype(int)
    for name, form in (("x.jpg", "JPEG"), ("x.JPEG", "JPEG"), ("x.webp", "WEBP"), ("x.png", "PNG")):
        done = run("view", "p.csv", "--name", "lake.png", "--save", name, cwd=here)
        assert (done.returncode, done.stderr) == (0, "")
        with Image.open(here / name) as image:
            assert image.format == form
        error = np.abs(pixels(here / name) - expected)
        assert error.max() == 0 if form != "JPEG" else error.mean() < 3


def test_view_draws_in_the_terminal_where_there_is_no_screen(here):
    done = run("view", "out.csv", "--row", 3, cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = done.stdout.splitlines()
    assert len(drawn) >= 14
    assert {line.count("\u2580") for line in drawn} == {2 * len(drawn)}  # it is square
    assert all(line.endswith("\x1b[0m") for line in drawn)
    assert invoke("view", "out.csv", "--row", 4, cwd=here).stdout != done.stdout


def test_view_of_what_is_not_there(here):
    for number in (40, -41):
        line = refused(invoke("view", "out.csv", "--row", number, cwd=here))
        assert line == (
            "aezip: out.csv has 40 rows, numbered from 0 to 39; "
            f"there is no row {number}\n"
        )
    refused(invoke("view", "out.csv", "--name", "x.png", cwd=here),
            "out.csv has no image named x.png; aezip list shows the names")  # fmt: skip
    both = invoke("view", "out.csv", "--row", 1, "--name", "0001.png", cwd=here)
    assert both.exit_code == 2 and "exclude each other" in both.stderr
    assert invoke("view", "out.csv", "--row", "one", cwd=here).exit_code == 2


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("x.gif", "x.gif: pictures are written as .png, .jpg or .webp"),
        ("x", "x: pictures are written as"),
        ("none/x.png", "none/x.png cannot be written: no such file or directory"),
        ("folder.png", "folder.png cannot be written"),
        ("out.csv/x.png", "out.csv/x.png cannot be written: not a directory"),
    ],
)
def test_view_where_nothing_can_be_saved(here, place, says):
    (here / "folder.png").mkdir()
    before = files(here)
    refused(invoke("view", "out.csv", "--save", place, cwd=here), says)
    assert files(here) == before


# --- list and info ------------------------------------------------------------------------------


def test_list(here):
    done = run("list", "out.csv", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    title, *lines = done.stdout.splitlines()
    assert title.split() == ["row", "bytes", "size", "mode", "q", "name"]
    archive = aezip.open(here / "out.csv")
    for number, line in enumerate(lines):
        latents = str(len(archive.row(number).latents))
        assert line.split() == [str(number), latents, "28x28", "L", "50", f"{number:04}.png"]
    assert len(lines) == 40


def test_a_reader_that_stops_listening_is_no_error(here):
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'aezip', 'list', "
    code += "'out.csv'], stdout=subprocess.PIPE); p.stdout.close(); sys.exit(p.wait())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_names_are_shown_in_one_line(here):
    archive = aezip.open(here / "out.csv")
    row = archive.row(0)
    header, parameters, identity = read_decoder(here / "out.h5")
    write_decoder(here / "o.h5", header, parameters)
    names = ["two\nlines.png", "\x1b[31mred.png", "\udcff.png", "größe 数.png"]
    write_rows(here / "o.csv", [Row(**{**vars(row), "name": x}) for x in names], identity,
               header["defaults"])  # fmt: skip
    shown = ["two\\nlines.png", "\\x1b[31mred.png", "\\udcff.png", "größe 数.png"]
    listed = run("list", "o.csv", cwd=here)
    assert listed.returncode == 0
    assert [x[41:] for x in listed.stdout.splitlines()[1:]] == shown
    for number, name in enumerate(shown):
        done = invoke("view", "o.csv", "--row", number, "--save", "x.png", cwd=here)
        assert done.stdout == f"{name}: 28x28 L -> x.png\n"


def test_info_of_an_archive_and_its_decoder(here):
    csv, decoder = (os.path.getsize(here / x) for x in ("out.csv", "out.h5"))
    result = invoke("info", "out.csv", cwd=here)
    assert result.exit_code == 0
    assert result.stdout.startswith(
        f"archive of 40 images\n  out.csv: {csv:,} bytes\n  out.h5: {decoder:,} bytes\n"
        "  no promise of quality\narchitecture dense: "
    )
    for entry in ("height 28", "width 28", "channels 1", "quality 50"):
        assert entry in result.stdout
    done = run("info", "out.h5", cwd=here)
    identity = read_decoder(here / "out.h5")[2]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"decoder {identity}\n  out.h5: {decoder:,} bytes\n")
    assert done.stdout.split("architecture")[1] == result.stdout.split("architecture")[1]
    count, size = re.search(r"in an archive +([\d,]+) +([\d,]+)$", done.stdout).groups()
    assert int(size.replace(",", "")) == len(read_decoder(here / "out.h5")[1])
    counts = re.findall(r"^  (?:synthesis|prior)\S+ +\S+ +([\d,]+) ", done.stdout, re.MULTILINE)
    assert len(counts) == 10
    assert sum(int(x.replace(",", "")) for x in counts) == int(count.replace(",", ""))


@pytest.mark.parametrize("model", [digit_model, photo_model])
def test_info_of_a_model(tmp_path, model):
    result = invoke("info", model(), cwd=tmp_path)
    assert result.exit_code == 0
    header, tensors = read_model(model())
    assert f"fitted to {header['images']} images of {header['pixels']:,} pixels" in result.stdout
    assert f"by aezip {aezip.__version__}, seed 0" in result.stdout
    assert f"architecture {header['arch']}: " in result.stdout
    assert "interrupted" not in result.stdout
    assert all(re.search(rf"^  {re.escape(x)} ", result.stdout, re.MULTILINE) for x in tensors)
    first, last = header["history"][0], header["history"][-1]
    table = result.stdout.split("(of a fixed sample)\n")[1].splitlines()
    for line, (minutes, rate, db) in ((table[0], first), (table[-1], last)):
        assert [float(x) for x in line.split()] == pytest.approx([minutes, rate, db], abs=0.006)


def test_info_of_nonsense(here):
    (here / "a.csv").write_text("name;size\n")
    (here / "a.h5").write_bytes(b"nothing")
    with h5py.File(here / "b.h5", "w") as file:
        file["x"] = [1, 2]
    write_decoder(here / "c.h5", {"arch": "dense"}, b"")
    write_model(here / "d.h5", {"arch": "dense"}, {})
    (here / "folder").mkdir()
    refused(invoke("info", "a.csv", cwd=here), "a.csv is not an aezip archive")
    refused(invoke("info", "a.h5", cwd=here), "a.h5 is not an HDF5 file")
    refused(invoke("info", "b.h5", cwd=here), "b.h5 is an HDF5 file, but neither a model nor")
    refused(invoke("info", "c.h5", cwd=here), "c.h5 is damaged")
    refused(invoke("info", "d.h5", cwd=here), "d.h5 is damaged")
    refused(invoke("info", "none.csv", cwd=here), "none.csv: there is no such file")
    refused(invoke("info", "none.h5", cwd=here), "none.h5: there is no such file")
    refused(invoke("info", "folder", cwd=here), "folder: the name of an archive ends in .csv")


# --- extract ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "numbers"),
    [("0:2", [0, 1]), ("1", [1]), ("-1", [39]), ("38:", [38, 39]), (":2", [0, 1]),
     ("-2:", [38, 39]), ("39:99", [39])],
)  # fmt: skip
def test_extract_some_rows(here, rows, numbers):
    result = invoke("extract", "out.csv", "x", "--rows", rows, cwd=here)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{len(numbers)} image{'s' if len(numbers) > 1 else ''} -> x\n"
    assert sorted(os.listdir(here / "x")) == [f"{number:04}.png" for number in numbers]


def test_extract_all(here):
    done = run("extract", "out.csv", "x/y", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "40 images -> x/y\n", "")
    assert sorted(os.listdir(here / "x" / "y")) == sorted(os.listdir(DIGITS))


@pytest.mark.parametrize("rows", ["", ":1:", "1:2:3", "a", "1-2", "1.5", "1,2", "9" * 5000])
def test_ranges_that_are_none_are_wrong_usage(here, rows):
    result = invoke("extract", "out.csv", "x", "--rows", rows, cwd=here)
    assert result.exit_code == 2 and "is not a range such as 0:10" in result.stderr
    assert not (here / "x").exists()


@pytest.mark.parametrize("rows", ["40", "5:5", "9:3", "-41", "99:", "9" * 30])
def test_ranges_without_a_row(here, rows):
    result = invoke("extract", "out.csv", "x", "--rows", rows, cwd=here)
    refused(result, f"out.csv has no rows {rows}")


def test_extract_overwrites_only_with_force(here):
    (here / "x").mkdir()
    (here / "x" / "0001.png").write_text("mine")
    options = ["--rows", "0:3"]
    result = invoke("extract", "out.csv", "x", *options, cwd=here)
    assert result.exit_code == 1 and result.stdout == "2 images -> x\n"
    assert result.stderr == "aezip: x/0001.png is there already (--force overwrites it)\n"
    assert (here / "x" / "0001.png").read_text() == "mine"
    result = invoke("extract", "out.csv", "x", *options, "--force", cwd=here)
    assert (result.exit_code, result.stderr) == (0, "")
    assert pixels(here / "x" / "0001.png").shape == (28, 28, 1)


# --- damage and mistakes, for every command that reads an archive -------------------------------

READING = (["view"], ["list"], ["info"], ["extract"])


def read(command, csv, here):
    more = {"extract": ["x"], "view": ["--save", "x.png"]}.get(command[0], [])
    return invoke(*command, csv, *more, cwd=here)


def test_a_damaged_row_harms_no_other(here):
    damage_row(here / "out.csv", 5)
    says = "aezip: out.csv, row 5 (0005.png) is damaged: its checksum does not match\n"
    listed = invoke("list", "out.csv", cwd=here)
    assert (listed.exit_code, listed.stderr) == (1, says)
    assert len(listed.stdout.splitlines()) == 40
    extracted = run("extract", "out.csv", "x", cwd=here)
    assert (extracted.returncode, extracted.stderr) == (1, says)
    assert extracted.stdout == "39 images -> x\n" and len(os.listdir(here / "x")) == 39
    assert refused(invoke("view", "out.csv", "--row", 5, cwd=here)) == says
    for option in (["--row", 6], ["--name", "0006.png"]):
        assert invoke("view", "out.csv", *option, "--save", "x.png", cwd=here).exit_code == 0


@pytest.mark.parametrize("command", [["list"], ["extract", "--force"], ["info"]])
def test_a_row_in_anothers_place_is_noticed(here, command):
    lines = (here / "out.csv").read_bytes().split(b"\n")
    lines[4] = lines[3]
    (here / "out.csv").write_bytes(b"\n".join(lines))
    done = read(command, "out.csv", here)
    assert (done.exit_code, done.stderr) == (
        1, "aezip: out.csv: its rows are not in the order in which they were written, or one was "
        "put in another's place\n",
    )  # fmt: skip


@pytest.mark.parametrize("command", READING)
def test_what_is_no_archive(here, command):
    (here / "a.csv").write_text("name,size\nx.png,1x1\n")
    (here / "b.csv").write_bytes(bytes(range(256)) * 9)
    (here / "empty.csv").write_bytes(b"")
    for name in ("a.csv", "b.csv", "empty.csv"):
        refused(read(command, name, here), f"{name} is not an aezip archive")
    refused(read(command, "none.csv", here), "none.csv: there is no such file")
    refused(read(command, ".", here))
    newer = (here / "out.csv").read_bytes().replace(b"aezip1_", b"aezip2_", 1)
    (here / "out.csv").write_bytes(newer)
    refused(read(command, "out.csv", here), "out.csv is of format version 2")
    assert not (here / "x").exists() and not (here / "x.png").exists()


@pytest.mark.parametrize("command", READING)
def test_a_decoder_that_does_not_fit(here, command):
    decoder = here / "out.h5"
    whole = decoder.read_bytes()
    decoder.write_bytes(whole[:-100])
    refused(read(command, "out.csv", here), "out.h5 is damaged")
    shutil.copy(photo_archive().with_suffix(".h5"), decoder)
    refused(read(command, "out.csv", here), "out.h5 is not the decoder that out.csv was")
    shutil.copy(digit_model(), decoder)
    refused(read(command, "out.csv", here), "out.h5 is a fitted model")
    decoder.write_bytes(whole)
    with h5py.File(decoder, "r+") as file:
        file.attrs.modify("version", np.uint8(9))
    refused(read(command, "out.csv", here), "written by a newer aezip")
    decoder.unlink()
    refused(read(command, "out.csv", here), "out.h5, the decoder of out.csv, is missing")
    decoder.mkdir()
    refused(read(command, "out.csv", here), "out.h5")


def test_errors_of_a_process_of_its_own(here):
    """The same one line and status as in the tests above, which run within this process."""
    for arguments, says in (
        (["fit", "none"], "none: there is no such folder"),
        (["compress", DIGITS, "o.csv"], "there is no such model"),
        (["view", "out.csv", "--row", 40], "there is no row 40"),
        (["info", "none.h5"], "none.h5: there is no such file"),
        (["extract", "none.csv", "x"], "none.csv: there is no such file"),
    ):
        done = run(*arguments, cwd=here)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(f"aezip: .*{re.escape(says)}.*\n", done.stderr)


# --- the three commands one after the other -----------------------------------------------------


def test_fit_compress_view(tmp_path):
    folder = shutil.copytree(photos(), tmp_path / "photos")
    assert run("fit", "photos", "--steps", 1, "--quality", 85, cwd=tmp_path).returncode == 0
    assert run("compress", "photos", "out.csv", cwd=tmp_path).returncode == 0
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "models")
    done = run("view", "out.csv", "--row", 0, "--save", "x.png", cwd=tmp_path)
    assert done.stdout == "animals/dogs.png: 64x96 RGB -> x.png\n"
    assert aezip.open(tmp_path / "out.csv").row(0).quality == 85
