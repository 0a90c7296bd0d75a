from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, PngImagePlugin
from samples import photograph

from aezip import images
from aezip.errors import ImageError

FORMATS = (
    "png", "tif", "webp", "avif", "jpg", "bmp", "gif", "jp2", "tga", "ico", "pcx", "ppm", "sgi",
    "dds",
)  # fmt: skip
# The mode in which a file of Pillow's mode arrives from a format that keeps that mode.
ARRIVES = {
    "1": "L", "L": "L", "LA": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA",
    "I;16": "L", "I;16B": "L", "I": "L", "F": "L", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB",
    "RGBX": "RGB",
}  # fmt: skip

as_root = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(autouse=True)
def silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever is done here, nothing on standard output or error comes of it."""
    yield
    assert capfd.readouterr() == ("", "")


def quietly_read(path: str | os.PathLike[str]) -> Image.Image:
    with warnings.catch_warnings(action="error"):
        return images.read(path)


def photo(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    """A piece of a photograph, with a gradient for alpha, in one of Pillow's modes."""
    pixels = photograph("fig")[100 : 100 + size[1], 100 : 100 + size[0]]
    alpha = np.linspace(0, 255, size[0] * size[1]).round().astype(np.uint8).reshape(size[::-1])
    image = Image.fromarray(np.dstack([pixels, alpha]))
    if mode.startswith("I;16"):
        values = np.asarray(image.convert("L")).astype("<u2" if mode == "I;16" else ">u2") * 256
        return Image.frombytes(mode, size, values.astype(values.dtype).tobytes())
    if mode == "PA":
        palette = image.convert("RGB").quantize(16).convert("PA")
        palette.putalpha(image.getchannel("A"))
        return palette
    if mode in ("LA", "RGBA"):
        return image.convert(mode)
    return image.convert("RGB").convert(mode)


def array(path: str | os.PathLike[str]) -> np.ndarray:
    image = quietly_read(path)
    assert image.mode in images.MODES and not image.info
    pixels = images.to_array(image)
    assert pixels.shape == (image.height, image.width, images.MODES.index(image.mode) + 1)
    return pixels


