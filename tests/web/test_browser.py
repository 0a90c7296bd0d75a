"""The gallery in a real browser: what a person sees and does."""

from __future__ import annotations

import io
import os
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
from folders import (
    DIGITS,
    copied,
    decibels,
    digit_archive,
    foreign_archive,
    foreign_photos,
    invoke,
    photo_archive,
    photos,
)
from galleries import MANY, browsing, many
from PIL import Image

import aezip
from aezip import images

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
pytest.importorskip("flask", reason="needs the extra aezip[web]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs Chromium: apt-get install chromium", allow_module_level=True)

IN_VIEW = """() => [...document.querySelectorAll('.item')].filter(item => {
    const box = item.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
})"""
LOADED = f"""() => {{
    const inView = ({IN_VIEW})();
    return inView.length && inView.every(item =>
        item.querySelector('img')?.complete && item.querySelector('img').naturalWidth);
}}"""
FADED_IN = f"""() => ({IN_VIEW})().every(item =>
    getComputedStyle(item.querySelector('img')).opacity === '1')"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # Chromium refuses to sandbox itself where it is started by root, as in containers.
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        arguments = ["--no-sandbox"] if root else []
        started = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture
def new_page(browser):
    """Pages of a window; no script of theirs may fail, and the console must stay empty."""
    wrong: list[str] = []
    contexts = []

    def make(**options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The address of a gallery of 10,000 digits."""
    with browsing(many(), cwd=tmp_path_factory.mktemp("digits")) as address:
        yield address


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The address of a gallery of photographs beside their originals."""
    folder = tmp_path_factory.mktemp("photographs")
    with browsing(photo_archive(), "--originals", photos(), cwd=folder) as address:
        yield address


def names(page) -> list[str]:
    """Of the images that exist in the page, in the order of their places."""
    return page.evaluate("""() => [...document.querySelectorAll('.item')]
        .sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)
        .map(item => item.querySelector('img').alt)""")


def pixels_of(page, selector: str) -> np.ndarray:
    """(height, width, 4) of an image in the page, as the browser decoded it."""
    width, height, values = page.evaluate(
        """selector => {
            const image = document.querySelector(selector);
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
            return [canvas.width, canvas.height, [...data]];
        }""",
        selector,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)


def screenshot(page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def waiting_share() -> float:
    """How much longer things take here than on a machine with nothing else to do."""
    began, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.2:
        pass
    return max(1.0, (time.monotonic() - began) / 0.2)


def opened(page, name: str) -> None:
    page.locator(f".item a:has(img[alt='{name}'])").click()
    page.wait_for_selector("#picture:not(.coarse)")


# --- the grid -----------------------------------------------------------------------------------


def test_scrolling_through_10000_rows(digits, new_page):
    page = new_page()
    page.goto(digits)
    page.wait_for_function(LOADED)
    assert "10,000 images" in page.inner_text("#summary")
    assert names(page)[0] == "00000.png"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    times = []
    for share in (0.31, 0.87, 0.12, 0.55, 0.99, 0.43):
        began = time.monotonic()
        page.evaluate("x => scrollTo(0, x * document.documentElement.scrollHeight)", share)
        page.wait_for_function(f"() => scrollY > 0 && ({LOADED})()")
        times.append(time.monotonic() - began)
        first = int(names(page)[0].removesuffix(".png"))
        assert abs(first - share * MANY) < 0.03 * MANY
        assert page.locator(".item").count() < 500  # what is out of view is no longer there
    assert statistics.median(times) < 1.0 * waiting_share(), times
    rows = {row for url in asked for row in url.rsplit("/", 1)[1].split(",")}
    assert len(rows) < 6 * 500  # and what was scrolled past was not decoded


def test_a_thumbnail_shows_the_decoded_pixels(digits, new_page):
    page = new_page()
    page.goto(digits)
    page.wait_for_function(LOADED)
    page.wait_for_function(FADED_IN)
    archive = aezip.open(digit_archive())
    for number in (0, 7, 12):
        expected = images.to_array(archive[number])
        shown = pixels_of(page, f"img[alt='{number:05}.png']")
        assert np.array_equal(shown[..., :1], expected)
        # And on the screen, where each pixel is a square of 3 x 3.
        box = page.locator(f"img[alt='{number:05}.png']").bounding_box()
        x, y = round(box["x"]), round(box["y"])
        assert (round(box["width"]), round(box["height"])) == (84, 84)
        seen = screenshot(page)[y + 1 : y + 84 : 3, x + 1 : x + 84 : 3]
        assert np.array_equal(seen[2:-2, 2:-2, :1], expected[2:-2, 2:-2])  # corners are rounded


def test_search(digits, new_page):
    page = new_page()
    page.goto(digits)
    page.wait_for_function(LOADED)
    page.keyboard.press("/")
    page.keyboard.type("0123")
    page.wait_for_function("() => document.querySelectorAll('.item').length === 11")
    assert names(page) == ["00123.png", *(f"0123{i}.png" for i in range(10))]
    assert "11 of 10,000" in page.inner_text("#count")
    page.fill("#search", "nothing like it")
    page.wait_for_selector("#notice:visible")
    assert page.locator(".item").count() == 0
    page.fill("#search", "")
    page.wait_for_function(LOADED)
    assert names(page)[0] == "00000.png"


def test_order(digits, pictures, new_page):
    page = new_page()
    page.goto(digits)
    page.wait_for_function(LOADED)
    sizes = [len(x) for x in many().read_bytes().splitlines()[1:]]
    page.select_option("#order", "bytes")
    assert sizes[int(names(page)[0][:5])] == min(sizes)
    page.click("#direction")
    assert sizes[int(names(page)[0][:5])] == max(sizes)
    assert page.locator("#order [value=psnr]").is_disabled()

    page = new_page()
    page.goto(pictures)
    page.wait_for_function(LOADED)
    page.select_option("#order", "psnr")
    archive = aezip.open(photo_archive())
    found = {}
    for name, image in zip(archive.names, archive, strict=True):
        original = images.to_array(images.read(photos() / name)).astype(float)
        found[name] = np.mean((images.to_array(image) - original) ** 2)
    expected = sorted(found, key=found.get, reverse=True)
    page.wait_for_function("wanted => wanted === [...document.querySelectorAll('.item')]"
                           ".sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)"
                           ".map(item => item.querySelector('img').alt).join()",
                           arg=",".join(expected))  # fmt: skip


def test_items_and_the_focus_stay_while_psnr_is_measured(pictures, new_page):
    page = new_page()
    values = [["", "", ""], [30, "", ""], [30, 20, ""], [30, 20, 10]]

    def answer(route):
        found = values.pop(0) if len(values) > 1 else values[0]
        route.fulfill(json={"done": sum(x != "" for x in found), "values": found})

    page.route("**/psnr.json", answer)
    page.goto(pictures)
    page.wait_for_function(LOADED)
    first = names(page)
    page.select_option("#order", "psnr")
    page.focus(f".item a:has(img[alt='{first[0]}'])")
    page.evaluate("""() => {
        for (const image of document.querySelectorAll('.item img')) image.known = true;
    }""")
    page.wait_for_function("() => !count.textContent")
    page.wait_for_function("() => document.querySelectorAll('.item').length === 3")
    assert names(page) == first[::-1]
    assert page.evaluate("[...document.querySelectorAll('.item img')].every(x => x.known)")
    assert page.evaluate("document.activeElement.querySelector('img').alt") == first[0]
    page.keyboard.press("ArrowLeft")  # from where it is now, the last
    assert page.evaluate("document.activeElement.querySelector('img').alt") == first[1]


def test_the_focus_stays_where_it_is_scrolled_out_of_view(digits, new_page):
    page = new_page()
    page.goto(digits)
    page.wait_for_function(LOADED)
    page.focus("#size")
    page.keyboard.press("Tab")
    page.evaluate("scrollTo(0, 20000)")
    page.wait_for_function(f"() => scrollY > 0 && ({LOADED})()")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.querySelector('img').alt") == "00001.png"
    assert page.evaluate("scrollY") < 1000


def test_the_keyboard_reaches_every_image(digits, new_page):
    page = new_page()
    page.goto(digits)
    page.wait_for_function(LOADED)

    def focused() -> int:
        return int(page.evaluate("document.activeElement.querySelector('img').alt")[:5])

    columns = page.evaluate("""() => [...document.querySelectorAll('.item')]
        .filter(item => item.getBoundingClientRect().top ===
            document.querySelector('.item').getBoundingClientRect().top).length""")
    page.focus("#size")
    page.keyboard.press("Tab")
    assert focused() == 0
    for key, place in (("ArrowRight", 1), ("ArrowDown", columns + 1), ("ArrowLeft", columns),
                       ("ArrowUp", 0), ("End", MANY - 1), ("Home", 0)):  # fmt: skip
        page.keyboard.press(key)
        assert focused() == place
    page.keyboard.press("PageDown")
    assert focused() > columns and focused() % columns == 0
    box = page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
    assert box["top"] > 60 and box["bottom"] < 800  # in view, and not under the bar
    place = focused()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("#viewed") == f"{place:05}.png"
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => viewed.textContent === '{place + 1:05}.png'")
    page.keyboard.press("Escape")
    page.wait_for_function(  # back where one was
        f"() => document.activeElement.querySelector('img')?.alt === '{place + 1:05}.png'"
    )


# --- one image ----------------------------------------------------------------------------------


def test_an_image_in_full_size_with_its_figures(pictures, new_page):
    page = new_page()
    page.goto(pictures)
    page.wait_for_function(LOADED)
    archive = aezip.open(photo_archive())
    name = "lake.png"
    opened(page, name)
    decoded = images.to_array(archive[name])
    assert np.array_equal(pixels_of(page, "#decoded")[..., :3], decoded)
    page.wait_for_selector("#original:visible")
    original = images.to_array(images.read(photos() / name))
    assert np.array_equal(pixels_of(page, "#original")[..., :3], original)
    facts = page.inner_text("#facts")
    line = photo_archive().read_bytes().splitlines(keepends=True)[1 + archive.find(name)]
    db = 10 * np.log10(255**2 / np.mean((decoded.astype(float) - original) ** 2))
    bpp = 8 * len(line) / (96 * 64)
    for figure in ("96 × 64", f"{len(line):,} bytes", f"{bpp:,.3f} bits per pixel",
                   f"{db:.2f} dB", f"{(photos() / name).stat().st_size:,} bytes"):  # fmt: skip
        assert figure in facts
    assert page.get_attribute("#decoded", "alt") == "lake.png, as the archive has it"


def test_both_sides_of_the_slider_have_the_colours_that_are_meant(tmp_path, new_page):
    with browsing(foreign_archive(), "--originals", foreign_photos(), cwd=tmp_path) as address:
        page = new_page()
        page.goto(address)
        page.wait_for_function(LOADED)
        opened(page, "lake.png")
        page.wait_for_selector("#original:visible")
        meant = images.to_array(images.read(foreign_photos() / "lake.png"))[..., [1, 0, 2]]
        for image in ("#decoded", "#original", "img[alt='lake.png']"):
            shown = pixels_of(page, image)[..., :3]
            assert decibels(shown, meant) > (45 if image[0] == "#" else 25), image


def test_the_slider_uncovers_the_original_on_its_left(pictures, new_page):
    page = new_page()
    page.goto(pictures)
    page.wait_for_function(LOADED)
    opened(page, "lake.png")
    page.wait_for_selector("#divider:visible")
    archive = aezip.open(photo_archive())
    decoded = images.to_array(archive["lake.png"])
    original = images.to_array(images.read(photos() / "lake.png"))
    box = page.locator("#picture").bounding_box()
    factor = round(box["width"] / 96)
    x0, y0 = round(box["x"]), round(box["y"])
    assert factor >= 2 and (box["width"], box["height"]) == (96 * factor, 64 * factor)

    def shown() -> np.ndarray:
        """The pixels of the image on the screen, each a square there."""
        page.mouse.move(1200, 700)  # off the stage, so that no button lies over it
        page.wait_for_timeout(250)
        half = factor // 2
        return screenshot(page)[y0 + half :: factor, x0 + half :: factor][:64, :96]

    def matches(seen: np.ndarray, split: int) -> None:
        # The divider and its handle cover some pixels.
        left, right = slice(0, max(split - 4, 0)), slice(split + 4, 96)
        for columns, expected in ((left, original), (right, decoded)):
            assert np.array_equal(seen[8:20, columns], expected[8:20, columns])

    matches(shown(), 48)
    middle = y0 + 32 * factor
    page.mouse.move(x0 + 48 * factor, middle)
    page.mouse.down()
    page.mouse.move(x0 + 24 * factor, middle, steps=4)
    page.mouse.up()
    assert page.get_attribute("#divider", "aria-valuenow") == "25"
    matches(shown(), 24)
    page.keyboard.press("End")
    assert page.get_attribute("#divider", "aria-valuenow") == "100"
    matches(shown(), 96)
    page.keyboard.press("Home")
    matches(shown(), 0)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.get_attribute("#divider", "aria-valuenow") == "10"


def test_zoom(pictures, new_page):
    page = new_page()
    page.goto(pictures)
    page.wait_for_function(LOADED)
    opened(page, "lake.png")

    def size() -> float:
        return page.locator("#picture").bounding_box()["width"] / 96

    fitted = size()
    page.keyboard.press("1")
    assert size() == 1 and page.inner_text("#scale") == "100 %"
    page.keyboard.press("0")
    assert size() == fitted
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.45

    def pointed() -> tuple[float, float]:
        """What of the picture lies under the pointer."""
        found = page.locator("#picture").bounding_box()
        return (x - found["x"]) / found["width"], (y - found["y"]) / found["height"]

    before = pointed()
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"() => picture.getBoundingClientRect().width > {96 * fitted}")
    assert size() == pytest.approx(fitted * np.exp(0.8), rel=0.01)
    assert pointed() == pytest.approx(before, abs=0.01)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=3)
    page.mouse.up()
    moved = pointed()
    assert moved[0] < before[0] and moved[1] < before[1]


def test_an_address_leads_to_an_image_and_back_closes_it(pictures, new_page):
    page = new_page()
    page.goto(pictures)
    page.wait_for_function(LOADED)
    opened(page, "drum.jpg")
    address = page.url
    assert address.endswith("#1")
    page.go_back()
    page.wait_for_selector("dialog[open]", state="detached")
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#picture:not(.coarse)")
    assert page.inner_text("#viewed") == "drum.jpg"


def test_images_that_were_closed_leave_nothing_in_the_history(pictures, new_page):
    page = new_page()
    page.goto("about:blank")
    page.goto(pictures)
    page.wait_for_function(LOADED)
    before = page.evaluate("history.length")
    for close in ("Escape", "#close", "Escape"):
        opened(page, "drum.jpg")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => location.hash === '#2'")
        if close == "Escape":
            page.keyboard.press("Escape")
        else:
            page.click(close)
        page.wait_for_function("() => !location.hash")
    assert page.evaluate("history.length") <= before + 1
    page.go_back()
    assert page.url == "about:blank"


def test_no_button_leads_beyond_the_first_and_the_last(pictures, new_page):
    page = new_page(has_touch=True)
    page.goto(pictures)
    page.wait_for_function(LOADED)
    opened(page, names(page)[1])
    for button, other in (("#before", "#after"), ("#after", "#before")):
        while not page.locator(button).is_disabled():
            page.locator(button).focus()
            page.keyboard.press("Enter")
        assert page.locator(button).is_hidden() and page.locator(other).is_visible()
    page.keyboard.press("ArrowLeft")  # what had the focus is gone, but the keyboard still works
    page.wait_for_function(f"() => viewed.textContent === '{names(page)[1]}'")


# --- looks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_looks_right_wide_narrow_and_dark(pictures, new_page, scheme, width):
    page = new_page(
        viewport={"width": width, "height": 740}, color_scheme=scheme, has_touch=width < 500
    )
    page.goto(pictures)
    page.wait_for_function(LOADED)
    page.wait_for_timeout(250)
    ground = screenshot(page)[-4, 4]
    assert (ground < 60).all() if scheme == "dark" else (ground > 230).all()
    seen = screenshot(page)
    for name, image in zip(*(lambda x: (x.names, x))(aezip.open(photo_archive())), strict=True):
        shown = part(page, seen, f"img[alt='{name}']")
        expected = np.asarray(image.resize(shown.shape[1::-1], Image.Resampling.NEAREST))
        assert decibels(shown[8:-8, 8:-8], expected[8:-8, 8:-8]) > 25  # corners are rounded
    for words in ("h1", "#summary", "#order"):
        assert contrast(part(page, seen, words)) > 4.5
    for _ in range(2):
        # Nothing is cut off or needs to be scrolled to from side to side.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = page.evaluate("""() => [...document.querySelectorAll(
            'button, input, select, a, h1, h2, dd'
        )].map(x => x.getBoundingClientRect().toJSON()).filter(x => x.width)""")
        for box in boxes:
            assert box["left"] >= 0 and box["right"] <= width
        if page.locator("dialog[open]").count() == 0:
            opened(page, "lake.png")
            page.wait_for_selector("#original:visible")
    page.mouse.move(0, 0)
    for words in ("h2", "#facts dt", "#facts dd", "#facts small", "#fit", ".side.left"):
        assert contrast(part(page, screenshot(page), words)) > 4.5, words


def part(page, seen: np.ndarray, selector: str) -> np.ndarray:
    """What a screenshot shows of the first of these elements."""
    box = page.locator(selector).first.bounding_box()
    x, y = round(box["x"]), round(box["y"])
    return seen[y : y + round(box["height"]), x : x + round(box["width"])]


def contrast(shown: np.ndarray) -> float:
    """Of the lightest and the darkest pixel, by WCAG 2."""
    linear = np.where(shown <= 10, shown / 3294, ((shown / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722] + 0.05
    return luminance.max() / luminance.min()


def test_every_image_has_a_text_and_every_control_a_name(pictures, new_page):
    page = new_page()
    page.goto(pictures)
    page.wait_for_function(LOADED)
    assert sorted(names(page)) == sorted(aezip.open(photo_archive()).names)
    opened(page, "lake.png")
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, input, select, a')]
        .filter(x => !(x.ariaLabel || x.textContent.trim() || x.labels?.length || x.title ||
            x.querySelector('img')?.alt)).map(x => x.outerHTML)""")
    assert unnamed == []


