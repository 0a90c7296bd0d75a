"""Arrays that several processes see: they lie in a temporary file that each maps into memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 64  # bytes: so that each array begins where a cache line does


class Shared(NamedTuple):
    """Where the arrays are: small, and can be sent to another process."""

    path: Path
    places: list[tuple[int, tuple[int, ...], str]]  # offset, shape, dtype

    def arrays(self) -> list[NDArray]:
        """The arrays; what is written to one is seen by every process."""
        if not self.places:
            return []
        whole = np.memmap(self.path, np.uint8, "r+")
        return [
            np.ndarray(shape, dtype, buffer=whole, offset=at) for at, shape, dtype in self.places
        ]

    def named(self, names: Iterable[str]) -> dict[str, NDArray]:
        """The arrays by names, given in their order."""
        return dict(zip(names, self.arrays(), strict=True))


@overload
def share(path: Path, arrays: Iterable[NDArray]) -> Shared: ...
@overload
def share(path: Path, arrays: Iterable[NDArray], most: int) -> Shared | None: ...
def share(path: Path, arrays: Iterable[NDArray], most: int | None = None) -> Shared | None:
    """Write arrays to a new file, one after the other, so that only one is held at a time; None
    where they take more than `most` bytes."""
    places = []
    with open(path, "wb") as file:
        for array in arrays:
            file.write(bytes(-file.tell() % _ALIGNED))
            places.append((file.tell(), array.shape, array.dtype.str))
            file.write(np.ascontiguousarray(array).data)
            if most is not None and file.tell() > most:
                return None
    return Shared(path, places)