def png(
    bits: int, colour_type: int, width: int, *rows: bytes, transparent: bytes = b"", palette=b""
) -> bytes:
    """A PNG of rows of packed samples, as not even Pillow writes them."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0))]
    if palette:
        chunks.append((b"PLTE", palette))
    if transparent:
        chunks.append((b"tRNS", transparent))
    chunks.append((b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))))
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


class TestModes:
    @pytest.mark.parametrize("mode", images.MODES)
    @pytest.mark.parametrize("form", ["png", "tif", "tga", "jp2"])
    def test_own_modes_are_exact(self, tmp_path: Path, mode: str, form: str) -> None:
        image = photo(mode)
        options = {"irreversible": False} if form == "jp2" else {}
        image.save(tmp_path / f"x.{form}", **options)
        read = images.read(tmp_path / f"x.{form}")
        assert (read.mode, read.size) == (mode, (24, 16))
        assert read.tobytes() == image.tobytes()

    @pytest.mark.parametrize("size", [(24, 16), (1, 1), (1, 5), (3, 1)])
    @pytest.mark.parametrize("mode", ARRIVES)
    def test_all_modes_in_all_formats(
        self, tmp_path: Path, mode: str, size: tuple[int, int]
    ) -> None:
        image = photo(mode, size)
        kept = set()
        for form in FORMATS:
            path = tmp_path / f"x.{form}"
            try:
                image.save(path)
            except (OSError, ValueError, SystemError):  # not a mode of this format
                continue
            with Image.open(path) as opened:
                assert array(path).shape[:2] == opened.size[::-1]
                if opened.mode == mode:
                    kept.add(form)
                    if mode not in ("P", "PA") or min(size) > 1:
                        assert images.read(path).mode == ARRIVES[mode]
        assert kept >= {"tif"} - ({"tif"} if mode == "RGBX" else set())

    def test_one_bit(self, tmp_path: Path) -> None:
        bits = np.random.default_rng(0).integers(0, 2, (9, 13)).astype(bool)
        for name in ("x.png", "x.pbm", "x.tif", "x.bmp"):
            Image.fromarray(bits).save(tmp_path / name)
            assert (array(tmp_path / name)[..., 0] == 255 * bits).all(), name

    def test_grey_of_two_and_four_bits(self, tmp_path: Path) -> None:
        path = tmp_path / "x.png"
        path.write_bytes(png(2, 0, 4, b"\x1b"))
        assert array(path)[0, :, 0].tolist() == [0, 85, 170, 255]
        path.write_bytes(png(4, 0, 4, b"\x01\xef"))
        assert array(path)[0, :, 0].tolist() == [0, 17, 238, 255]

    def test_bmp_and_netpbm(self, tmp_path: Path) -> None:
        for mode, name in [("RGB", "x.bmp"), ("RGB", "x.ppm"), ("L", "x.pgm"), ("L", "x.bmp")]:
            photo(mode).save(tmp_path / name)
            assert images.read(tmp_path / name).tobytes() == photo(mode).tobytes(), name
        (tmp_path / "x.pgm").write_text("P2 # plain\n3 1\n255\n0 7 255\n")
        assert array(tmp_path / "x.pgm").tolist() == [[[0], [7], [255]]]

    def test_cmyk(self, tmp_path: Path) -> None:
        image = photo("CMYK")
        image.save(tmp_path / "x.tif")
        image.save(tmp_path / "x.jpg", quality=98, subsampling=0)
        assert images.read(tmp_path / "x.tif").mode == "RGB"
        assert (array(tmp_path / "x.tif") == images.to_array(photo())).all()
        assert np.abs(array(tmp_path / "x.jpg") - images.to_array(photo()).astype(int)).max() < 12

    def test_cmyk_black(self, tmp_path: Path) -> None:
        Image.new("CMYK", (4, 4), (0, 0, 0, 200)).save(tmp_path / "x.tif")
        assert (array(tmp_path / "x.tif") == 55).all()

    def test_other_colour_spaces(self, tmp_path: Path) -> None:
        for mode in ("YCbCr", "LAB"):
            photo(mode).save(tmp_path / "x.tif")
            with Image.open(tmp_path / "x.tif") as opened:
                assert opened.mode == mode
            error = np.abs(array(tmp_path / "x.tif") - images.to_array(photo()).astype(int))
            assert error.mean() < 2 and error.max() < 12, mode

    def test_lossy(self, tmp_path: Path) -> None:
        for mode, name in [
            ("L", "x.jpg"), ("RGB", "x.jpg"), ("RGB", "x.webp"), ("RGBA", "x.webp"),
            ("L", "x.avif"), ("RGB", "x.avif"), ("RGBA", "x.avif"),
        ]:  # fmt: skip
            image = photo(mode, (64, 48))
            image.save(tmp_path / name, quality=95)
            assert images.read(tmp_path / name).mode == mode
            error = np.abs(array(tmp_path / name) - images.to_array(image).astype(int))
            assert error[..., :3].mean() < 8 and error.mean() < 8, (mode, name)
            if mode == "RGBA" and name == "x.webp":
                assert not error[..., 3].any()

    def test_lossless_webp(self, tmp_path: Path) -> None:
        for mode in ("RGB", "RGBA"):
            photo(mode).save(tmp_path / "x.webp", lossless=True, exact=True)
            assert images.read(tmp_path / "x.webp").mode == mode
            assert images.read(tmp_path / "x.webp").tobytes() == photo(mode).tobytes()

    def test_premultiplied_tiff(self, tmp_path: Path) -> None:
        half = Image.new("RGBA", (2, 2), (50, 100, 20, 128))
        half.save(tmp_path / "x.tif")
        data = (tmp_path / "x.tif").read_bytes()
        associated, unassociated = (struct.pack("<HHII", 338, 3, 1, x) for x in (1, 2))
        assert unassociated in data
        (tmp_path / "x.tif").write_bytes(data.replace(unassociated, associated))
        pixel = array(tmp_path / "x.tif")[0, 0]
        assert pixel[3] == 128
        assert np.abs(pixel[:3] - np.array([50, 100, 20]) * 255 / 128).max() <= 1


class TestPalettes:
    def test_colours_are_exact(self, tmp_path: Path) -> None:
        image = photo().quantize(16)
        for name in ("x.png", "x.gif", "x.bmp", "x.tif", "x.tga", "x.pcx"):
            image.save(tmp_path / name)
            with Image.open(tmp_path / name) as opened:
                assert opened.mode == "P"
            assert images.read(tmp_path / name).mode == "RGB"
            assert images.read(tmp_path / name).tobytes() == image.convert("RGB").tobytes(), name

    def test_icons(self, tmp_path: Path) -> None:
        """Pillow keeps the palette of an ICNS to itself."""
        for name, side in [("x.icns", 1024), ("x.ico", 64)]:
            image = photo("RGB", (32, 32)).quantize(16).resize((side, side))
            image.save(tmp_path / name, sizes=[(side, side)])
            assert images.read(tmp_path / name).size == (side, side)
            assert (array(tmp_path / name) == images.to_array(image.convert("RGB"))).all(), name

    def test_greys_become_grey(self, tmp_path: Path) -> None:
        image = photo("L").quantize(8)
        image.save(tmp_path / "x.png")
        image.save(tmp_path / "t.png", transparency=b"\0\x80")
        assert images.read(tmp_path / "x.png").mode == "L"
        assert images.read(tmp_path / "x.png").tobytes() == image.convert("L").tobytes()
        assert images.read(tmp_path / "t.png").mode == "LA"

    def test_transparency_of_each_colour(self, tmp_path: Path) -> None:
        palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
        path = tmp_path / "x.png"
        path.write_bytes(png(8, 3, 4, b"\0\1\2\3", palette=palette, transparent=b"\0\x80"))
        assert array(path)[0].tolist() == [
            [255, 0, 0, 0], [0, 255, 0, 128], [0, 0, 255, 255], [9, 9, 9, 255],
        ]  # fmt: skip

    def test_transparency_in_the_palette_itself(self, tmp_path: Path) -> None:
        header = struct.pack("<BBBHHBHHHHBB", 0, 1, 1, 0, 2, 32, 0, 0, 2, 1, 8, 0x20)
        (tmp_path / "x.tga").write_bytes(header + bytes([3, 2, 1, 7, 6, 5, 4, 255]) + b"\0\1")
        assert array(tmp_path / "x.tga")[0].tolist() == [[1, 2, 3, 7], [4, 5, 6, 255]]

    @pytest.mark.parametrize("bits, row", [(1, b"\x40"), (2, b"\x10"), (4, b"\x01"), (8, b"\0\1")])
    def test_transparency_at_every_depth(self, tmp_path: Path, bits: int, row: bytes) -> None:
        path = tmp_path / "x.png"
        path.write_bytes(png(bits, 3, 2, row, palette=bytes([1, 2, 3, 4, 5, 6]), transparent=b"\7"))
        assert array(path)[0].tolist() == [[1, 2, 3, 7], [4, 5, 6, 255]]

    def test_first_frame_of_an_animation(self, tmp_path: Path) -> None:
        frames = []
        for index in (1, 2):
            frame = Image.new("P", (6, 4), 0)
            frame.putpalette([255, 0, 255, 200, 10, 20, 30, 210, 40])
            frame.paste(index, (2, 1, 5, 3))
            frames.append(frame)
        path = tmp_path / "x.gif"
        frames[0].save(path, save_all=True, append_images=frames[1:], transparency=0, disposal=2)
        pixels = array(path)
        assert pixels.shape == (4, 6, 4)
        assert pixels[1:3, 2:5].reshape(-1, 4).tolist() == [[200, 10, 20, 255]] * 6
        assert pixels[..., 3].sum() == 255 * 6

    @pytest.mark.parametrize("name", ["x.png", "x.webp", "x.tif", "x.avif"])
    def test_first_frame_of_others(self, tmp_path: Path, name: str) -> None:
        frames = [Image.new("RGB", (16, 16), colour) for colour in ((200, 0, 0), (0, 0, 200))]
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        pixel = array(tmp_path / name)[8, 8].astype(int)
        assert np.abs(pixel[:3] - (200, 0, 0)).max() < 8


class TestTransparentColour:
    @pytest.mark.parametrize(
        "bits, row, colour, greys",
        [
            (1, b"\x40", 1, [0, 255]),
            (1, b"\x80", 0, [255, 0]),
            (2, b"\x10", 1, [0, 85]),
            (4, b"\xf3", 3, [255, 51]),
            (8, b"\x07\x03", 3, [7, 3]),
            (16, b"\xff\x00\x81\x01", 0x8101, [254, 128.5]),
        ],
    )
    def test_grey(
        self, tmp_path: Path, bits: int, row: bytes, colour: int, greys: list[float]
    ) -> None:
        path = tmp_path / "x.png"
        path.write_bytes(png(bits, 0, 2, row, transparent=struct.pack(">H", colour)))
        pixels = array(path)
        assert pixels[0, :, 1].tolist() == [255, 0]
        assert np.abs(pixels[0, :, 0] - np.array(greys)).max() <= 1

    def test_grey_of_sixteen_bits_that_differ_little(self, tmp_path: Path) -> None:
        path = tmp_path / "x.png"
        path.write_bytes(png(16, 0, 2, b"\x80\x80\x80\x81", transparent=b"\x80\x81"))
        assert array(path)[0].tolist() == [[128, 255], [128, 0]]

    def test_colours(self, tmp_path: Path) -> None:
        path = tmp_path / "x.png"
        path.write_bytes(png(8, 2, 2, b"\1\2\3\1\2\4", transparent=b"\0\1\0\2\0\3"))
        assert array(path)[0].tolist() == [[1, 2, 3, 0], [1, 2, 4, 255]]
        path.write_bytes(png(16, 2, 2, b"\1\0\2\0\3\0\1\0\2\0\4\0", transparent=b"\1\0\2\0\3\0"))
        assert array(path)[0].tolist() == [[1, 2, 3, 0], [1, 2, 4, 255]]

    def test_as_pillow_writes_it(self, tmp_path: Path) -> None:
        path = tmp_path / "x.png"
        image = photo("L")
        image.save(path, transparency=image.getpixel((3, 2)))
        pixels = array(path)
        assert (pixels[..., 0] == np.asarray(image)).all()
        assert ((pixels[..., 1] == 0) == (np.asarray(image) == image.getpixel((3, 2)))).all()


class TestDeepGreys:
    # 128 and 129 are on either side of where rounding to 0 ends: white, 65535, is 255 * 257.
    VALUES = (0, 1, 128, 129, 256, 385, 386, 25700, 32767, 32768, 65406, 65407, 65535)
    ROUNDED = tuple(round(value / 257) for value in VALUES)

    def test_sixteen_bits(self, tmp_path: Path) -> None:
        little = np.array([self.VALUES], "<u2")
        size = len(self.VALUES), 1
        Image.frombytes("I;16", size, little.tobytes()).save(tmp_path / "x.png")
        Image.frombytes("I;16", size, little.tobytes()).save(tmp_path / "little.tif")
        Image.frombytes("I;16B", size, little.astype(">u2").tobytes()).save(tmp_path / "big.tif")
        header = f"P5 {size[0]} 1 65535\n".encode()
        (tmp_path / "x.pgm").write_bytes(header + little.astype(">u2").tobytes())
        assert (tmp_path / "little.tif").read_bytes()[:2] == b"II"
        assert (tmp_path / "big.tif").read_bytes()[:2] == b"MM"
        for name in ("x.png", "little.tif", "big.tif", "x.pgm"):
            assert array(tmp_path / name)[0, :, 0].tolist() == list(self.ROUNDED), name

    def test_a_dark_picture_stays_dark(self, tmp_path: Path) -> None:
        (tmp_path / "x.pgm").write_bytes(b"P5 2 1 65535\n\0\xff\0\x60")
        Image.frombytes("I;16", (2, 1), b"\xff\0\x60\0").save(tmp_path / "x.png")
        Image.frombytes("I;16", (2, 1), b"\xff\0\x60\0").save(tmp_path / "x.tif")
        for name in ("x.pgm", "x.png", "x.tif"):
            assert array(tmp_path / name).ravel().tolist() == [1, 0], name

    def test_netpbm_of_ten_bits(self, tmp_path: Path) -> None:
        (tmp_path / "x.pgm").write_bytes(b"P5 3 1 1023\n\x03\xff\x01\x00\0\0")
        assert array(tmp_path / "x.pgm").ravel().tolist() == [255, 64, 0]

    @pytest.mark.parametrize("bits, row", [(16, b"\0\0\x80\x80\xff\xff"), (8, b"\0\x80\xff")])
    def test_colours(self, tmp_path: Path, bits: int, row: bytes) -> None:
        (tmp_path / "x.png").write_bytes(png(bits, 2, 1, row))
        assert array(tmp_path / "x.png").tolist() == [[[0, 128, 255]]]

    def test_grey_with_alpha(self, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_bytes(png(16, 4, 1, b"\x80\x80\x40\x40"))
        assert array(tmp_path / "x.png").tolist() == [[[128, 64]]]

    @pytest.mark.parametrize(
        "values, greys",
        [
            ([0, 100, 255], [0, 100, 255]),
            ([0, 3, 7], [0, 3, 7]),
            ([0, 256, 65535], [0, 1, 255]),
            ([0, 128, 25700], [0, 0, 100]),
            ([0, 65536, 131072], [0, 128, 255]),
            ([-10, 0, 10], [0, 128, 255]),
            ([-(2**31), 0, 2**31 - 1], [0, 128, 255]),
            ([0, 0, 0], [0, 0, 0]),
        ],
    )
    def test_integers(self, tmp_path: Path, values: list[int], greys: list[int]) -> None:
        Image.fromarray(np.array([values], np.int32)).save(tmp_path / "x.tif")
        assert array(tmp_path / "x.tif")[0, :, 0].tolist() == greys

    @pytest.mark.parametrize(
        "values, greys",
        [
            ([0, 0.4, 1], [0, 102, 255]),
            ([0, 0.1, 0.2], [0, 26, 51]),
            ([0, 1.5, 255], [0, 2, 255]),
            ([0, 257, 65535], [0, 1, 255]),
            ([0, 5e5, 1e6], [0, 128, 255]),
            ([-1, 0, 1], [0, 128, 255]),
            ([0, np.nan, 1], [0, 0, 255]),
            ([-np.inf, 0.6, np.inf], [0, 153, 153]),
            ([np.nan, np.nan, np.inf], [0, 0, 0]),
            ([-3.4e38, 0, 3.4e38], [0, 128, 255]),
            ([-5, -5, -5], [0, 0, 255]),
            ([0, 0, 1e-45], [0, 0, 0]),
        ],
    )
    def test_floats(self, tmp_path: Path, values: list[float], greys: list[int]) -> None:
        if values == [-5, -5, -5]:  # no range at all: any grey does
            greys = array_of_floats(tmp_path, values)[:1] * 3
        assert array_of_floats(tmp_path, values) == greys

    def test_portable_float_map(self, tmp_path: Path) -> None:
        data = b"Pf 2 1 -1.0\n" + np.array([0.5, 1], "<f4").tobytes()
        (tmp_path / "x.pfm").write_bytes(data)
        assert array(tmp_path / "x.pfm").ravel().tolist() == [128, 255]


def array_of_floats(folder: Path, values: list[float]) -> list[int]:
    Image.fromarray(np.array([values], np.float32)).save(folder / "x.tif")
    return array(folder / "x.tif")[0, :, 0].tolist()


# What a viewer does to the stored rows and columns, by TIFF 6.0's definition of the orientations.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


class TestOrientation:
    @pytest.mark.parametrize("orientation", UPRIGHT)
    @pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif", "x.avif"])
    def test_is_undone(self, tmp_path: Path, name: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo().save(tmp_path / f"plain-{name}")
        photo().save(tmp_path / name, exif=exif)
        expected = UPRIGHT[orientation](array(tmp_path / f"plain-{name}"))
        assert (array(tmp_path / name) == expected).all()

    def test_in_grey_and_palettes(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        for image in (photo("L"), photo("RGBA"), photo().quantize(16), photo("I;16"), photo("1")):
            image.save(tmp_path / "plain.png")
            image.save(tmp_path / "x.png", exif=exif)
            assert (array(tmp_path / "x.png") == np.rot90(array(tmp_path / "plain.png"), -1)).all()

    def test_transparent_colour_of_a_turned_image(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 3
        image = Image.fromarray(np.array([[1, 2, 3]], np.uint8))
        image.save(tmp_path / "x.png", exif=exif, transparency=2)
        assert array(tmp_path / "x.png")[0].tolist() == [[3, 255], [2, 0], [1, 255]]

    def test_in_xmp(self, tmp_path: Path) -> None:
        about = PngImagePlugin.PngInfo()
        about.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta tiff:Orientation="8"/>')
        photo().save(tmp_path / "x.png", pnginfo=about)
        assert (array(tmp_path / "x.png") == np.rot90(images.to_array(photo()))).all()

    @pytest.mark.parametrize("order", ["II", "MM"])
    @pytest.mark.parametrize(
        "kind, value", [(1, "B3x"), (3, "H2x"), (4, "I"), (6, "b3x"), (8, "h2x"), (9, "i")]
    )
    def test_is_said_of_any_type_of_number(
        self, tmp_path: Path, order: str, kind: int, value: str
    ) -> None:
        """Turned once, not once more by whoever reads the EXIF that was kept."""
        way = "<" if order == "II" else ">"
        before, after = (struct.pack(way + "HHI4s", x, 2, 3, b"ab") for x in (0x010F, 0x8298))
        entry = struct.pack(way + "HHI" + value, 0x0112, kind, 1, 6)
        start = struct.pack(way + "2sHIH", order.encode(), 42, 8, 3)
        block = start + before + entry + after + bytes(4)
        photo().save(tmp_path / "x.png", exif=b"Exif\0\0" + block)
        loaded = images.load(tmp_path / "x.png")
        assert loaded.image.size == (16, 24)
        found = Image.Exif()
        found.load(loaded.exif)
        assert (found[0x0112], found[0x010F], found[0x8298]) == (1, "ab", "ab")
        assert len(loaded.exif) == len(block)
        loaded.image.info["exif"] = loaded.exif
        images.write(loaded.image, tmp_path / "y.png")
        assert images.load(tmp_path / "y.png").image.tobytes() == loaded.image.tobytes()

    @pytest.mark.parametrize(
        "exif",
        [
            b"Exif\0\0garbage",
            b"Exif\0\0II*\0\x08\0\0\0\x05\0",
            b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(30),
            b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
        ],
    )
    @pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp"])
    def test_damaged_exif_is_ignored(self, tmp_path: Path, name: str, exif: bytes) -> None:
        photo().save(tmp_path / f"plain-{name}")
        photo().save(tmp_path / name, exif=exif)
        assert (array(tmp_path / name) == array(tmp_path / f"plain-{name}")).all()


def refused(path: str | os.PathLike[str]) -> str:
    """What the error says after the file's name."""
    with pytest.raises(ImageError) as caught:
        quietly_read(path)
    message = str(caught.value)
    name = str(path).replace("\n", "\\n")
    assert message.startswith(name) and message.isprintable() and len(message) < len(name) + 200
    assert message[-1] not in ": "
    return message[len(name) :]


