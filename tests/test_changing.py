import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from folders import (
    DIGITS,
    copied,
    digit_archive,
    digit_model,
    environment,
    files,
    invoke,
    photos,
    pixels,
    quick_archive,
    quick_model,
    refused,
    run,
)
from PIL import Image
from samples import DATA

import aezip
from aezip import images
from aezip.errors import ArchiveError, ModelError
from aezip.storage.journal import partial_path, writing


@pytest.fixture
def here(tmp_path):
    """A folder with the photographs' archive `out.csv`, and two more photographs in `more`."""
    (tmp_path / "more" / "sub").mkdir(parents=True)
    for name, target in (("fig", "fig.png"), ("stream", "sub/stream.png")):
        with Image.open(DATA / "photos" / f"{name}.jpg") as image:
            image.crop((100, 100, 170, 150)).save(tmp_path / "more" / target)
    return copied(quick_archive(), tmp_path).parent


def rows(path):
    return path.read_bytes().split(b"\n")[1:-1]


def damage(path, number):
    lines = path.read_bytes().split(b"\n")
    lines[number + 1] = lines[number + 1][:-1] + (b"!" if lines[number + 1][-1:] != b"!" else b"#")
    path.write_bytes(b"\n".join(lines))


# --- adding -------------------------------------------------------------------------------------


