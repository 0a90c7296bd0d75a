"""What the gallery's server answers, and whom."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import re
import shutil
import socket
import threading
import time
import typing
import urllib.error
import urllib.request
from html.parser import HTMLParser

import numpy as np
import pytest
from folders import (
    DIGITS,
    copied,
    digit_archive,
    files,
    foreign_archive,
    foreign_colours,
    foreign_photos,
    invoke,
    photo_archive,
    photos,
    refused,
    renamed_digit,
)
from galleries import browsing, many
from PIL import Image

import aezip
from aezip import images
from aezip.metrics import psnr
from aezip.web import server
from aezip.web.gallery import SIDES, TILES, open_gallery, thumbnail
from aezip.web.page import export
from aezip.web.server import make_app

pytest.importorskip("flask", reason="needs the extra aezip[web]")
PORT = 8765
HOST = {"Host": f"127.0.0.1:{PORT}"}


@pytest.fixture(scope="module")
def gallery():
    with open_gallery(photo_archive(), photos(), 1) as opened:
        yield opened


@pytest.fixture
def client(gallery):
    return make_app(gallery, PORT).test_client()


def image_in(response) -> np.ndarray:
    assert response.status_code == 200, response.text
    with Image.open(io.BytesIO(response.data)) as image:
        return images.to_array(image)


# --- what is answered ---------------------------------------------------------------------------


def test_the_page_and_its_parts(client):
    page = client.get("/", headers=HOST)
    assert page.status_code == 200 and page.mimetype == "text/html"
    for name, kind in (("gallery.css", "text/css"), ("gallery.js", "text/javascript")):
        assert f'"{name}"' in page.text
        part = client.get(f"/{name}", headers=HOST)
        assert part.status_code == 200 and part.mimetype == kind
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_the_description_is_that_of_the_archive(client):
    described = client.get("/archive.json", headers=HOST).get_json()
    archive = aezip.open(photo_archive())
    lines = photo_archive().read_bytes().splitlines(keepends=True)[1:]
    assert described["csvBytes"] == photo_archive().stat().st_size
    assert described["decoderBytes"] == archive.decoder_path.stat().st_size
    assert described["originals"] is True and tuple(described["sides"]) == SIDES
    for number, (name, width, height, size, mode, quality) in enumerate(described["rows"]):
        row = archive.row(number)
        assert (row.name, row.width, row.height, row.mode, row.quality) == (
            name, width, height, mode, quality,
        )  # fmt: skip
        assert size == len(lines[number])


def test_images_are_the_decoded_and_the_original_pixels(client):
    archive = aezip.open(photo_archive())
    for number in range(len(archive)):
        decoded = images.to_array(archive[number])
        original = images.to_array(images.read(photos() / archive.names[number]))
        assert np.array_equal(image_in(client.get(f"/x/image/{number}", headers=HOST)), decoded)
        assert np.array_equal(image_in(client.get(f"/x/original/{number}", headers=HOST)), original)
        details = client.get(f"/x/details/{number}", headers=HOST).get_json()
        assert details["psnr"] == pytest.approx(psnr(original, decoded), abs=0.001)
        assert details["originalBytes"] == (photos() / archive.names[number]).stat().st_size


@pytest.mark.parametrize("side", SIDES)
def test_thumbnails_look_like_the_image(client, side):
    archive = aezip.open(photo_archive())
    for number in range(len(archive)):
        small = image_in(client.get(f"/x/thumbnail/{number}/{side}", headers=HOST))
        whole = archive[number]
        assert max(small.shape[:2]) == min(side, max(whole.size))
        expected = images.to_array(whole.resize(small.shape[1::-1], Image.Resampling.BOX))
        assert psnr(small, expected) > 24


def test_all_pictures_have_the_colours_that_are_meant(tmp_path):
    with open_gallery(foreign_archive(), foreign_photos(), 1) as opened:
        client = make_app(opened, PORT).test_client()
        for path in ("image/0", "original/0", "thumbnail/0/128", "thumbnail/1/128"):
            response = client.get(f"/x/{path}", headers=HOST)
            with Image.open(io.BytesIO(response.data)) as image:
                assert image.info["icc_profile"] == foreign_colours(), path
        (tile,) = client.get("/x/tiles/1", headers=HOST).get_json()
        with Image.open(io.BytesIO(base64.b64decode(tile.split(",")[1]))) as image:
            assert image.info["icc_profile"] == foreign_colours()
    export(foreign_archive(), tmp_path / "x.html", side=16)
    shown = re.findall(r"data:image/\w+;base64,([^\"]+)\"", (tmp_path / "x.html").read_text())
    assert len(shown) == 3
    for data in shown:
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.info["icc_profile"] == foreign_colours()


def test_a_thumbnail_is_no_larger_for_its_profile():
    image = Image.new("RGB", (100, 100), "red")
    image.info["icc_profile"] = foreign_colours() + bytes(500_000)
    picture = thumbnail(image)
    assert len(picture.data) < 5000
    with Image.open(io.BytesIO(picture.data)) as found:
        red, green, _ = found.convert("RGB").getpixel((50, 50))
    assert red < 10 and green > 240


def test_what_was_decoded_is_not_decoded_again(monkeypatch):
    with open_gallery(photo_archive(), photos(), 1) as opened:
        client, decoded, run = make_app(opened, PORT).test_client(), [], opened._run
        monkeypatch.setattr(opened, "_run", lambda tasks: [decoded.extend(tasks), run(tasks)][1])
        paths = ("thumbnail/0/128", "thumbnail/0/256", "tiles/0,1", "image/0", "original/0",
                 "details/0")  # fmt: skip
        for path in paths * 3:
            assert client.get(f"/x/{path}", headers=HOST).status_code == 200
        assert len(decoded) == len(paths)
        for row in [*range(3), 0]:
            client.get(f"/x/image/{row}", headers=HOST)
        assert len(decoded) == len(paths) + 2


def test_only_what_cannot_change_is_kept(client, tmp_path):
    for path in ("/x/image/0", "/x/thumbnail/0/128", "/x/tiles/0"):
        assert "immutable" in client.get(path, headers=HOST).headers["Cache-Control"]
    first = client.get("/x/original/0", headers=HOST)
    assert "no-cache" in first.headers["Cache-Control"]
    again = client.get("/x/original/0", headers={**HOST, "If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    # The same archive elsewhere is another.
    version = client.get("/archive.json", headers=HOST).get_json()["version"]
    other = copied(photo_archive(), tmp_path)
    os.utime(other, ns=(0, photo_archive().stat().st_mtime_ns))
    with open_gallery(other, None, 1) as opened:
        client = make_app(opened, PORT).test_client()
        assert client.get("/archive.json", headers=HOST).get_json()["version"] != version


def test_tiles_are_the_decoded_pixels(tmp_path):
    with open_gallery(digit_archive(), None, 1) as opened:
        client = make_app(opened, PORT).test_client()
        archive = aezip.open(digit_archive())
        rows = [7, 0, 39]
        found = client.get("/x/tiles/7,0,39", headers=HOST).get_json()
        for number, address in zip(rows, found, strict=True):
            data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
            with Image.open(io.BytesIO(data)) as image:
                assert np.array_equal(np.asarray(image), np.asarray(archive[number]))
        most = ",".join(["5"] * TILES)
        assert len(client.get(f"/x/tiles/{most}", headers=HOST).get_json()) == TILES
        for wrong in ("40", "0,40", "", ",", "1,", "-1", "1,x", most + ",5"):
            assert client.get(f"/x/tiles/{wrong}", headers=HOST).status_code == 404


def test_psnr_of_all_is_measured_when_it_is_asked_for(client):
    for _ in range(200):
        found = client.get("/psnr.json", headers=HOST).get_json()
        if found["done"] == 3:
            break
        time.sleep(0.05)
    archive = aezip.open(photo_archive())
    for value, name, image in zip(found["values"], archive.names, archive, strict=True):
        original = images.to_array(images.read(photos() / name))
        assert value == pytest.approx(psnr(original, images.to_array(image)), abs=0.001)


def test_without_originals_nothing_is_compared(tmp_path):
    with open_gallery(photo_archive(), None, 1) as opened:
        client = make_app(opened, PORT).test_client()
        assert client.get("/archive.json", headers=HOST).get_json()["originals"] is False
        assert client.get("/x/details/0", headers=HOST).get_json() == {}
        assert client.get("/x/original/0", headers=HOST).status_code == 404
        assert set(client.get("/psnr.json", headers=HOST).get_json()["values"]) == {""}


def test_a_missing_or_changed_original_is_said_and_harms_nothing(tmp_path):
    folder = shutil.copytree(photos(), tmp_path / "photos")
    (folder / "drum.jpg").unlink()
    Image.new("RGB", (5, 5)).save(folder / "lake.png")
    with open_gallery(photo_archive(), folder, 1) as opened:
        client = make_app(opened, PORT).test_client()
        names = aezip.open(photo_archive()).names
        for name, says in (("drum.jpg", "drum.jpg cannot be read: no such file"),
                           ("lake.png", "of another size or mode")):
            number = names.index(name)
            details = client.get(f"/x/details/{number}", headers=HOST).get_json()
            assert says in details["missing"] and "psnr" not in details
            assert client.get(f"/x/image/{number}", headers=HOST).status_code == 200


def test_a_damaged_row_is_said_and_harms_no_other(tmp_path):
    for path in (digit_archive(), digit_archive().with_suffix(".h5")):
        shutil.copy(path, tmp_path)
    lines = (tmp_path / "out.csv").read_bytes().split(b"\n")
    lines[4] = lines[4][:-1] + (b"A" if lines[4][-1:] != b"A" else b"B")  # the checksum fails
    lines[6] = b"50%," + lines[6]  # not even a name
    (tmp_path / "out.csv").write_bytes(b"\n".join(lines))
    with open_gallery(tmp_path / "out.csv", DIGITS, 1) as opened:
        client = make_app(opened, PORT).test_client()
        rows = client.get("/archive.json", headers=HOST).get_json()["rows"]
        assert [number for number, row in enumerate(rows) if len(row) == 1] == [5]
        for number in (3, 5):
            response = client.get(f"/x/image/{number}", headers=HOST)
            assert response.status_code == 500 and response.mimetype == "text/plain"
            assert f"row {number}" in response.text and "damaged" in response.text
            assert response.text.count("\n") == 1
        assert client.get("/x/thumbnail/4/128", headers=HOST).status_code == 200
        tiles = client.get("/x/tiles/2,3,4,5", headers=HOST).get_json()
        assert [tile is None for tile in tiles] == [False, True, False, True]


# --- who is answered, and what can be reached ---------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["", "example.com", "127.0.0.1", "127.0.0.1:80", f"127.0.0.1.example.com:{PORT}",
     f"localhost.example.com:{PORT}", f"10.0.0.1:{PORT}", f"[::1]:{PORT}"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/archive.json", "/x/image/0", "/nothing"])
def test_other_hosts_are_refused(client, host, path):
    assert client.get(path, headers={"Host": host}).status_code in (400, 403)


def test_another_port_is_told_which_one_answers(client):
    said = client.get("/", headers={"Host": "localhost:1234"}).text
    assert f"answers to 127.0.0.1:{PORT} and localhost:{PORT} alone" in said


def test_its_own_names_are_answered(client):
    for name in ("127.0.0.1", "localhost"):
        assert client.get("/", headers={"Host": f"{name}:{PORT}"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_are_refused(client, site):
    for path in ("/", "/archive.json", "/x/image/0"):
        assert client.get(path, headers={**HOST, "Sec-Fetch-Site": site}).status_code == 403
    for own in ("same-origin", "none"):
        assert client.get("/", headers={**HOST, "Sec-Fetch-Site": own}).status_code == 200
    led = {**HOST, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=led).status_code == 200  # by a link there
    for path in ("/archive.json", "/x/image/0"):
        assert client.get(path, headers=led).status_code == 403


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch", "options"])
def test_nothing_can_be_changed(client, method):
    for path in ("/", "/x/image/0"):
        assert getattr(client, method)(path, headers=HOST).status_code == 405


@pytest.mark.parametrize(
    "path",
    ["/x/image/3", "/x/image/-1", "/x/image/99999999999999999999", "/x/image/one",
     "/x/thumbnail/0/100000", "/x/thumbnail/0/0", "/x/thumbnail/3/128", "/x/original/3",
     "/x/details/3", "/../gallery.py", "/gallery.html", "/static/gallery.js", "/x/image/../image/9",
     "/x/original/..%2F..%2Fetc%2Fpasswd"],
)  # fmt: skip
def test_only_rows_of_the_archive_can_be_reached(client, path):
    assert client.get(path, headers=HOST).status_code == 404


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a/../../secret.png", "a\0b"])
def test_no_name_leads_out_of_the_folder_of_originals(tmp_path, name):
    Image.new("L", (28, 28)).save(tmp_path / "secret.png")
    (tmp_path / "originals" / "a").mkdir(parents=True)
    renamed_digit(tmp_path / "x.csv", name)
    with open_gallery(tmp_path / "x.csv", tmp_path / "originals", 1) as opened:
        client = make_app(opened, PORT).test_client()
        assert client.get("/x/original/0", headers=HOST).status_code == 404
        assert client.get("/x/details/0", headers=HOST).get_json().keys() == {"missing"}


# --- the command --------------------------------------------------------------------------------


def test_browse_serves_on_this_machine_alone_and_ends_with_ctrl_c(tmp_path):
    with browsing(digit_archive(), cwd=tmp_path) as address:
        with urllib.request.urlopen(address + "archive.json") as response:
            assert len(json.load(response)["rows"]) == 40
        with urllib.request.urlopen(address + "x/image/7") as response:
            shown = images.to_array(Image.open(io.BytesIO(response.read())))
        assert np.array_equal(shown, images.to_array(aezip.open(digit_archive())[7]))
        port = int(address.rsplit(":", 1)[1].strip("/"))
        strange = urllib.request.Request(address, headers={"Host": f"example.com:{port}"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(strange)
        others = {x[4][0] for x in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for other in others - {"127.0.0.1"}:
            with pytest.raises(OSError):
                socket.create_connection((other, port), timeout=2).close()
        # A second one takes another port by itself, and is told where it asks for this one.
        refused(invoke("browse", digit_archive(), "--port", port, cwd=tmp_path),
                f"port {port} cannot be had")  # fmt: skip


def test_ctrl_c_ends_what_is_being_measured(tmp_path):
    with (
        browsing(many(), "--originals", DIGITS, cwd=tmp_path) as address,
        urllib.request.urlopen(address + "psnr.json") as response,
    ):
        assert json.load(response)["done"] < 10_000


def test_a_port_that_nobody_may_have(monkeypatch):
    def bind(*_):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(server.socket.socket, "bind", bind)
    with pytest.raises(aezip.AezipError, match="port 80 cannot be had: permission denied"):
        server.serve(digit_archive(), port=80)


def test_the_browser_may_keep_whoever_opens_it_waiting(tmp_path, monkeypatch):
    asked, closed = threading.Event(), threading.Event()

    def opens(address):
        assert address == "http://x/"
        asked.set()
        closed.wait(10)
        closed.set()

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", opens)
    monkeypatch.setattr(server, "serve", lambda *_, ready, **__: ready("http://x/"))
    assert invoke("browse", digit_archive(), cwd=tmp_path).exit_code == 0
    assert asked.wait(60) and not closed.is_set()
    closed.set()


def test_no_name_ends_the_script_of_an_exported_gallery(tmp_path):
    name = "</script><script>alert(1)</script><!--<b>&amp;.png"
    renamed_digit(tmp_path / "x.csv", name)
    export(tmp_path / "x.csv", tmp_path / "x.html")

    class Scripts(HTMLParser):
        found: typing.ClassVar[list[str]] = []

        def handle_starttag(self, tag, attributes):
            self.inside = tag == "script"
            self.found += [""] if self.inside else []

        def handle_endtag(self, tag):
            self.inside = self.inside and tag != "script"

        def handle_data(self, data):
            if getattr(self, "inside", False):
                self.found[-1] += data

    Scripts().feed((tmp_path / "x.html").read_text())
    data, code = Scripts.found
    assert json.loads(data)["rows"][0][0] == name and "use strict" in code


def test_export_replaces_no_archive(tmp_path):
    copied(digit_archive(), tmp_path)
    before = files(tmp_path)
    for name in ("out.csv", "out.h5", "x", "x.png"):
        refused(invoke("export", "out.csv", name, cwd=tmp_path), f"{name}: galleries are written")
    refused(invoke("export", "out.csv", "none/x.html", cwd=tmp_path),
            "none/x.html cannot be written: no such file or directory")  # fmt: skip
    assert files(tmp_path) == before
    assert invoke("export", "out.csv", "x.HTM", cwd=tmp_path).exit_code == 0


def test_an_archive_that_changes_meanwhile_is_said(tmp_path):
    for path in (digit_archive(), digit_archive().with_suffix(".h5")):
        shutil.copy(path, tmp_path)
    with open_gallery(tmp_path / "out.csv", DIGITS, 1) as opened:
        client = make_app(opened, PORT).test_client()
        assert client.get("/x/thumbnail/0/128", headers=HOST).status_code == 200
        (tmp_path / "out.csv").write_bytes((tmp_path / "out.csv").read_bytes() + b"\n")
        says = "was changed while it was open; open it again"
        for path in ("/archive.json", "/x/image/1"):
            response = client.get(path, headers=HOST)
            assert response.status_code == 500 and says in response.text
        assert says in client.get("/x/details/2", headers=HOST).get_json()["missing"]


def test_browse_of_nonsense(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n")
    refused(invoke("browse", "a.csv", cwd=tmp_path), "a.csv is not an aezip archive")
    refused(invoke("browse", "none.csv", cwd=tmp_path), "none.csv: there is no such file")
    refused(invoke("browse", digit_archive(), "--originals", "none", cwd=tmp_path),
            "none: there is no such folder")  # fmt: skip
    assert invoke("browse", digit_archive(), "--port", 0, cwd=tmp_path).exit_code == 2

