"""Packs a collection of images into a decoder and a few bytes per image.

    import aezip
    aezip.fit("photos")
    aezip.compress("photos", "out.csv")
    archive = aezip.open("out.csv")
    archive[3].show()
"""

from aezip._version import __version__
from aezip.archive import Archive, extract
from aezip.archive import Archive as open
from aezip.compressing import Report, compress
from aezip.errors import AezipError, ArchiveError, ImageError, ModelError
from aezip.fitting import Fitted, Progress, fit

__all__ = [
    "AezipError",
    "Archive",
    "ArchiveError",
    "Fitted",
    "ImageError",
    "ModelError",
    "Progress",
    "Report",
    "__version__",
    "compress",
    "extract",
    "fit",
    "open",
]
