"""The models that come with aezip, for others to start from: an archive never needs them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

_NAMES = {"pyramid": "start-photos.h5"}


def model_for(arch: str) -> Path | None:
    """The file of the model to start from, None where there is none for this architecture."""
    name = _NAMES.get(arch)
    if name is None:
        return None
    try:
        # Joined before it is a path: a package without code may be spread over several folders.
        path = Path(str(resources.files("aezip.models") / name))
    except ModuleNotFoundError:  # run from a source tree that is not installed
        path = Path(__file__).parents[1] / "models" / name
    return path if path.exists() else None