class TestBroken:
    @pytest.mark.parametrize(
        "data",
        [b"", b"\0", b"\n", b"hello, this is no picture\n" * 9, bytes(5000), b"\xff\xd8\xff"],
    )
    def test_no_image(self, tmp_path: Path, data: bytes) -> None:
        for name in ("x.png", "x.jpg", "two\nlines.tif", "x"):
            (tmp_path / name).write_bytes(data)
            assert refused(tmp_path / name) == " is no image, or of a kind that cannot be read"

    @pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.tif", "x.gif", "x.bmp"])
    def test_truncated(self, tmp_path: Path, name: str) -> None:
        photo("RGB", (64, 48)).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        for size in (len(data) * 2 // 3, len(data) // 3, 30):
            (tmp_path / name).write_bytes(data[:size])
            refused(tmp_path / name)

    def test_anything_may_be_wrong(self, tmp_path: Path) -> None:
        rng = random.Random(0)
        files = []
        for mode in ("L", "RGBA", "RGB", "1", "I;16", "CMYK"):
            for form in FORMATS:
                for options in ({}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}):
                    if options and (form != "tif" or mode in ("1", "I;16", "RGBA")):
                        continue
                    try:
                        photo(mode).save(tmp_path / f"x.{form}", **options)
                    except (OSError, ValueError):
                        continue
                    files.append((form, (tmp_path / f"x.{form}").read_bytes()))
        read = 0
        for _ in range(400):
            form, whole = rng.choice(files)
            data = bytearray(whole)
            for _ in range(rng.choice([1, 2, 9])):
                at = min(int(rng.expovariate(1 / 60)), len(data) - 1)
                data[at] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
            if rng.random() < 0.1:
                del data[rng.randrange(len(data)) :]
            path = tmp_path / f"x.{form}"
            path.write_bytes(data)
            try:
                array(path)
                read += 1
            except ImageError:
                refused(path)
        assert 40 < read < 360

    def test_bombs(self, tmp_path: Path) -> None:
        data = bytearray(png(8, 2, 1, b"\0\0\0"))
        for width, height in [(50_000, 50_000), (2**31 - 1, 2**31 - 1)]:
            data[16:24] = struct.pack(">II", width, height)
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
            (tmp_path / "x.png").write_bytes(data)
            assert refused(tmp_path / "x.png") == " has too many pixels to be opened safely"

    def test_a_large_image_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photo().save(tmp_path / "x.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 16 - 1)
        assert images.read(tmp_path / "x.png").tobytes() == photo().tobytes()
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 16 // 2 - 1)
        assert refused(tmp_path / "x.png") == " has too many pixels to be opened safely"

    def test_what_an_archive_would_refuse_is_refused_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photo().save(tmp_path / "x.png", exif=b"Exif\0\0II*\0" + bytes(96))
        photo().save(tmp_path / "y.png", icc_profile=bytes(16) + b"RGB " + bytes(80))
        monkeypatch.setenv("AEZIP_MAX_PIXELS", str(24 * 16))
        monkeypatch.setenv("AEZIP_MAX_METADATA_BYTES", "100")
        for name in ("x.png", "y.png"):
            assert images.read(tmp_path / name).size == (24, 16)
        monkeypatch.setenv("AEZIP_MAX_METADATA_BYTES", "99")
        for name in ("x.png", "y.png"):
            assert "of more than 99 bytes (AEZIP_MAX_METADATA_BYTES)" in refused(tmp_path / name)
        monkeypatch.setenv("AEZIP_MAX_PIXELS", str(24 * 16 - 1))
        assert refused(tmp_path / "x.png") == " has more than 383 pixels (AEZIP_MAX_PIXELS)"

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        assert refused(tmp_path) == " is a folder"
        assert "no such file" in refused(tmp_path / "absent.png")
        (tmp_path / "link.png").symlink_to(tmp_path / "absent.png")
        assert "no such file" in refused(tmp_path / "link.png")
        assert "too long" in refused(tmp_path / ("x" * 300))
        photo().save(tmp_path / "x.png")
        assert "not a directory" in refused(tmp_path / "x.png" / "y.png")
        os.mkfifo(tmp_path / "pipe.png")
        assert refused(tmp_path / "pipe.png") == " is not a regular file"
        with pytest.raises(ImageError):
            images.read("nul\0.png")

    @pytest.mark.skipif(as_root, reason="root may read everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        photo().save(tmp_path / "x.png")
        (tmp_path / "x.png").chmod(0)
        assert "permission denied" in refused(tmp_path / "x.png")

    def test_programs_are_not_started(self, tmp_path: Path) -> None:
        photo().save(tmp_path / "x.eps")
        for name in ("x.eps", "x.png"):
            (tmp_path / "x.eps").rename(tmp_path / name)
            refused(tmp_path / name)
            (tmp_path / name).rename(tmp_path / "x.eps")

    def test_memory_is_not_taken_for_what_a_file_only_claims(self, tmp_path: Path) -> None:
        photo().save(tmp_path / "x.bmp")
        data = bytearray((tmp_path / "x.bmp").read_bytes())
        data[14:18] = struct.pack("<I", 2**32 - 16)  # the header's own size
        (tmp_path / "x.bmp").write_bytes(data)
        refused(tmp_path / "x.bmp")


def test_nothing_reaches_standard_error(tmp_path: Path) -> None:
    """Warnings, Pillow's log and libtiff's own words: in a process as people have it."""
    exif = Image.Exif()
    exif[0x0112] = (6, 7)
    with warnings.catch_warnings(action="ignore"):
        photo().save(tmp_path / "warned.jpg", exif=exif)
    photo().quantize(8).save(tmp_path / "warned.png", transparency=b"\0\1\2")
    photo("RGB", (64, 48)).save(tmp_path / "libtiff.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "libtiff.tif").read_bytes())
    for start in (8, 200, 900):
        data[start : start + 60] = b"\xff" * 60
    (tmp_path / "libtiff.tif").write_bytes(data)
    photo().save(tmp_path / "logged.tif")
    data = bytearray((tmp_path / "logged.tif").read_bytes())
    at = data.index(struct.pack("<HHI", 277, 3, 1)) + 8  # samples per pixel
    data[at : at + 2] = struct.pack("<H", 2000)
    (tmp_path / "logged.tif").write_bytes(data)
    program = (
        "import sys; from pathlib import Path; from aezip import images\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try: print(path.name, images.read(path).mode)\n"
        "    except images.ImageError: print(path.name, 'refused')\n"
        "print('still there', file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, tmp_path], capture_output=True, text=True
    )
    assert result.stderr == "still there\n"
    assert result.stdout.splitlines() == [
        "libtiff.tif refused", "logged.tif refused", "warned.jpg RGB", "warned.png RGBA",
    ]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="closes a file as POSIX systems do")
def test_without_a_standard_error(tmp_path: Path) -> None:
    # The image itself may then be opened as file 2, which must not be taken for standard error.
    photo().save(tmp_path / "x.tif", compression="tiff_lzw")
    program = (
        "import sys; from aezip import images; assert sys.stderr is None\n"
        "sys.stdout.buffer.write(images.read(sys.argv[1]).tobytes())"
    )
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", program, tmp_path / "x.tif"],
        capture_output=True,
    )
    assert result.stdout == photo().tobytes()


def put(folder: Path, *names: str) -> None:
    """An image of each name, in folders that are made."""
    buffer = io.BytesIO()
    photo("L", (2, 2)).save(buffer, "PNG")
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())


