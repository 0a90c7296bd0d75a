from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest
from folders import foreign_colours
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageShow

from aezip import display, images
from aezip.display import terminal_text
from aezip.errors import ImageError

posix = pytest.mark.skipif(os.name != "posix", reason="needs a terminal of a POSIX system")
CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+)(?:;48;2;(\d+);(\d+);(\d+))?m\u2580")
SIZES = st.integers(1, 60)


def drawn(text: str) -> np.ndarray:
    """The pixels that a terminal shows: (height, width, 3). Fails for anything else in the text."""
    rows = []
    lines = text.split("\n")
    for line in lines:
        assert line.endswith("\x1b[0m")
        cells = line.removesuffix("\x1b[0m")
        found = CELL.findall(cells)
        assert CELL.sub("", cells) == ""
        rows.append([[int(x) for x in cell[:3]] for cell in found])
        below = [[int(x) for x in cell[3:] if x] for cell in found]
        if any(below) or line is not lines[-1]:
            rows.append(below)  # ragged, which NumPy refuses, where a colour is missing
    pixels = np.array(rows)
    assert pixels.ndim == 3 and pixels.min() >= 0 and pixels.max() <= 255
    return pixels.astype(np.uint8)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    size = height, width, images.MODES.index(mode) + 1
    return images.from_array(rng.integers(0, 256, size, np.uint8))


