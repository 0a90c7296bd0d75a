import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from crashes import Compressing, Fitting, many
from folders import copied, digit_archive, files, photos, quick_model, run

import aezip
from aezip import compressing
from aezip.coding import Coder
from aezip.errors import ArchiveError
from aezip.storage.hdf5 import read_model, write_model
from aezip.storage.journal import partial_path, writing

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


def interrupted(folder, path, after, monkeypatch, **options):
    """Compress, and break off after so many images."""

    def stop(done, total):
        if done == after:
            raise EnoughError

    with pytest.raises(EnoughError):
        aezip.compress(folder, path, quick_model(), compare=False, progress=stop, **options)


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
    with pytest.raises(ArchiveError, match="what was interrupted had another model or other opt"):
        aezip.compress(folder, path, quick_model(), resume=True, **options)
    assert partial_path(path).exists()
    aezip.compress(folder, path, quick_model(), compare=False, **options)
    assert not partial_path(path).exists()


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


def test_what_does_not_read_back_keeps_the_journal(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        compressing, "write_rows", lambda path, rows, *rest: write_rows(path, rows[1:], *rest)
    )
    from aezip.storage.rows import write_rows

    with pytest.raises(ArchiveError, match="does not read back"):
        aezip.compress(folder, tmp_path / "o.csv", quick_model(), compare=False)
    assert partial_path(tmp_path / "o.csv").exists()
