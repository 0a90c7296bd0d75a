from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageShow
from samples import photograph

from aezip import display
from aezip.errors import ImageError

CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+)(?:;48;2;(\d+);(\d+);(\d+))?m\u2580")
DARK, LIGHT = 102, 153


def pixels_of(text: str) -> np.ndarray:
    """(height, width, 3): what a terminal that understands `text` shows."""
    rows: list[list[tuple[int, ...]]] = []
    for line in text.split("\n"):
        assert line.endswith("\x1b[0m")
        line = line.removesuffix("\x1b[0m")
        cells = list(CELL.finditer(line))
        assert "".join(cell[0] for cell in cells) == line
        rows.append([tuple(map(int, cell.group(1, 2, 3))) for cell in cells])
        if any(cell[4] for cell in cells):
            rows.append([tuple(map(int, cell.group(4, 5, 6))) for cell in cells])
    pixels = np.array(rows)
    assert pixels.ndim == 3 and pixels.min() >= 0 and pixels.max() <= 255
    return pixels


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, len(mode))
    values = np.random.default_rng(width + 100 * height).integers(0, 256, shape, np.uint8)
    return Image.fromarray(values[..., 0] if mode == "L" else values, mode)


class TestTerminalText:
    @given(st.integers(1, 9), st.integers(1, 9), st.integers(9, 40), st.integers(5, 20))
    def test_enlarged_by_whole_factors(self, width: int, height: int, columns: int, rows: int):
        image = noise(width, height)
        factor = min(columns // width, 2 * rows // height)
        expected = np.asarray(image).repeat(factor, axis=0).repeat(factor, axis=1)
        assert (pixels_of(display.terminal_text(image, columns, rows)) == expected).all()

    @pytest.mark.parametrize("size", [(80, 46), (79, 45), (1, 45), (80, 1), (41, 24)])
    def test_exact_where_it_fits(self, size: tuple[int, int]) -> None:
        image = noise(*size)
        text = display.terminal_text(image, 80, 23)
        assert (pixels_of(text) == np.asarray(image)).all()
        assert len(text.split("\n")) == (size[1] + 1) // 2

    def test_grey(self) -> None:
        image = noise(7, 5, "L")
        expected = np.asarray(image)[..., None].repeat(3, axis=2)
        assert (pixels_of(display.terminal_text(image, 7, 3)) == expected).all()

    @given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 90), st.integers(1, 40))
    def test_never_too_large(self, width: int, height: int, columns: int, rows: int) -> None:
        shown = pixels_of(display.terminal_text(noise(width, height, "L"), columns, rows))
        assert shown.shape[0] <= 2 * rows and shown.shape[1] <= columns
        # As large as a whole factor, or the shrinking of the tighter side, lets it be.
        if width <= columns and height <= 2 * rows:
            assert shown.shape[1] + width > columns or shown.shape[0] + height > 2 * rows
        else:
            assert shown.shape[1] == columns or shown.shape[0] == 2 * rows

    def test_proportions(self) -> None:
        for size, expected in [((480, 320), (80, 53)), ((320, 480), (53, 80))]:
            text = display.terminal_text(Image.new("RGB", size), 80, 40)
            assert pixels_of(text).shape[1::-1] == expected

    @pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (30_000, 3), (5000, 5000)])
    def test_extreme_sizes(self, size: tuple[int, int]) -> None:
        shown = pixels_of(display.terminal_text(Image.new("RGB", size, (9, 8, 7)), 80, 23))
        assert 1 <= shown.shape[0] <= 46 and 1 <= shown.shape[1] <= 80
        assert (shown == (9, 8, 7)).all()

    def test_shrunk_is_like_the_picture(self) -> None:
        picture = photograph("fig")
        shown = pixels_of(display.terminal_text(Image.fromarray(picture), 48, 16))
        means = picture.reshape(32, 10, 48, 10, 3).mean(axis=(1, 3))
        assert shown.shape == means.shape
        assert np.abs(shown - means).mean() < 6

    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_transparency_shows_a_board(self, mode: str) -> None:
        shown = pixels_of(display.terminal_text(Image.new(mode, (12, 8)), 12, 4))
        dark, light = np.full((4, 4), DARK), np.full((4, 4), LIGHT)
        board = np.block([[dark, light, dark], [light, dark, light]])
        assert (shown == board[..., None]).all()

    def test_half_transparent(self) -> None:
        shown = pixels_of(display.terminal_text(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), 8, 4))
        for x, ground in [(0, DARK), (4, LIGHT)]:
            expected = np.array([255, 0, 0]) * 128 / 255 + ground * 127 / 255
            assert np.abs(shown[0, x] - expected).max() <= 1

    def test_the_board_is_as_fine_in_all_sizes(self) -> None:
        for size in (2, 800):
            shown = pixels_of(display.terminal_text(Image.new("RGBA", (size, size)), 16, 8))
            assert (shown[0, :, 0] == np.repeat([DARK, LIGHT, DARK, LIGHT], 4)).all()

    def test_what_is_opaque_hides_the_board(self) -> None:
        image = noise(9, 7, "RGBA")
        image.putalpha(255)
        shown = pixels_of(display.terminal_text(image, 9, 4))
        assert (shown == np.asarray(image)[..., :3]).all()

    def test_colours_of_what_is_transparent_do_not_bleed(self) -> None:
        """Shrinking mixes pixels: those that are not seen must not take part."""
        image = Image.new("RGBA", (160, 160), (255, 0, 0, 0))
        image.paste((0, 0, 255, 255), (0, 0, 80, 160))
        shown = pixels_of(display.terminal_text(image, 16, 8))
        assert (shown[..., 0] <= LIGHT).all()
        assert (shown[:, :7] == (0, 0, 255)).all()

    def test_the_picture_is_not_changed(self) -> None:
        image = noise(9, 9, "RGBA")
        before = image.tobytes()
        display.terminal_text(image, 4, 2)
        assert image.tobytes() == before and image.mode == "RGBA"


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