# --- trouble ------------------------------------------------------------------------------------


def test_a_damaged_row_is_shown_as_such(tmp_path, new_page):
    for path in (digit_archive(), digit_archive().with_suffix(".h5")):
        shutil.copy(path, tmp_path)
    lines = (tmp_path / "out.csv").read_bytes().split(b"\n")
    lines[6] = b"50%," + lines[6]
    (tmp_path / "out.csv").write_bytes(b"\n".join(lines))
    with browsing("out.csv", cwd=tmp_path) as address:
        page = new_page()
        page.goto(address)
        page.wait_for_selector(".item.damaged")
        page.click(".item.damaged a")
        page.wait_for_selector("dialog[open]")
        assert "row 5 is damaged" in page.inner_text("#wait")
        assert page.locator("#full").is_hidden() and page.inner_text("#panel").count("%") == 0
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#full:visible")
        page.close()


def test_a_server_that_has_ended_is_said(tmp_path, browser):
    page = browser.new_page()
    with browsing(digit_archive(), "--originals", DIGITS, cwd=tmp_path) as address:
        page.goto(address)
        page.wait_for_function(LOADED)
    page.select_option("#order", "psnr")
    page.wait_for_selector("#trouble:visible")
    assert "aezip browse has ended" in page.inner_text("#trouble")
    page.close()