class TestFind:
    def test_sorted_below_all_folders(self, tmp_path: Path) -> None:
        put(tmp_path, "b.png", "a/z.png", "a.png", "B.jpg", "a/b/c/d.webp", "10.gif", "9.JPEG")
        found = images.find(tmp_path)
        assert found == images.find(str(tmp_path) + "/")
        assert found.names == [
            "10.gif", "9.JPEG", "B.jpg", "a/b/c/d.webp", "a/z.png", "a.png", "b.png",
        ]  # fmt: skip
        assert found.skipped == 0

    def test_relative_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(tmp_path, "a/x.png")
        monkeypatch.chdir(tmp_path)
        assert images.find(".").names == ["a/x.png"]
        assert images.find("a").names == ["x.png"]

    def test_what_is_hidden_is_skipped(self, tmp_path: Path) -> None:
        put(tmp_path, "x.png", ".x.png", ".thumbnails/a.png", ".thumbnails/b.png", "a/.b.png")
        assert images.find(tmp_path) == (["x.png"], 3)

    def test_a_hidden_folder_can_be_asked_for(self, tmp_path: Path) -> None:
        put(tmp_path, ".photos/x.png")
        assert images.find(tmp_path / ".photos").names == ["x.png"]

    def test_what_is_no_image_is_skipped(self, tmp_path: Path) -> None:
        put(tmp_path, "x.png", "no extension", "wrong.dat", "a.b.c", "movie.mpg", "page.pdf")
        put(tmp_path, "out.h5", "drawing.eps")
        (tmp_path / "notes.txt").write_text("P6, GIF, and so on\n")
        (tmp_path / "README").write_text("")
        (tmp_path / "zeros").write_bytes(bytes(100_000))
        # Nothing but plausible numbers is what a Targa file begins with.
        photo().save(tmp_path / "targa", "TGA")
        (tmp_path / "noise").write_bytes(random.Random(0).randbytes(100_000))
        (tmp_path / "hdf").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
        (tmp_path / "page").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        assert images.find(tmp_path) == (["a.b.c", "no extension", "wrong.dat", "x.png"], 11)

    def test_a_broken_image_is_one(self, tmp_path: Path) -> None:
        for name in ("empty.png", "text.JPG", "zeros.webp"):
            (tmp_path / name).write_bytes(b"")
        assert images.find(tmp_path).names == ["empty.png", "text.JPG", "zeros.webp"]

    def test_a_bomb_is_an_image(self, tmp_path: Path) -> None:
        data = bytearray(png(8, 2, 1, b"\0\0\0"))
        data[16:24] = struct.pack(">II", 50_000, 50_000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / "bomb").write_bytes(data)
        assert images.find(tmp_path).names == ["bomb"]

    def test_links(self, tmp_path: Path) -> None:
        put(tmp_path, "in/a/x.png", "elsewhere/y.png", "elsewhere/z.png")
        (tmp_path / "in" / "a" / "up").symlink_to("..")
        (tmp_path / "in" / "a" / "self").symlink_to(".")
        (tmp_path / "in" / "loop").symlink_to("loop")
        (tmp_path / "in" / "b").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "in" / "c.png").symlink_to("../elsewhere/y.png")
        assert images.find(tmp_path / "in") == (["a/x.png", "b/y.png", "b/z.png", "c.png"], 1)

    def test_a_broken_link_is_told_when_read(self, tmp_path: Path) -> None:
        put(tmp_path, "x.png")
        (tmp_path / "gone.png").symlink_to("nowhere.png")
        (tmp_path / "gone").symlink_to("nowhere")
        found = images.find(tmp_path)
        assert found == (["gone.png", "x.png"], 1)
        assert "no such file" in refused(tmp_path / found.names[0])

    def test_pipes_do_not_block(self, tmp_path: Path) -> None:
        put(tmp_path, "x.png")
        os.mkfifo(tmp_path / "pipe")
        os.mkfifo(tmp_path / "pipe.png")
        assert images.find(tmp_path) == (["x.png"], 2)

    @pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
    def test_odd_names(self, tmp_path: Path) -> None:
        names = ["two\nlines.png", "a,b;\"c\".png", "it's.png", " .png", "-.png", "Grüße.png",
                 "写真.png", "\\.png", "=1+1.png", "%s.png", "\x1b[31m.png"]  # fmt: skip
        put(tmp_path, *names)
        raw = b"caf\xe9.png"
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + raw))).write_bytes(
            (tmp_path / names[0]).read_bytes()
        )
        found = images.find(tmp_path)
        assert found.names == sorted([*names, os.fsdecode(raw)]) and found.skipped == 0
        for name in found.names:
            assert images.read(tmp_path / name).mode == "L"

    def test_the_error_of_an_odd_name_is_one_line(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.png"))
        path.write_bytes(b"")
        with pytest.raises(ImageError) as caught:
            images.read(path)
        assert str(caught.value).startswith(f"{tmp_path}/caf\\udce9\\n.png is no image")
        assert str(caught.value).encode()

    def fails(self, folder: str | os.PathLike[str]) -> str:
        with pytest.raises(ImageError) as caught:
            images.find(folder)
        assert str(caught.value).isprintable()
        assert str(caught.value).startswith(str(folder).replace("\0", "\\x00"))
        return str(caught.value)[len(str(folder).replace("\0", "\\x00")) :]

    def test_no_images(self, tmp_path: Path) -> None:
        assert self.fails(tmp_path) == " holds no images"
        (tmp_path / "notes.txt").write_text("")
        assert self.fails(tmp_path) == " holds no images (and 1 other file)"
        put(tmp_path, ".hidden.png")
        assert self.fails(tmp_path) == " holds no images (and 2 other files)"

    def test_no_folder(self, tmp_path: Path) -> None:
        put(tmp_path, "x.png")
        assert self.fails(tmp_path / "absent") == ": there is no such folder"
        assert self.fails(tmp_path / "x.png") == " is not a folder"
        assert self.fails(tmp_path / "x.png" / "y").startswith(" cannot be read: ")
        assert self.fails(tmp_path / ("x" * 300)).startswith(" cannot be read: ")
        assert self.fails("nul\0").startswith(" cannot be read: ")

    @pytest.mark.skipif(as_root, reason="root may read everything")
    @pytest.mark.parametrize("mode", [0, 0o400])
    def test_no_permission(self, tmp_path: Path, mode: int) -> None:
        put(tmp_path, "a/x.png", "y.png")
        (tmp_path / "a").chmod(mode)
        try:
            if mode:
                # Its names can be listed; reading them says what is wrong.
                assert images.find(tmp_path).names == ["a/x.png", "y.png"]
                assert "permission denied" in refused(tmp_path / "a" / "x.png")
            else:
                with pytest.raises(ImageError, match="a cannot be read: permission denied"):
                    images.find(tmp_path)
        finally:
            (tmp_path / "a").chmod(0o700)

    @pytest.mark.skipif(as_root, reason="root may read everything")
    def test_a_hidden_folder_need_not_be_readable(self, tmp_path: Path) -> None:
        put(tmp_path, ".a/x.png", "y.png")
        (tmp_path / ".a").chmod(0)
        try:
            assert images.find(tmp_path) == (["y.png"], 1)
        finally:
            (tmp_path / ".a").chmod(0o700)


class TestWrite:
    @pytest.mark.parametrize("mode", images.MODES)
    def test_png(self, tmp_path: Path, mode: str) -> None:
        images.write(photo(mode), tmp_path / "x.PNG")
        read = images.read(tmp_path / "x.PNG")
        assert (read.mode, read.tobytes()) == (mode, photo(mode).tobytes())
        assert os.listdir(tmp_path) == ["x.PNG"]

    @pytest.mark.parametrize("mode", images.MODES)
    def test_webp_is_exact(self, tmp_path: Path, mode: str) -> None:
        # It has no grey of its own.
        mode_there = {"L": "RGB", "LA": "RGBA"}.get(mode, mode)
        images.write(photo(mode), tmp_path / "x.webp")
        read = images.read(tmp_path / "x.webp")
        assert read.mode == mode_there
        assert read.tobytes() == photo(mode).convert(mode_there).tobytes()

    @pytest.mark.parametrize("name", ["x.jpg", "x.jpeg", "x.JPG"])
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_jpeg(self, tmp_path: Path, mode: str, name: str) -> None:
        image = photo(mode, (64, 48))
        images.write(image, tmp_path / name)
        with Image.open(tmp_path / name) as opened:
            assert (opened.format, opened.mode) == ("JPEG", mode)
            assert {layer[1:3] for layer in opened.layer} == {(1, 1)}  # chroma is not subsampled
        error = array(tmp_path / name) - images.to_array(image).astype(int)
        assert np.abs(error).mean() < 3

    def test_jpeg_keeps_fine_colours(self, tmp_path: Path) -> None:
        stripes = np.zeros((32, 32, 3), np.uint8)
        stripes[::2, :, 0] = stripes[1::2, :, 2] = 255
        images.write(Image.fromarray(stripes), tmp_path / "x.jpg")
        # With half as many samples of colour as of grey, it would be about 100.
        assert np.abs(array(tmp_path / "x.jpg") - stripes.astype(int)).mean() < 8

    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_jpeg_of_what_is_transparent_lies_on_white(self, tmp_path: Path, mode: str) -> None:
        dark = (40, 0) if mode == "LA" else (40, 90, 20, 0)
        image = Image.new(mode, (48, 16), dark)
        image.paste((*dark[:-1], 128), (16, 0, 32, 16))
        image.paste((*dark[:-1], 255), (32, 0, 48, 16))
        images.write(image, tmp_path / "x.jpg")
        pixels = array(tmp_path / "x.jpg").astype(int)
        assert pixels.shape[2] == len(dark) - 1
        for column, expected in [
            (8, 255), (24, 255 + (np.array(dark[:-1]) - 255) * 128 / 255), (40, dark[:-1]),
        ]:  # fmt: skip
            assert np.abs(pixels[8, column] - expected).max() <= 3
        assert image.mode == mode  # the caller's own is untouched

    def test_other_extensions(self, tmp_path: Path) -> None:
        for name in ("x.gif", "x.tiff", "x", "png", ".png", "x.png.bak", "x.", "two\nlines"):
            with pytest.raises(ImageError) as caught:
                images.write(photo(), tmp_path / name)
            assert str(caught.value).startswith(str(tmp_path)) and str(caught.value).isprintable()
            assert ".png, .jpg" in str(caught.value) and ".webp" in str(caught.value)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("name, side", [("x.webp", 16383), ("x.jpg", 65500)])
    def test_sides(self, tmp_path: Path, name: str, side: int) -> None:
        images.write(Image.new("L", (side, 1)), tmp_path / name)
        assert images.read(tmp_path / name).size == (side, 1)
        for size in [(side + 1, 1), (1, side + 1)]:
            with pytest.raises(ImageError, match=r"x.* cannot be written: .* pixels"):
                images.write(Image.new("L", size), tmp_path / name)
        assert os.listdir(tmp_path) == [name]
        assert images.read(tmp_path / name).size == (side, 1)

    def test_places_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "folder.png").mkdir()
        (tmp_path / "file").write_text("here")
        (tmp_path / "loop.png").symlink_to("loop.png")
        for name, why in [
            ("absent/x.png", "no such file or directory"),
            ("file/x.png", "not a directory"),
            ("folder.png", "not a file"),
            ("x" * 300 + ".png", "too long"),
        ]:
            with pytest.raises(ImageError) as caught:
                images.write(photo(), tmp_path / name)
            message = str(caught.value)
            assert message.startswith(f"{tmp_path / name} cannot be written: ") and why in message
            assert ".aezip-" not in message and message.isprintable()
        with pytest.raises(ImageError, match="cannot be written: embedded null byte"):
            images.write(photo(), "nul\0.png")
        assert sorted(os.listdir(tmp_path)) == ["file", "folder.png", "loop.png"]
        assert os.listdir(tmp_path / "folder.png") == []

    def test_what_was_there_stays_when_writing_fails(self, tmp_path: Path) -> None:
        images.write(photo(), tmp_path / "x.png")
        for name, mode in [("x.png", "F"), ("new.png", "HSV"), ("new.jpg", "I;16")]:
            with pytest.raises(ImageError, match="cannot be written: cannot write mode"):
                images.write(Image.new(mode, (9, 9)), tmp_path / name)
        assert os.listdir(tmp_path) == ["x.png"]
        assert images.read(tmp_path / "x.png").tobytes() == photo().tobytes()

    def test_links_stay(self, tmp_path: Path) -> None:
        put(tmp_path, "real.png")
        (tmp_path / "link.png").symlink_to("real.png")
        images.write(photo(), tmp_path / "link.png")
        assert (tmp_path / "link.png").is_symlink()
        assert images.read(tmp_path / "real.png").tobytes() == photo().tobytes()


