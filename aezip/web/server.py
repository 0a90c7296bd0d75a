"""The gallery as a local web server: which request gets what, and who may ask.

It listens on this machine alone. Pages of other sites that a browser has open can still send it
requests, so only those are answered that name it as their host and come from its own page.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
from collections.abc import Callable
from typing import Any

from aezip.errors import AezipError, ImageError
from aezip.storage.files import reason
from aezip.web.gallery import SIDES, TILES, Gallery, Picture, describe, open_gallery
from aezip.web.page import static

HOST = "127.0.0.1"
PORT = 8765
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self'; "
        "script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TILE_LIST = re.compile(rf"\d{{1,9}}(,\d{{1,9}}){{0,{TILES - 1}}}")
_THREADS = 8  # a browser has six connections at a time


def serve(
    csv: str | os.PathLike[str],
    originals: str | os.PathLike[str] | None = None,
    *,
    port: int | None = None,
    jobs: int = 1,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the gallery of an archive on this machine until a KeyboardInterrupt, which is kept.

    port: by default PORT, or where that is taken any other. jobs: processes that decode. ready:
    called with the address once it answers.

    Raises AezipError where the archive cannot be opened, the port is taken or the extra is
    missing.
    """
    try:
        import waitress
    except ImportError:
        raise AezipError("the gallery needs more packages: pip install 'aezip[web]'") from None
    logging.getLogger("waitress").setLevel(logging.ERROR)
    try:
        with _listening(port) as listener, open_gallery(csv, originals, jobs) as gallery:
            number = listener.getsockname()[1]
            app = make_app(gallery, number)
            server = waitress.create_server(app, sockets=[listener], threads=_THREADS)
            if ready is not None:
                ready(f"http://{HOST}:{number}/")
            try:
                server.run()
            finally:
                server.close()
            # Waitress keeps it to itself; what is still being decoded is to be given up, too.
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        return


def _listening(port: int | None) -> socket.socket:
    why = ""
    for number in (PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let two servers have one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, number))
        except OSError as error:
            listener.close()
            taken = error.errno == errno.EADDRINUSE
            why = "another program has it" if taken else reason(error)
        else:
            return listener
    raise AezipError(f"port {port or PORT} cannot be had: {why}; choose another --port")


def make_app(gallery: Gallery, port: int) -> Any:
    """The WSGI application that serves a gallery at a port of this machine.

    Raises AezipError where Flask is not installed.
    """
    try:
        from flask import Flask, Response, abort, jsonify, request
    except ImportError:
        raise AezipError("the gallery needs more packages: pip install 'aezip[web]'") from None

    app = Flask(__name__, static_folder=None)
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
    if port == 80:
        hosts |= {HOST, "localhost"}

    @app.before_request
    def check() -> None:
        # A name that someone else's server resolves to this machine is not ours.
        if request.host not in hosts:
            abort(403, f"this gallery answers to {HOST}:{port} and localhost:{port} alone")
        # A link elsewhere may lead to the page, which says nothing by itself.
        led = request.path == "/" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        if not led and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            abort(403, "this gallery answers its own page alone")
        if request.method not in ("GET", "HEAD"):
            abort(405)

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.errorhandler(AezipError)
    def explain(error: AezipError) -> Response:
        status = 404 if isinstance(error, ImageError) else 500
        return Response(f"{error}\n", status, mimetype="text/plain")

    def known(row: int) -> int:
        if row >= len(gallery.archive):
            abort(404)
        return row

    def send(picture: Picture) -> Response:
        return keep(Response(picture.data, mimetype=picture.mime))

    def keep(response: Response) -> Response:
        # Addresses carry the archive's version, so what they lead to never changes.
        response.headers["Cache-Control"] = "private, max-age=86400, immutable"
        return response

    @app.get("/")
    def page() -> Response:
        return Response(static("gallery.html"), mimetype="text/html")

    @app.get("/gallery.css")
    def style() -> Response:
        return Response(static("gallery.css"), mimetype="text/css")

    @app.get("/gallery.js")
    def script() -> Response:
        return Response(static("gallery.js"), mimetype="text/javascript")

    @app.get("/archive.json")
    def archive() -> Response:
        return jsonify(describe(gallery.archive, gallery.originals is not None))

    @app.get("/psnr.json")
    def measured() -> Response:
        return jsonify(gallery.measured())

    @app.get("/<version>/thumbnail/<int:row>/<int:side>")
    def thumbnail(version: str, row: int, side: int) -> Response:
        if side not in SIDES:
            abort(404)
        return send(gallery.thumbnail(known(row), side))

    @app.get("/<version>/tiles/<rows>")
    def tiles(version: str, rows: str) -> Response:
        if not _TILE_LIST.fullmatch(rows):
            abort(404)
        response = jsonify(gallery.tiles(*(known(int(row)) for row in rows.split(","))))
        return keep(response)

    @app.get("/<version>/image/<int:row>")
    def image(version: str, row: int) -> Response:
        return send(gallery.image(known(row)))

    @app.get("/<version>/original/<int:row>")
    def original(version: str, row: int) -> Response:
        picture = gallery.original(known(row))
        # Not to be kept unasked: the file may be another by now, or of another folder.
        response = Response(picture.data, mimetype=picture.mime)
        response.headers["Cache-Control"] = "private, no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response

    @app.get("/<version>/details/<int:row>")
    def details(version: str, row: int) -> Response:
        return jsonify(gallery.details(known(row)))

    return app