class Viewer(ImageShow.Viewer):
    """One that copies what it is lent."""

    def __init__(self, copy: Path, *, answer: int = 1, error: OSError | None = None) -> None:
        self.copy, self.answer, self.error = copy, answer, error

    def show_file(self, path: str, **options: object) -> int:
        if self.error:
            raise self.error
        self.copy.write_bytes(Path(path).read_bytes())
        return self.answer


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="these always have a screen")
class TestShow:
    def test_draws_without_a_screen(self, no_screen: None, capsys: pytest.CaptureFixture[str]):
        image = noise(80, 60)
        display.show(image, "title")
        out, err = capsys.readouterr()
        assert out[-1] == "\n" and not err
        assert (pixels_of(out[:-1]) == np.asarray(image)).all()

    def test_never_wider_than_a_pipe_should_be(
        self, no_screen: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        display.show(noise(500, 400), "title")
        assert pixels_of(capsys.readouterr().out[:-1]).shape == (64, 80, 3)

    @pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY"])
    def test_viewer(
        self,
        no_screen: None,
        variable: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv(variable, ":0")
        monkeypatch.setattr(ImageShow, "_viewers", [Viewer(tmp_path / "copy")])
        image = noise(9, 5, "RGBA")
        display.show(image, "title")
        assert capsys.readouterr() == ("", "")
        with Image.open(tmp_path / "copy") as copy:
            assert copy.tobytes() == image.tobytes()

    @pytest.mark.parametrize("problem", ["no viewer", "refuses", "no space"])
    def test_draws_without_a_viewer(
        self,
        problem: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("DISPLAY", ":0")
        viewers = {
            "no viewer": [],
            "refuses": [Viewer(tmp_path / "copy", answer=0)],
            "no space": [Viewer(tmp_path / "copy", error=OSError(28, "no space"))],
        }
        monkeypatch.setattr(ImageShow, "_viewers", viewers[problem])
        image = noise(80, 5)
        display.show(image, "title")
        assert (pixels_of(capsys.readouterr().out[:-1]) == np.asarray(image)).all()

    @pytest.mark.parametrize("encoding, works", [("ascii", False), ("cp1252", False),
                                                 ("cp437", True), ("utf-8", True)])  # fmt: skip
    def test_encodings(
        self, no_screen: None, encoding: str, works: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
        if works:
            display.show(noise(80, 6), "title")
            assert pixels_of(written.getvalue().decode(encoding)[:-1]).shape == (6, 80, 3)
        else:
            with pytest.raises(ImageError, match=f"encoding, {encoding}, has no characters"):
                display.show(noise(80, 6), "title")
            assert written.getvalue() == b""

    @pytest.mark.parametrize("columns, lines", [(40, 10), (100, 3), (30, 1)])
    def test_fits_a_terminal(self, columns: int, lines: int) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        program = (
            "from PIL import Image; from aezip import display\n"
            "display.show(Image.new('RGB', (300, 200), (1, 2, 3)), 'title')"
        )
        hidden = ("DISPLAY", "WAYLAND_DISPLAY", "COLUMNS", "LINES")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        environment["PYTHONIOENCODING"] = "utf-8"
        process = subprocess.Popen([sys.executable, "-c", program], stdout=slave, env=environment)
        os.close(slave)
        out = b""
        try:
            while part := os.read(master, 1 << 16):
                out += part
        except OSError:  # how Linux says that the other side is closed
            pass
        os.close(master)
        assert process.wait() == 0
        text = out.decode().replace("\r\n", "\n")
        shown = pixels_of(text[:-1])
        rows = max(lines - 1, 1)
        assert text[-1] == "\n" and text.count("\n") <= rows
        assert shown.shape[1] <= columns
        assert shown.shape[1] == columns or shown.shape[0] == 2 * rows
        assert (shown == (1, 2, 3)).all()
