"""The models that come with aezip, for others to start from: an archive never needs them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

_NAMES = {"pyramid": ("start-photos.h5", "start-few-photos.h5")}


def models_for(arch: str) -> list[Path]:
    """The files of the models to start from, the one of most parameters first; there are none for
    some architectures."""
    paths = []
    for name in _NAMES.get(arch, ()):
        try:
            # Joined before it is a path: a package without code may be spread over several folders.
            path = Path(str(resources.files("aezip.models") / name))
        except ModuleNotFoundError:  # run from a source tree that is not installed
            path = Path(__file__).parents[1] / "models" / name
        if path.exists():
            paths.append(path)
    return paths