def test_add_leaves_the_rows_as_they_are(here):
    before, decoder = rows(here / "out.csv"), (here / "out.h5").read_bytes()
    done = run("add", "out.csv", "more", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("added 2 images: ")
    after = rows(here / "out.csv")
    assert after[:3] == before and len(after) == 5
    assert (here / "out.h5").read_bytes() == decoder
    archive = aezip.open(here / "out.csv")
    assert archive.names[3:] == ["fig.png", "sub/stream.png"]
    assert archive.row("fig.png").quality == 50
    assert aezip.verify(here / "out.csv", here / "more").wrong == []
    assert sorted(files(here)) == ["more/fig.png", "more/sub/stream.png", "out.csv", "out.h5"]


def test_what_is_there_is_not_added_again(here):
    aezip.add(here / "out.csv", here / "more")
    before = files(here)
    os.utime(here / "more" / "fig.png", (5, 5))  # copied, say
    report = aezip.add(here / "out.csv", here / "more")
    assert (report.images, report.there, report.failed) == (0, 2, [])
    assert files(here) == before
    shutil.copy(here / "more" / "sub" / "stream.png", here / "more" / "fig.png")
    os.utime(here / "more" / "fig.png", (7, 7))
    result = invoke("add", "out.csv", "more", cwd=here)
    assert result.exit_code == 1
    assert result.stderr == "aezip: fig.png: another image of this name is in the archive\n"
    assert files(here)["out.csv"] == before["out.csv"]


def test_what_differs_from_the_others_makes_new_columns(here):
    """All digits of one archive are alike; what is added differs in all there is."""
    path = copied(digit_archive(), here)
    before = rows(path)
    os.utime(here / "more" / "fig.png", (10, 10))
    with Image.open(here / "more" / "fig.png") as image:
        image.info["icc_profile"] = b"\0" * 16 + b"RGB " + b"\0" * 200
        image.info["exif"] = b"Exif\0\0MM\0*\0\0\0\10\0\0\0\0\0\0"
        images.write(image, here / "more" / "fig.png")
    aezip.add(path, here / "more", digit_model(), lossless=True, keep_metadata=True)
    assert rows(path)[:40] == before
    title = path.read_text().split("\n")[0]
    assert title.split(",")[3:] == ["size", "mode", "quality", "time", "profile", "exif"]
    archive = aezip.open(path)
    assert np.array_equal(images.to_array(archive["fig.png"]), pixels(here / "more" / "fig.png"))
    assert archive["fig.png"].info["icc_profile"][16:20] == b"RGB "
    assert aezip.verify(path, here / "more").wrong == []
    assert aezip.open(digit_archive()).decoder_id == archive.decoder_id


def test_a_spreadsheets_file_stays_one(here):
    path = here / "out.csv"
    text = path.read_text().replace("\n", "\r\n")
    path.write_text(text, "utf-16", newline="")
    before = path.read_bytes()
    aezip.add(path, here / "more")
    after = path.read_bytes()
    assert after.startswith(b"\xff\xfe") and before[before.index(b"\n\0") :] in after
    assert aezip.verify(path, here / "more").wrong == []


def test_dense_needs_its_model(here, tmp_path):
    path = copied(digit_archive(), here)
    (here / "digits").mkdir()
    with Image.open(DIGITS / "0003.png") as image:
        image.rotate(90).save(here / "digits" / "new.png")
    refused(invoke("add", "out.csv", "digits", cwd=here), "compressed with another model")
    with pytest.raises(ModelError, match=r"quick\.h5 is it"):
        aezip.add(path, here / "digits", quick_model())
    (here / "models").mkdir()
    shutil.copy(digit_model(), here / "models" / "any name.h5")
    shutil.copy(quick_model(), here / "models" / "a.h5")
    before = rows(path)
    assert invoke("add", "out.csv", "digits", cwd=here).exit_code == 0
    assert rows(path)[:40] == before and "new.png" in aezip.open(path)


def test_nothing_is_added_to_what_is_not_whole(here):
    lines = (here / "out.csv").read_bytes().split(b"\n")
    (here / "out.csv").write_bytes(b"\n".join([*lines[:2], *lines[3:]]))
    before = files(here)
    for command in (["add", "out.csv", "more"], ["remove", "out.csv", "--name", "lake.png"]):
        refused(invoke(*command, cwd=here), "has 2 of its 3 rows", "--force takes the rows as")
    assert files(here) == before
    assert invoke("add", "out.csv", "more", "--force", cwd=here).exit_code == 0
    assert aezip.verify(here / "out.csv").wrong == []
    assert len(aezip.open(here / "out.csv")) == 4


# --- removing -----------------------------------------------------------------------------------


def test_remove(here):
    before = rows(here / "out.csv")
    done = run("remove", "out.csv", "--name", "drum.jpg", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "removed drum.jpg\n", "")
    assert rows(here / "out.csv") == [before[0], before[2]]
    assert aezip.verify(here / "out.csv").wrong == []
    before = files(here)
    line = refused(
        invoke("remove", "out.csv", "--name", "lake.png", "--name", "x\n.png", cwd=here)
    )
    assert line == "aezip: out.csv has no image named x\\n.png\n"
    assert files(here) == before
    assert invoke("remove", "out.csv", cwd=here).exit_code == 2
    aezip.remove(here / "out.csv", ["lake.png", "animals/dogs.png"])
    assert len(aezip.open(here / "out.csv")) == 0 and aezip.verify(here / "out.csv").wrong == []


def test_what_is_beyond_a_limit_is_not_damaged(here, monkeypatch):
    before = (here / "out.csv").read_bytes()
    longest = max(map(len, before.split(b"\n")))
    monkeypatch.setenv("AEZIP_MAX_PIXELS", "1")
    assert run("remove", "out.csv", "--damaged", cwd=here).stdout == "nothing was removed\n"
    monkeypatch.setenv("AEZIP_MAX_ROW_BYTES", str(longest - 1))
    for what in (["--damaged"], ["--name", "drum.jpg"]):  # which others would have to be copied for
        refused(invoke("remove", "out.csv", *what, cwd=here), "is longer than", "MAX_ROW_BYTES)")
    assert (here / "out.csv").read_bytes() == before


def test_what_is_damaged_can_be_removed_and_added_again(here):
    before = rows(here / "out.csv")
    damage(here / "out.csv", 1)
    done = run("remove", "out.csv", "--damaged", cwd=here)
    assert (done.returncode, done.stdout) == (0, "removed drum.jpg\n")
    assert rows(here / "out.csv") == [before[0], before[2]]
    report = aezip.add(here / "out.csv", photos())
    assert (report.images, report.there) == (1, 2)
    assert aezip.verify(here / "out.csv", photos()).wrong == []
    assert run("remove", "out.csv", "--damaged", cwd=here).stdout == "nothing was removed\n"


# --- two at once --------------------------------------------------------------------------------


def test_a_second_writer_is_refused(here):
    before = files(here)
    with writing(here / "out.csv"):
        for command in (
            ["add", "out.csv", "more"], ["remove", "out.csv", "--name", "lake.png"],
            ["compress", "more", "out.csv", "--model", quick_model(), "--force"],
        ):  # fmt: skip
            done = run(*command, cwd=here)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == (
                "aezip: another aezip is writing out.csv; wait until it has ended\n"
            )
    assert files(here) == before
    assert not partial_path(here / "out.csv").exists()


def test_adding_from_several_processes_at_once_loses_nothing(here):
    code = (
        "import sys, aezip, time\n"
        "while True:\n"
        "    try: aezip.add('out.csv', sys.argv[1]); break\n"
        "    except aezip.ArchiveError as error: assert 'another aezip' in str(error), error\n"
        "    time.sleep(0.05)\n"
    )
    for number in range(3):
        (here / f"{number}").mkdir()
        shutil.copy(here / "more" / "fig.png", here / f"{number}" / f"{number}.png")
    processes = [
        subprocess.Popen([sys.executable, "-c", code, f"{n}"], cwd=here, env=environment())
        for n in range(3)
    ]
    assert [x.wait(120) for x in processes] == [0, 0, 0]
    assert {"0.png", "1.png", "2.png"} <= set(aezip.open(here / "out.csv").names)
    assert aezip.verify(here / "out.csv").wrong == []


def test_the_image_is_measured_against_the_promise_of_the_archive(here):
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(here / "more" / "noise.png")
    report = aezip.add(here / "out.csv", here / "more", quality=1)
    assert report.promise == aezip.open(here / "out.csv").promise > 19
    assert min(report.psnrs.values()) >= report.promise
    assert report.finer + report.exact >= 1


def test_where_nothing_can_be_added(here):
    (here / "empty").mkdir()
    refused(invoke("add", "out.csv", "empty", cwd=here), "empty holds no images")
    refused(invoke("add", "none.csv", "more", cwd=here), "none.csv: there is no such file")
    refused(invoke("remove", "none.csv", "--name", "a", cwd=here), "there is no such file")
    refused(invoke("verify", "none.csv", cwd=here), "none.csv: there is no such file")
    assert sorted(x.name for x in here.iterdir()) == ["empty", "more", "out.csv", "out.h5"]
    with pytest.raises(ArchiveError, match=r"ends in \.csv"):
        aezip.add(here / "out.h5", here / "more")