@given(width=SIZES, height=SIZES)
def test_an_image_that_fits_is_shown_pixel_by_pixel(width, height):
    image = noise(width, height)
    assert np.array_equal(drawn(terminal_text(image, width, (height + 1) // 2)), np.asarray(image))


def test_two_pixels_a_character():
    image = Image.frombytes("RGB", (2, 3), bytes(range(18)))
    assert terminal_text(image, 2, 2) == (
        "\x1b[38;2;0;1;2;48;2;6;7;8m▀\x1b[38;2;3;4;5;48;2;9;10;11m▀\x1b[0m\n"
        "\x1b[38;2;12;13;14m▀\x1b[38;2;15;16;17m▀\x1b[0m"
    )


@given(width=SIZES, height=SIZES, columns=SIZES, rows=SIZES)
@example(width=1, height=1, columns=80, rows=23)
def test_a_small_image_is_enlarged_by_the_greatest_whole_factor(width, height, columns, rows):
    factor = max(1, min(columns // width, 2 * rows // height))
    image = noise(width, height)
    pixels = drawn(terminal_text(image, columns, rows))
    assert pixels.shape[1] <= columns and (len(pixels) + 1) // 2 <= rows
    if width <= columns and height <= 2 * rows:
        assert np.array_equal(pixels, np.repeat(np.repeat(image, factor, 0), factor, 1))


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), columns=SIZES, rows=SIZES)
@example(width=3000, height=1, columns=10, rows=5)
@example(width=1, height=3000, columns=10, rows=5)
@example(width=121, height=20, columns=60, rows=60)
def test_it_fits_with_its_proportions(width, height, columns, rows):
    text = terminal_text(Image.new("L", (width, height)), columns, rows)
    shown_height, shown_width = drawn(text).shape[:2]
    assert 1 <= shown_width <= columns and 1 <= (shown_height + 1) // 2 <= rows
    scale = min(columns / width, 2 * rows / height)
    scale = int(scale) if scale >= 1 else scale
    assert abs(shown_width - width * scale) < 1 and abs(shown_height - height * scale) < 1


def test_a_large_image_is_scaled_down_smoothly():
    x = np.mgrid[:300, :400][1]
    stripes = (x % 2 * 255).astype(np.uint8)  # averaged, not picked
    ramp = (x * 255 // 399).astype(np.uint8)
    image = Image.fromarray(np.dstack([stripes, ramp, 0 * stripes + 7]))
    pixels = drawn(terminal_text(image, 40, 50))
    assert pixels.shape == (30, 40, 3)
    assert np.abs(pixels[..., 0].astype(int) - 128).max() < 9
    expected = (np.arange(40) * 10 + 4.5) * 255 / 399
    assert np.abs(pixels[..., 1] - expected).max() < 4
    assert (pixels[..., 2] == 7).all()


def test_grey_is_grey():
    pixels = drawn(terminal_text(noise(5, 4, "L"), 5, 2))
    assert np.array_equal(pixels, np.repeat(images.to_array(noise(5, 4, "L")), 3, 2))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_lets_a_chequered_board_through(mode):
    size = 16, 12
    clear, half, solid = (
        drawn(terminal_text(Image.merge(mode, (*colour, Image.new("L", size, alpha))), 16, 6))
        for colour in [noise(*size, mode.rstrip("A")).split()]
        for alpha in (0, 128, 255)
    )
    board = clear[..., 0].astype(int)
    assert np.array_equal(clear, np.repeat(clear[..., :1], 3, 2)) and len(set(board.flat)) == 2
    for y in range(0, 12, 4):
        for x in range(0, 16, 4):
            square = board[y : y + 4, x : x + 4]
            assert (square == square[0, 0]).all()
            assert square[0, 0] != board[(y + 4) % 8, x]
            assert square[0, 0] != board[y, (x + 4) % 8]
    colour = np.asarray(noise(*size, mode.rstrip("A")).convert("RGB"))
    assert np.array_equal(solid, colour)
    assert np.abs(half - (colour * (128 / 255) + clear * (127 / 255))).max() <= 1


def test_colours_are_those_that_the_profile_means():
    image = Image.new("RGBA", (2, 2), (200, 30, 10, 255))
    image.info["icc_profile"] = foreign_colours()
    assert np.abs(drawn(terminal_text(image, 2, 1)) - [30, 200, 10.0]).max() <= 2
    for mode, profile in (("RGB", b"damaged"), ("L", foreign_colours())):
        image = noise(3, 2, mode)
        image.info["icc_profile"] = profile
        assert np.array_equal(drawn(terminal_text(image, 3, 1)), np.asarray(image.convert("RGB")))


def test_the_board_is_no_larger_for_a_small_image():
    pixels = drawn(terminal_text(Image.new("LA", (1, 1)), 16, 8))
    assert len({pixels[y, x, 0] for y in (0, 4) for x in (0, 4)}) == 2


def test_hidden_colours_do_not_bleed_into_a_smaller_picture():
    image = Image.new("RGBA", (200, 200), (255, 0, 0, 0))
    image.paste((0, 255, 0, 255), (0, 0, 100, 200))
    assert (drawn(terminal_text(image, 20, 10))[..., 0] <= 160).all()


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (30_000, 3), (2000, 2000)])
def test_extreme_sizes(size):
    pixels = drawn(terminal_text(Image.new("RGB", size, (9, 8, 7)), 80, 23))
    assert 1 <= pixels.shape[0] <= 46 and 1 <= pixels.shape[1] <= 80
    assert (pixels == (9, 8, 7)).all()


@pytest.mark.parametrize("mode", images.MODES)
def test_the_picture_itself_stays_as_it_is(mode):
    image = noise(9, 7, mode)
    before = image.tobytes()
    for columns in (4, 40):
        terminal_text(image, columns, columns)
    assert (image.mode, image.size, image.tobytes()) == (mode, (9, 7), before)


# Where it is shown


@pytest.fixture
def no_screen(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


class Viewer(ImageShow.Viewer):
    """One that Pillow finds first, and that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[Image.Image, str]] = []
        self.error: Exception | None = None
        self.able = 1

    def show(self, image: Image.Image, **options: object) -> int:
        if self.error:
            raise self.error
        self.shown.append((image, str(options["title"])))
        return self.able


@pytest.fixture
def viewer(monkeypatch, no_screen):
    only = Viewer()
    monkeypatch.setattr(ImageShow, "_viewers", [only])
    return only


@pytest.mark.parametrize(
    ("platform", "variable"),
    [("linux", "DISPLAY"), ("linux", "WAYLAND_DISPLAY"), ("darwin", None), ("win32", None)],
)
def test_a_screen_has_a_viewer(viewer, monkeypatch, capsys, platform, variable):
    if variable:
        monkeypatch.setenv(variable, ":0")
    monkeypatch.setattr(sys, "platform", platform)
    image = noise(3, 2)
    display.show(image, "photo.jpg")
    assert viewer.shown == [(image, "photo.jpg")]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("empty", [True, False])
def test_without_a_screen_it_is_drawn(viewer, monkeypatch, capsys, empty):
    if empty:
        monkeypatch.setenv("DISPLAY", "")
    display.show(noise(3, 2), "photo.jpg")
    assert viewer.shown == []
    assert drawn(capsys.readouterr().out.removesuffix("\n")).shape[1] > 3


def test_with_a_screen_but_no_viewer_it_is_drawn(viewer, monkeypatch, capsys):
    monkeypatch.setenv("DISPLAY", ":0")
    viewer.able = 0
    display.show(noise(3, 2), "photo.jpg")
    assert "▀" in capsys.readouterr().out
    viewer.able, viewer.error = 1, OSError("no space left on device")
    display.show(noise(3, 2), "photo.jpg")
    assert "▀" in capsys.readouterr().out


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS always opens its own viewer")
def test_pillow_starts_the_systems_viewer(tmp_path):
    """A program of its name, in a process of its own: Pillow looks for it when it is loaded."""
    program = tmp_path / "xdg-open"
    program.write_text(
        f'#!/bin/sh\ncd "{tmp_path}" && /bin/cp "$1" copy.png && /bin/mv copy.png shown.png\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    code = (
        "import os, time\n"
        "from aezip import display\n"
        "from PIL import Image\n"
        "display.show(Image.new('LA', (3, 2), (200, 255)), 'title')\n"
        f"while not os.path.exists({str(tmp_path / 'shown.png')!r}): time.sleep(0.01)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": str(tmp_path), "DISPLAY": ":0", "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "" and done.stderr == ""
    with Image.open(tmp_path / "shown.png") as shown:
        assert shown.size == (3, 2) and shown.convert("LA").getpixel((0, 0)) == (200, 255)


def test_a_pipe_is_80_columns_wide_whatever_the_height(no_screen, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "7")
    monkeypatch.setenv("LINES", "3")
    display.show(Image.new("L", (300, 300)), "photo.jpg")
    assert drawn(capsys.readouterr().out.removesuffix("\n")).shape == (80, 80, 3)
    display.show(Image.new("L", (300, 3000)), "photo.jpg")
    assert len(drawn(capsys.readouterr().out.removesuffix("\n"))) == 160


@posix
@pytest.mark.parametrize(("columns", "lines"), [(30, 12), (30, 2), (5, 1)])
def test_a_terminal_is_never_exceeded(tmp_path, columns, lines):
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
    code = (
        "from aezip import display\n"
        "from PIL import Image\n"
        "display.show(Image.new('L', (100, 80), 9), 'title')\n"
    )
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "COLUMNS", "LINES")
    env = {k: v for k, v in os.environ.items() if k not in hidden}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=follower, env=env)
    os.close(follower)
    data = b""
    try:
        while chunk := os.read(leader, 65536):
            data += chunk
    except OSError:  # how the end of a terminal is told on Linux
        pass
    os.close(leader)
    assert process.wait() == 0
    text = data.decode().replace("\r\n", "\n")
    assert text.endswith("\n")
    pixels = drawn(text.removesuffix("\n"))
    assert pixels.shape[1] <= columns
    assert (len(pixels) + 1) // 2 <= max(lines - 1, 1)  # and a line for the prompt
    assert pixels.shape[1] == columns or (len(pixels) + 1) // 2 == max(lines - 1, 1)
    assert (pixels == 9).all()


def test_an_encoding_without_half_blocks_is_an_error_of_one_line(no_screen, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(ImageError, match=r"latin-1.* saved to a file"):
        display.show(noise(2, 2), "photo.jpg")
    out.flush()
    assert out.buffer.getvalue() == b""


def test_any_stream_of_text_will_do(no_screen, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    display.show(noise(2, 2), "photo.jpg")
    assert drawn(out.getvalue().removesuffix("\n")).shape == (80, 80, 3)
