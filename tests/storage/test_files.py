from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from aezip.storage.files import one_line, reason, remove_leftovers, replacing

posix = pytest.mark.skipif(os.name != "posix", reason="there are no such files elsewhere")


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_new_file_appears(tmp_path):
    with replacing(tmp_path / "out.csv") as temporary:
        temporary.write_text("new")
        assert left(tmp_path) == [temporary.name]
    assert left(tmp_path) == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "new"


def test_the_temporary_file_is_hidden_beside_it_with_the_same_extension(tmp_path):
    with replacing(tmp_path / "picture.png") as temporary:
        assert temporary.parent == tmp_path.resolve()
        assert temporary.suffix == ".png" and temporary.name.startswith(".")
        temporary.touch()


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "out.csv"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert left(tmp_path) == ["out.csv"] and path.read_text() == "one"


def test_the_old_file_is_whole_until_the_block_ends(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with replacing(str(path)) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and left(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("written", [True, False])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error, written):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(error, match="inside"), replacing(path) as temporary:
        if written:
            temporary.write_text("half")
        raise error("inside")
    assert path.read_text() == "old" and left(tmp_path) == ["out.csv"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    for sync in (True, False):
        with pytest.raises(FileNotFoundError), replacing(path, sync=sync):
            pass
    assert path.read_text() == "old" and left(tmp_path) == ["out.csv"]


def test_a_crash_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    code = (
        "import os, sys\n"
        "from aezip.storage.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == 9
    assert path.read_text() == "old"


def test_what_a_crash_left_is_removed_in_time(tmp_path):
    path = tmp_path / "out.csv"
    for name in ("out.csv", "other.csv"):
        for number in range(2):
            with suppress(RuntimeError), replacing(tmp_path / name) as temporary:
                shutil.copy(__file__, f"{temporary.with_suffix('')}{number}.csv")  # another's
                raise RuntimeError
    with replacing(path) as temporary:  # they may be of one that is still at work
        temporary.write_text("new")
    assert len(left(tmp_path)) == 5
    for each in tmp_path.glob(".aezip-*"):
        os.utime(each, (1, 1))
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert len(left(tmp_path)) == 3 and path.read_text() == "new"
    remove_leftovers(tmp_path / "other.csv")
    assert left(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("sync", [True, False])
def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch, sync):
    done = []

    def watched(name):
        function = getattr(os, name)

        def call(*arguments):
            done.append(name)
            return function(*arguments)

        monkeypatch.setattr(os, name, call)

    watched("fsync")
    watched("replace")
    with replacing(tmp_path / "out.csv", sync=sync) as temporary:
        temporary.write_text("new")
    folder = ["fsync"] if os.name == "posix" else []
    assert done == (["fsync", "replace", *folder] if sync else ["replace"])


def test_folders_are_refused(tmp_path):
    path = tmp_path / "out.csv"
    path.mkdir()
    with pytest.raises(OSError, match="it exists and is not a file"), replacing(path):
        pytest.fail("the block must not run")
    assert left(tmp_path) == ["out.csv"] and path.is_dir()


@posix
def test_pipes_and_devices_are_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull)):
        with pytest.raises(OSError, match="it exists and is not a file"), replacing(path):
            pytest.fail("the block must not run")
    assert stat.S_ISFIFO(pipe.stat().st_mode) and left(tmp_path) == ["pipe"]
    assert Path(os.devnull).is_char_device()


@posix
def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.csv", tmp_path / "out.csv"
    link.symlink_to(target)
    for text in ("created through the link", "replaced through the link"):
        with replacing(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink() and target.read_text() == text
        assert left(tmp_path / "elsewhere") == ["real.csv"]
        assert left(tmp_path) == ["elsewhere", "out.csv"]


def test_a_missing_folder_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "no" / "out.csv") as temporary:
        temporary.write_text("new")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ~ text", "plain ~ text"),
        ("Grüße 写真 😀", "Grüße 写真 😀"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\x1b[31m\x00\x85\u2028", "\\x1b[31m\\x00\\x85\\u2028"),
        (os.fsdecode(b"\xff") if os.name == "posix" else "\udcff", "\\udcff"),
        (Path("a") / "b", os.path.join("a", "b")),
    ],
)
def test_one_line(text, shown):
    assert one_line(text) == shown
    assert len(one_line(text).splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/path"), "no space left on device"),
        (FileNotFoundError(errno.ENOENT, "h5py (name = '/a/path')"), "no such file or directory"),
        (OSError("it exists and is not a file"), "it exists and is not a file"),
        (OSError("Two\nlines"), "two\\nlines"),
        (OSError(), "unknown error"),
    ],
)
def test_reason(error, said):
    assert reason(error) == said
