import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from crashes import Compressing, Fitting, many
from folders import (
    copied,
    digit_archive,
    environment,
    files,
    invoke,
    photos,
    quick_archive,
    quick_model,
    refused,
    run,
)
from PIL import Image

import aezip
from aezip import compressing
from aezip.coding import Coder, Settings
from aezip.errors import ArchiveError
from aezip.fitting import load_model
from aezip.storage.hdf5 import read_model, write_model
from aezip.storage.journal import partial_path, writing

SETTINGS = Settings(50, 0.0, False, 1)
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and forks as of POSIX")


# --- killed at random ---------------------------------------------------------------------------


def test_killed_while_it_compresses():
    target, rng = Compressing(1), random.Random()
    target.trial(rng.uniform(0, target.seconds))


def test_killed_while_it_fits():
    target, rng = Fitting(), random.Random()
    target.trial(rng.uniform(0, target.seconds))


# --- ended at every step that touches the disk --------------------------------------------------


def ended_after(steps, work):
    """Whether `work`, in a process of its own, was ended as by SIGKILL before so many calls that
    change what is on the disk."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    try:
        left = [steps]

        def counted(function):
            def call(*arguments, **options):
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return function(*arguments, **options)

            return call

        os.replace, os.fsync = counted(os.replace), counted(os.fsync)
        Path.unlink, Path.write_bytes = counted(Path.unlink), counted(Path.write_bytes)
        os.ftruncate = counted(os.ftruncate)
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return many(tmp_path_factory.mktemp("few") / "in", 3)


def steps_of(work, look):
    """`look` after `work` was ended at each of its steps in turn; how many those were."""
    steps = 0
    while ended_after(steps, work):
        look()
        steps += 1
    look()
    return steps


def test_compress_ended_at_any_step_leaves_one_of_the_two_archives(folder, tmp_path):
    path = copied(digit_archive(), tmp_path)
    seen = set()

    def work():
        aezip.compress(folder, path, quick_model(), force=True, compare=False)

    def look():
        archive = aezip.open(path)
        assert aezip.verify(path).wrong == []
        assert len(archive) in (40, 3)
        seen.add(len(archive))
        if len(archive) == 3:  # what was only needed meanwhile goes with the next write
            work()
            assert path.with_suffix(".h5").read_bytes() == whole
        copied(digit_archive(), tmp_path)

    work()
    whole = path.with_suffix(".h5").read_bytes()
    copied(digit_archive(), tmp_path)
    assert steps_of(work, look) >= 8
    assert seen == {40, 3}


def test_add_and_remove_ended_at_any_step(folder, tmp_path):
    path = tmp_path / "out.csv"
    aezip.compress(folder, path, quick_model(), compare=False)
    before = files(tmp_path)
    for work, count in (
        (lambda: aezip.add(path, photos()), 6),
        (lambda: aezip.remove(path, ["01.png"]), 2),
    ):
        seen = set()

        def look(seen=seen):
            assert aezip.verify(path).wrong == []
            seen.add(len(aezip.open(path)))
            for name, data in before.items():
                (tmp_path / name).write_bytes(data)

        assert steps_of(work, look) >= 3
        assert seen == {3, count}


def test_a_profile_is_there_as_long_as_a_row_needs_it(folder, tmp_path):
    profile = b"\0" * 16 + b"RGB " + b"\0" * 200
    source = shutil.copytree(folder, tmp_path / "in")
    with Image.open(source / "01.png") as image:
        image.save(source / "01.png", icc_profile=profile)
    path = tmp_path / "out.csv"
    aezip.compress(source, path, quick_model(), compare=False)
    before = {x: (tmp_path / x).read_bytes() for x in ("out.csv", "out.h5")}
    seen = set()

    def look():
        archive = aezip.open(path)
        assert aezip.verify(path, source).wrong == []
        if "01.png" in archive:
            assert archive["01.png"].info["icc_profile"] == profile
        seen.add(len(archive))
        for name, data in before.items():
            (tmp_path / name).write_bytes(data)

    assert steps_of(lambda: aezip.remove(path, ["01.png"]), look) >= 6
    assert seen == {3, 2}


def test_fit_ended_at_any_step(tmp_path):
    path = shutil.copy(quick_model(), tmp_path / "m.h5")
    header, tensors = read_model(path)

    def look():
        assert read_model(path)[0]["arch"] == "pyramid"

    # What it writes every minute, and at the end.
    assert steps_of(lambda: write_model(path, {**header, "seed": 1}, tensors), look) >= 4
    assert read_model(path)[0]["seed"] == 1


# --- going on -----------------------------------------------------------------------------------


class EnoughError(Exception):
    pass


def stop_after(count):
    """For `progress`."""

    def stop(done, total):
        if done == count:
            raise EnoughError

    return stop


def interrupted(folder, path, after, monkeypatch, **options):
    """Compress, and break off after so many images."""

    with pytest.raises(EnoughError):
        aezip.compress(
            folder, path, quick_model(), compare=False, progress=stop_after(after), **options
        )


def test_resume_codes_only_the_rest(folder, tmp_path, monkeypatch):
    aezip.compress(folder, tmp_path / "whole.csv", quick_model(), compare=False)
    path = tmp_path / "out.csv"
    interrupted(folder, path, 2, monkeypatch)
    assert not path.exists() and partial_path(path).exists()
    coded, code = [], Coder.code

    def noted(self, names):
        coded.extend(names)
        return code(self, names)

    monkeypatch.setattr(Coder, "code", noted)
    told = []
    report = aezip.compress(
        folder, path, quick_model(), resume=True, compare=False, progress=lambda *x: told.append(x)
    )
    assert coded == ["02.png"] and told[0] == (2, 3)
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert report.images == 3 and len(report.psnrs) == 3
    assert not partial_path(path).exists()


def test_what_was_changed_meanwhile_is_coded_anew(folder, tmp_path, monkeypatch):
    changing = shutil.copytree(folder, tmp_path / "in")
    interrupted(changing, tmp_path / "o.csv", 3, monkeypatch)
    shutil.copy(changing / "00.png", changing / "01.png")
    (changing / "02.png").unlink()
    aezip.compress(changing, tmp_path / "o.csv", quick_model(), resume=True, compare=False)
    assert aezip.open(tmp_path / "o.csv").names == ["00.png", "01.png"]
    assert aezip.verify(tmp_path / "o.csv", changing).wrong == []


@pytest.mark.parametrize("options", [{"quality": 9}, {"min_psnr": 3.0}, {"keep_metadata": True}])
def test_other_work_is_not_gone_on_with(folder, tmp_path, monkeypatch, options):
    path = tmp_path / "o.csv"
    interrupted(folder, path, 1, monkeypatch)
    with pytest.raises(ArchiveError, match="what was interrupted was another command, or had ano"):
        aezip.compress(folder, path, quick_model(), resume=True, **options)
    assert partial_path(path).exists()
    aezip.compress(folder, path, quick_model(), compare=False, **options)
    assert not partial_path(path).exists()


def test_an_interrupted_add_is_not_gone_on_with_by_compress(folder, tmp_path):
    path = copied(quick_archive(), tmp_path)
    before = files(tmp_path)
    with pytest.raises(EnoughError):
        aezip.add(path, folder, progress=stop_after(2))
    for options in ([], ["--force"]):
        result = invoke(
            "compress", folder, "out.csv", "--model", quick_model(), "--resume", *options,
            cwd=tmp_path,
        )  # fmt: skip
        refused(result, "what was interrupted was another command")
    says = refused(invoke("compress", folder, "out.csv", "--model", quick_model(), cwd=tmp_path))
    assert "out.csv is there already" in says and "--resume" not in says
    left = files(tmp_path)
    assert left.pop("out.csv.partial") and left == before
    told = []
    aezip.add(path, folder, resume=True, progress=lambda *x: told.append(x))
    assert told[0] == (2, 3) and len(aezip.open(path)) == 6


def test_resume_replaces_no_archive_that_came_meanwhile(folder, tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    interrupted(folder, path, 2, monkeypatch)
    copied(quick_archive(), tmp_path)
    before = files(tmp_path)
    with pytest.raises(ArchiveError, match=r"out\.csv is there already"):
        aezip.compress(folder, path, quick_model(), resume=True, compare=False)
    assert files(tmp_path) == before
    aezip.compress(folder, path, quick_model(), resume=True, force=True, compare=False)
    assert len(aezip.open(path)) == 3 and not partial_path(path).exists()


@pytest.mark.parametrize("over", [False, True])
def test_compress_that_was_ended_at_any_step_can_be_gone_on_with(folder, tmp_path, over):
    """Without --force, over an archive that --force was given for at the start."""
    path = tmp_path / "out.csv"

    def work():
        aezip.compress(folder, path, quick_model(), force=over, compare=False)

    def look():
        report = aezip.compress(folder, path, quick_model(), resume=True, compare=False)
        assert report.images == 3 and aezip.verify(path, folder).wrong == []
        prepare()

    def prepare():
        for name in files(tmp_path):
            (tmp_path / name).unlink()
        if over:
            copied(digit_archive(), tmp_path)

    prepare()
    steps = 0
    while ended_after(steps, work):
        if partial_path(path).exists():
            look()
        else:
            prepare()
        steps += 1
    assert steps >= 8


@pytest.mark.parametrize("command", ["compress", "add"])
def test_other_images_of_the_same_names_are_not_taken_for_them(folder, tmp_path, command):
    """As after `mv a b; mv c a`, or in two folders made by one program."""
    one = shutil.copytree(folder, tmp_path / "in")
    other = shutil.copytree(folder, tmp_path / "other")
    for number in range(3):  # the same size and time, and not the same image
        path = other / f"{number:02}.png"
        with Image.open(path) as image:
            bare = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        for at in (one / path.name, path):
            bare.save(at, "BMP")
            bare = bare.rotate(180)
            os.utime(at, ns=(10**18, 10**18))
        assert os.stat(path).st_size == os.stat(one / path.name).st_size
    csv = copied(quick_archive(), tmp_path)

    def work(source, **options):
        if command == "add":
            aezip.add(csv, source, **options)
        else:
            aezip.compress(source, csv, quick_model(), force=True, compare=False, **options)

    with pytest.raises(EnoughError):
        work(one, progress=stop_after(2))
    with pytest.raises(ArchiveError, match="had another folder"):
        work(other, resume=True)
    (tmp_path / "in").rename(tmp_path / "away")
    other.rename(one)
    work(one, resume=True)
    assert aezip.verify(csv, one).wrong == []
    assert min(aezip.verify(csv, one).psnrs.values()) > 22


@pytest.mark.parametrize("field", ["size", "modified", "changed", "inode"])
def test_each_sign_of_a_change_counts_by_itself(folder, tmp_path, field):
    coded = Coder(load_model(quick_model())[0].frozen(), folder, SETTINGS).code(["00.png"])[0]
    assert compressing._unchanged(folder, coded)
    other = coded._replace(**{field: getattr(coded, field) + 1})
    assert not compressing._unchanged(folder, other)


def test_resume_with_nothing_to_go_on_from(folder, tmp_path):
    aezip.compress(folder, tmp_path / "o.csv", quick_model(), resume=True, compare=False)
    assert len(aezip.open(tmp_path / "o.csv")) == 3


@pytest.mark.parametrize("cut", [1, 40, 2000])
def test_a_journal_that_was_cut(folder, tmp_path, monkeypatch, cut):
    path = tmp_path / "o.csv"
    interrupted(folder, path, 3, monkeypatch)
    partial = partial_path(path)
    data = partial.read_bytes()
    partial.write_bytes(data[: max(len(data) - cut, 5)])
    aezip.compress(folder, path, quick_model(), resume=True, compare=False)
    assert aezip.verify(path, folder).wrong == []


def test_a_journal_of_a_stranger(folder, tmp_path):
    path = tmp_path / "o.csv"
    with writing(path) as journal:
        journal.begin({"other": 1})
        journal.add(b"{}")
    assert partial_path(path).exists()
    partial_path(path).write_bytes(os.urandom(500))
    aezip.compress(folder, path, quick_model(), resume=True, compare=False)
    assert aezip.verify(path, folder).wrong == []


# --- a disk that is full ------------------------------------------------------------------------


def test_a_full_disk_while_the_images_are_coded(folder, tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    interrupted(folder, path, 2, monkeypatch)
    most = partial_path(path).stat().st_size + 50  # for two images, and not for three
    partial_path(path).unlink()
    copied(digit_archive(), tmp_path)
    before = files(tmp_path)

    def limit():
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    options = ["--model", quick_model(), "--jobs", 1, "--force"]
    done = run("compress", folder, "out.csv", *options, cwd=tmp_path, preexec_fn=limit)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "aezip: out.csv cannot be written: file too large\n"
    left = files(tmp_path)
    assert len(left.pop("out.csv.partial")) <= most and left == before
    told = []
    aezip.compress(
        folder, path, quick_model(), resume=True, compare=False, progress=lambda *x: told.append(x)
    )
    assert told[0] == (2, 3) and aezip.verify(path, folder).wrong == []


_ON_A_SMALL_DISK = """
mkdir disk && mount -t tmpfs -o size=$1 tmpfs disk || exit 77
cp out.csv out.h5 disk && head -c $2 /dev/zero > disk/ballast && shift 2 && cd disk
"$@"
status=$?
rm ballast
cp -a . ../left
exit $status
"""
_DISK, _PAGE = 4 << 20, 4096  # bytes


@pytest.mark.parametrize("full", ["at once", "with the journal", "with the rows"])
def test_a_disk_that_is_full(folder, tmp_path, monkeypatch, full):
    """As of a user who may mount one; what it holds is copied to `left` in the end."""
    source = shutil.copytree(folder, tmp_path / "in")
    noise = np.random.default_rng(0).integers(0, 256, (250, 250, 3), np.uint8)
    Image.fromarray(noise).save(source / "noise.png")
    (tmp_path / "x").mkdir()
    interrupted(source, tmp_path / "x" / "out.csv", 4, monkeypatch)
    journal = partial_path(tmp_path / "x" / "out.csv").stat().st_size
    aezip.compress(source, tmp_path / "x" / "out.csv", quick_model(), compare=False)
    rows = sum((tmp_path / "x" / name).stat().st_size for name in ("out.csv", "out.h5"))
    rows -= 2 * _PAGE  # what is missing is missed by the larger of the two, which is written last
    copied(digit_archive(), tmp_path)
    before = files(digit_archive().parent)
    free = {"at once": 0, "with the journal": journal, "with the rows": journal + rows}[full]
    # Each file takes whole pages; one more is left free.
    taken = sum(-(-x // _PAGE) for x in (*map(len, before.values()), free, _PAGE))
    ballast = _DISK - _PAGE * taken
    words = ["unshare", "-rm", "sh", "-c", _ON_A_SMALL_DISK, "sh", _DISK, ballast, sys.executable]
    words += ["-m", "aezip", "compress", source, "out.csv", "--model", quick_model(), "--force"]
    if shutil.which("unshare") is None:
        pytest.skip("only where unshare is")
    done = subprocess.run(
        [str(x) for x in [*words, "--jobs", 1]], cwd=tmp_path, env=environment(),
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if not (tmp_path / "left").exists():
        pytest.skip("no disk may be mounted here")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "aezip: out.csv cannot be written: no space left on device\n"
    left = files(tmp_path / "left")
    left.pop("out.csv.partial", None)
    assert left == before
