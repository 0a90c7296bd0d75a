"""What every command says: to people, to scripts, on a terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from folders import (
    DIGITS,
    digit_archive,
    digit_model,
    environment,
    invoke,
    photo_archive,
    run,
)

import aezip
from aezip import console

pty = pytest.importorskip("pty", reason="needs a terminal of a POSIX system")
termios = pytest.importorskip("termios", reason="needs a terminal of a POSIX system")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def here(tmp_path):
    for path in (digit_archive(), digit_archive().with_suffix(".h5")):
        shutil.copy(path, tmp_path)
    return tmp_path


def on_a_terminal(*arguments, cwd, **variables) -> str:
    """What a person sees, standard output and errors together."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    clean = {k: v for k, v in environment().items() if k != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "aezip", *map(str, arguments)],
        cwd=cwd, env=clean | {"TERM": "xterm", "COLUMNS": "100"} | variables,
        stdout=theirs, stderr=theirs, stdin=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is closed on the other side
            break
        if not part:
            break
        seen += part
    process.wait(30)
    os.close(ours)
    return seen.decode()


def commands(here):
    return {
        "fit": ["fit", DIGITS, "--model", "m.h5", "--arch", "dense", "--steps", 1, "--jobs", 1],
        "compress": ["compress", DIGITS, "p.csv", "--model", digit_model(), "--jobs", 1],
        "view": ["view", "out.csv", "--row", 3, "--save", "x.png"],
        "list": ["list", "out.csv"],
        "info": ["info", "out.csv"],
        "extract": ["extract", "out.csv", "x", "--rows", "0:2"],
        "export": ["export", "out.csv", "x.html"],
        "sheet": ["sheet", "out.csv", "s.png"],
    }


def test_quiet_prints_nothing(here):
    for name, arguments in commands(here).items():
        done = invoke(*arguments, "--quiet", cwd=here)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", ""), name
    assert {"m.h5", "p.csv", "x.png", "x", "x.html", "s.png"} <= set(os.listdir(here))
    done = run("view", "out.csv", "--row", 99, "--quiet", cwd=here)
    assert done.returncode == 1 and "there is no row 99" in done.stderr  # but for errors


def test_json_is_one_object(here):
    found = {}
    for name, arguments in commands(here).items():
        done = invoke(*arguments, "--json", cwd=here)
        assert (done.exit_code, done.stderr) == (0, ""), name
        assert done.stdout.count("\n") == 1
        found[name] = json.loads(done.stdout)
    assert found["fit"]["images"] == 40 and found["fit"]["architecture"] == "dense"
    report, csv = found["compress"], here / "p.csv"
    assert report["csv_bytes"] == csv.stat().st_size
    assert report["archive_bytes"] == report["csv_bytes"] + (here / "p.h5").stat().st_size
    assert report["peers"].keys() == {"JPEG", "WebP"}
    assert found["view"] | {"bytes": 0} == {
        "name": "0003.png", "width": 28, "height": 28, "mode": "L", "quality": 50, "bytes": 0,
        "saved": "x.png",
    }  # fmt: skip
    archive = aezip.open(here / "out.csv")
    assert [x["name"] for x in found["list"]["rows"]] == archive.names
    assert [x["bytes"] for x in found["list"]["rows"]] == [
        len(archive.row(i).latents) for i in range(40)
    ]
    assert found["info"]["kind"] == "archive" and found["info"]["config"]["height"] == 28
    assert found["extract"] == {"images": 2, "folder": "x", "failed": []}
    assert found["export"]["bytes"] == (here / "x.html").stat().st_size


def test_json_names_what_failed(here):
    lines = (here / "out.csv").read_bytes().split(b"\n")
    lines[6] = lines[6][:-1] + (b"A" if lines[6][-1:] != b"A" else b"B")
    (here / "out.csv").write_bytes(b"\n".join(lines))
    for command, *more in (["list"], ["extract", "x"], ["export", "x.html"]):
        done = invoke(command, "out.csv", *more, "--json", cwd=here)
        (failed,) = json.loads(done.stdout)["failed"]
        assert done.exit_code == 1 and failed["name"] == "row 5" and "damaged" in failed["why"]
    broken = shutil.copytree(DIGITS, here / "broken")
    (broken / "b.png").write_bytes(b"no")
    done = invoke("compress", "broken", "b.csv", "--model", digit_model(), "--jobs", 1, "--json",
                  cwd=here)  # fmt: skip
    assert done.exit_code == 1
    assert [x["name"] for x in json.loads(done.stdout)["failed"]] == ["b.png"]


