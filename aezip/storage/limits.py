"""How much a file may claim before it is believed.

Archives come from strangers too. Each size that a file names is held against one of these before
memory is asked for; whoever has larger files sets the environment variable of that name.
"""

from __future__ import annotations

import os

from aezip.errors import AezipError

MAX_PIXELS = 178_956_970
"""Of one image (AEZIP_MAX_PIXELS): above it Pillow warns, and above twice as many it refuses."""

MAX_ROW_BYTES = 1 << 28
"""Of one line of a CSV (AEZIP_MAX_ROW_BYTES)."""

MAX_HDF5_BYTES = 1 << 30
"""Of one array in an HDF5 file, and of all of them together (AEZIP_MAX_HDF5_BYTES)."""

MAX_METADATA_BYTES = 1 << 24
"""Of one colour profile or one image's EXIF, expanded (AEZIP_MAX_METADATA_BYTES)."""

MAX_PARAMETERS = 1 << 25
"""Of one decoder (AEZIP_MAX_PARAMETERS)."""

MAX_PARAMETERS_PER_BYTE = 4096
"""Parameters that a decoder may claim for each byte it has (AEZIP_MAX_PARAMETERS_PER_BYTE)."""


def limit(name: str) -> int:
    """The limit of that name, such as "MAX_PIXELS". Raises AezipError where the environment
    says something that is no whole number."""
    text = os.environ.get(f"AEZIP_{name}")
    if not text:
        return int(globals()[name])
    if not text.isdecimal():
        raise AezipError(f"AEZIP_{name} is no whole number")
    return int(text)
