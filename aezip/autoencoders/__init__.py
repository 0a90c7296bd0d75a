"""The architectures: from an image to integer latents to bytes, and back.

- `base`: what every architecture provides. - `dense`: many small images of one size.
- `pyramid`: photographs of any size, made of `lifting` (the transform) and `postfilter`.
"""

from aezip.autoencoders.base import Autoencoder, Loss, Parameters, Pixels, check_quality
from aezip.autoencoders.dense import Dense
from aezip.autoencoders.pyramid import Pyramid

ARCHITECTURES: dict[str, type[Autoencoder]] = {x.arch: x for x in (Dense, Pyramid)}

__all__ = [
    "ARCHITECTURES",
    "Autoencoder",
    "Dense",
    "Loss",
    "Parameters",
    "Pixels",
    "Pyramid",
    "check_quality",
]
