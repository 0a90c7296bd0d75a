"""Packs a collection of images into a decoder and a few bytes per image.

    import aezip
    aezip.fit("photos")
    aezip.compress("photos", "out.csv")
    archive = aezip.open("out.csv")
    archive[3].show()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aezip._version import __version__

if TYPE_CHECKING:
    from aezip.archive import Archive
    from aezip.archive import Archive as open
    from aezip.changing import add, remove
    from aezip.compressing import Report, compress
    from aezip.errors import AezipError, ArchiveError, ImageError, ModelError
    from aezip.extracting import extract
    from aezip.fitting import Fitted, Progress, fit
    from aezip.originals import Deleted, delete_originals
    from aezip.verifying import Verified, verify

__all__ = [
    "AezipError",
    "Archive",
    "ArchiveError",
    "Deleted",
    "Fitted",
    "ImageError",
    "ModelError",
    "Progress",
    "Report",
    "Verified",
    "__version__",
    "add",
    "compress",
    "delete_originals",
    "extract",
    "fit",
    "open",
    "remove",
    "verify",
]

# Loaded when first asked for: NumPy reads its settings as it is loaded, and the command line has
# some to make.
_HOMES = {
    "aezip.archive": ("Archive",),
    "aezip.changing": ("add", "remove"),
    "aezip.compressing": ("Report", "compress"),
    "aezip.errors": ("AezipError", "ArchiveError", "ImageError", "ModelError"),
    "aezip.extracting": ("extract",),
    "aezip.fitting": ("Fitted", "Progress", "fit"),
    "aezip.originals": ("Deleted", "delete_originals"),
    "aezip.verifying": ("Verified", "verify"),
}


def __getattr__(name: str) -> Any:
    if name == "open":
        return __getattr__("Archive")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