def test_colours_are_for_terminals(here):
    seen = on_a_terminal("list", "out.csv", cwd=here)
    assert COLOUR.search(seen)
    assert COLOUR.sub("", seen).replace("\r\n", "\n") == run("list", "out.csv", cwd=here).stdout
    assert "\x1b[31m" in on_a_terminal("view", "none.csv", cwd=here)  # errors are red
    assert not COLOUR.search(on_a_terminal("list", "out.csv", cwd=here, NO_COLOR="1"))
    assert not COLOUR.search(on_a_terminal("view", "none.csv", cwd=here, NO_COLOR="1"))


def test_long_work_shows_the_time_left(here):
    fitting = ["fit", DIGITS, "--model", "m.h5", "--arch", "dense", "--steps", 200, "--jobs", 1]
    seen = on_a_terminal(*fitting, cwd=here)
    assert re.search(r"\d+%\|.*bpp, .* dB, \d+:\d\d left", seen)
    compressing = ["compress", DIGITS, "d.csv", "--model", digit_model(), "--jobs", 1]
    seen = on_a_terminal(*compressing, cwd=here)
    assert re.search(r"40/40 \[\d\d:\d\d<", seen)
    assert "measured in" in seen
    deleting = ["--delete-originals", "--yes", "--min-psnr", 0, "--jobs", 1]
    shutil.copytree(DIGITS, here / "digits")
    seen = on_a_terminal("compress", "digits", "e.csv", "--model", digit_model(), *deleting,
                         cwd=here)  # fmt: skip
    assert re.search(r"deleting: .*/40 \[", seen) and "deleted 40 images" in seen
    assert "drawing: " in on_a_terminal("sheet", "out.csv", "s.png", cwd=here)
    quiet = on_a_terminal("extract", "out.csv", "x", "--quiet", cwd=here)
    assert quiet == ""


def test_aezip_alone_shows_what_matters(tmp_path):
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("fit", "compress", "view"):
        assert len(re.findall(rf"^  aezip {command} ", done.stdout, re.MULTILINE)) == 1
    assert len(done.stdout.splitlines()) < 10


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(tmp_path, shell):
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'aezip'; "
               "from aezip.__main__ import main; main()"]  # fmt: skip
    source = subprocess.run(
        command, env=environment() | {"_AEZIP_COMPLETE": f"{shell}_source"},
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    if shell == "bash" and source.returncode:
        pytest.skip("click completes for bash only where it is installed")
    assert "_AEZIP_COMPLETE" in source.stdout
    words = {"bash": ("aezip br", "1"), "zsh": ("aezip br", "1"), "fish": ("aezip br", "br")}[shell]
    done = subprocess.run(
        command, env=environment() | {"_AEZIP_COMPLETE": f"{shell}_complete",
                                      "COMP_WORDS": words[0], "COMP_CWORD": words[1]},
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert "browse" in done.stdout and "fit" not in done.stdout


def test_a_picture_or_json_but_not_both(here):
    shown = invoke("view", "out.csv", "--row", 3, "--json", cwd=here).stdout
    found = json.loads(shown)
    assert (found["name"], found["width"], found["saved"]) == ("0003.png", 28, None)
    assert "\x1b[38;2;" in invoke("view", "out.csv", "--row", 3, cwd=here).stdout


@pytest.mark.parametrize(
    ("command", "where"),
    [(["export", "out.csv", "x.html"], "aezip.web.page.export"),
     (["sheet", "out.csv", "x.png"], "aezip.sheet.sheet"),
     (["bench", DIGITS], "aezip.bench.bench")],
)  # fmt: skip
def test_ctrl_c_is_one_line(here, monkeypatch, command, where):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    pytest.importorskip("matplotlib", reason="needs the extra aezip[plot]")
    monkeypatch.setattr(where, interrupt)
    done = invoke(*command, cwd=here)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "aezip: interrupted\n")


def test_counts():
    assert [console.counted(x) for x in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]


def test_durations():
    for seconds, said in ((0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (185, "3:05 min")):
        assert console.duration(seconds) == said


def test_photographs_and_names_in_json(tmp_path):
    done = invoke("list", photo_archive(), "--json", cwd=tmp_path)
    assert [x["mode"] for x in json.loads(done.stdout)["rows"]] == ["RGB"] * 3