def test_trouble_is_seen_wherever_one_is_and_passes(digits, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(digits)
    page.wait_for_function(LOADED)
    page.route("**/tiles/*", lambda route: route.fulfill(status=500, body="out of luck"))
    page.evaluate("scrollTo(0, 8000)")
    page.wait_for_selector("#trouble:visible")
    assert page.inner_text("#trouble") == "out of luck"
    box = page.locator("#trouble").bounding_box()
    assert box["y"] > 0 and box["y"] + box["height"] < 800
    page.unroute("**/tiles/*")
    page.mouse.wheel(0, 10)
    page.wait_for_function(LOADED)
    page.wait_for_selector("#trouble", state="hidden")
    page.close()


def test_an_empty_archive(tmp_path, new_page):
    csv = copied(digit_archive(), tmp_path)
    aezip.remove(csv, aezip.open(csv).names)
    with browsing(csv, cwd=tmp_path) as address:
        page = new_page()
        page.goto(address)
        page.wait_for_function("() => summary.textContent.includes('no images in')")
        assert "bits per pixel" not in page.inner_text("#summary")
        assert page.locator("#notice").is_hidden()


# --- the file -----------------------------------------------------------------------------------


def test_an_exported_gallery_needs_no_server(tmp_path, new_page):
    done = invoke("export", digit_archive(), "gallery.html", cwd=tmp_path)
    size = (tmp_path / "gallery.html").stat().st_size
    assert done.stdout == f"40 previews -> gallery.html, {size:,} bytes\n"
    page = new_page(offline=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(Path(tmp_path / "gallery.html").as_uri())
    page.wait_for_function(LOADED)
    expected = images.to_array(aezip.open(digit_archive())[7])
    assert np.array_equal(pixels_of(page, "img[alt='0007.png']")[..., :1], expected)
    page.fill("#search", "0012")
    assert names(page) == ["0012.png"]
    page.click(".item a")
    page.wait_for_selector("dialog[open]")
    line = digit_archive().read_bytes().splitlines(keepends=True)[13]
    assert f"{len(line)} bytes" in page.inner_text("#facts")
    assert [x for x in asked if not x.startswith(("file:", "data:"))] == []
