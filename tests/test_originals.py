from __future__ import annotations

from pathlib import Path

import pytest
from folders import invoke, refused, renamed_digit
from PIL import Image

import aezip
from aezip.originals import original_path, read_original

OUTSIDE = ["../secret.png", "/secret.png", "a/../../secret.png", "..", "a/.."]


@pytest.fixture
def here(tmp_path):
    """A folder of originals with a secret beside it, which is an image of the right size."""
    Image.new("L", (28, 28)).save(tmp_path / "secret.png")
    (tmp_path / "originals" / "a").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("folder", ["originals", ".", "..", "/originals"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_the_folder(folder, name):
    with pytest.raises(aezip.ImageError, match="lies outside of"):
        original_path(folder, name)
    assert original_path(folder, "a/b..png") == Path(folder, "a", "b..png")


def test_links_of_the_folder_are_followed_as_compress_does(here):
    (here / "originals" / "link.png").symlink_to(here / "secret.png")
    assert read_original(here / "originals", "link.png").size == (28, 28)


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "a/../../secret.png"])
def test_sheet_and_verify_read_nothing_outside_of_the_folder(here, name):
    name = f"{here}{name}" if name[0] == "/" else name
    renamed_digit(here / "x.csv", name)
    refused(invoke("sheet", "x.csv", "x.png", "--against", "originals", cwd=here),
            f"{name} lies outside of originals")  # fmt: skip
    done = invoke("verify", "x.csv", "--against", "originals", cwd=here)
    assert done.exit_code == 1 and f"{name} lies outside of originals" in done.stderr
    assert "dB" not in done.stdout + done.stderr


def test_a_name_that_no_file_can_have(here):
    renamed_digit(here / "x.csv", "a\0b")
    refused(invoke("sheet", "x.csv", "x.png", "--against", "originals", cwd=here), "a\\x00b")
    invoke("verify", "x.csv", "--against", "originals", cwd=here)  # no traceback
