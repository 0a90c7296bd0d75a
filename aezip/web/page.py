"""The page of the gallery: one HTML file, with its pictures behind addresses or within it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import resources
from typing import Any

from aezip.archive import Archive
from aezip.errors import ArchiveError
from aezip.storage.files import one_line, reason, replacing
from aezip.targets import check_target
from aezip.web.gallery import describe, thumbnail

_STYLE = '<link rel="stylesheet" href="gallery.css">'
_SCRIPT = '<script src="gallery.js"></script>'
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def static(name: str) -> str:
    """One of the files the page is made of."""
    return resources.files("aezip.web").joinpath("static", name).read_text("utf-8")


def export(
    csv: str | os.PathLike[str],
    html: str | os.PathLike[str],
    *,
    side: int = 200,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, str]]:
    """Write an archive's gallery as one HTML file, with previews of up to `side` pixels in it.

    Returns (row, why not) for each row that has none, as it is damaged. progress: called with
    (rows done, rows in all). Raises AezipError where nothing could be written.
    """
    if not os.fspath(html).lower().endswith((".html", ".htm")):
        raise ArchiveError(f"{one_line(html)}: galleries are written as .html; name one of these")
    check_target(html)
    archive = Archive(csv)
    description = describe(archive, originals=False)
    failed: list[tuple[str, str]] = []
    pictures: list[str] = []
    for number, head in enumerate(description["rows"]):
        try:
            if len(head) == 1:
                raise ArchiveError(head[0])
            pictures.append(thumbnail(archive.thumbnail(archive.row(number), side)).address)
        except ArchiveError as error:
            failed.append((f"row {number}", str(error)))
            pictures.append("")
            description["rows"][number] = [str(error)]
        if progress is not None:
            progress(number + 1, len(archive))
    page = _whole({**description, "pictures": pictures})
    try:
        with replacing(html) as temporary:
            temporary.write_text(page, "utf-8")
    except OSError as error:
        raise ArchiveError(f"{one_line(html)} cannot be written: {reason(error)}") from error
    return failed


def _whole(data: dict[str, Any]) -> str:
    page = static("gallery.html")
    for part in (_STYLE, _SCRIPT, "</head>"):
        if page.count(part) != 1:
            raise ValueError(f"gallery.html has no {part}")
    # ASCII, so that a name that is no text does no harm; and no `<` that could end the script.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = page.replace(_STYLE, f"<style>\n{static('gallery.css')}</style>")
    page = page.replace(
        _SCRIPT,
        f'<script type="application/json" id="data">{text}</script>\n'
        f"<script>\n{static('gallery.js')}</script>",
    )
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return page.replace("</head>", f"{policy}\n</head>")
