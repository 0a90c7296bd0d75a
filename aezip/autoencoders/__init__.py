"""The architectures: from an image to integer latents to bytes, and back.

- `base`: what every architecture provides. - `dense`: many small images of one size.
- `pyramid`: photographs of any size, made of `lifting` (the transform) and `postfilter`.
"""

from aezip.autoencoders.base import (
    DEFAULT_EFFORT,
    Autoencoder,
    Loss,
    Parameters,
    Pixels,
    check_effort,
    check_quality,
)
from aezip.autoencoders.dense import Dense
from aezip.autoencoders.pyramid import Pyramid

ARCHITECTURES: dict[str, type[Autoencoder]] = {x.arch: x for x in (Dense, Pyramid)}

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_EFFORT",
    "Autoencoder",
    "Dense",
    "Loss",
    "Parameters",
    "Pixels",
    "Pyramid",
    "check_effort",
    "check_quality",
]