pixels = st.integers(1, 4).flatmap(
    lambda channels: npst.arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(channels))
    )
)


class TestArrays:
    @given(pixels)
    def test_round_trip(self, a: np.ndarray) -> None:
        image = images.from_array(a)
        assert image.mode == images.MODES[a.shape[2] - 1] and image.size == (a.shape[1], a.shape[0])
        back = images.to_array(image)
        assert back.dtype == np.uint8 and back.shape == a.shape and (back == a).all()

    @given(pixels, st.sampled_from([1, -1]), st.sampled_from([1, -1, 2]))
    def test_any_strides(self, a: np.ndarray, down: int, right: int) -> None:
        view = a[::down, ::right].swapaxes(0, 1)
        assert (images.to_array(images.from_array(view)) == view).all()

    @pytest.mark.parametrize("mode", images.MODES)
    def test_pixels_are_where_they_are(self, mode: str) -> None:
        image: Any = photo(mode)
        a = images.to_array(image)
        pixel = image.getpixel((7, 2))
        assert tuple(a[2, 7].tolist()) == (pixel if isinstance(pixel, tuple) else (pixel,))

    def test_arrays_are_writable_copies(self) -> None:
        image = photo()
        images.to_array(image)[:] = 0
        assert image.tobytes() == photo().tobytes()


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "DSC_1.nef", "a.jxl"])
def test_photographs_that_pillow_cannot_read_are_named(tmp_path, name):
    # A raw file's thumbnail is a TIFF that Pillow would take for the photograph.
    Image.new("RGB", (16, 12)).save(tmp_path / name, "TIFF")
    assert images.find(tmp_path) == ([name], 0)
    with pytest.raises(ImageError, match=rf"{name} is of a kind that Pillow does not read"):
        images.read(tmp_path / name)


def test_exif_as_text(tmp_path: Path) -> None:
    """As ImageMagick wrote it before PNG had a chunk for it."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera", 6
    block = exif.tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n {len(block)}\n{block.hex()}\n", zip=True)
    photo().save(tmp_path / "x.png", pnginfo=text)
    loaded = images.load(tmp_path / "x.png")
    assert loaded.image.size == (16, 24)
    found = Image.Exif()
    found.load(loaded.exif)
    assert (found[0x010F], found[0x0112]) == ("Camera", 1)
