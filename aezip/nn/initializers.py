"""Weights to start from: random, of the size that keeps signals from fading or growing from layer
to layer, which depends on the activation that follows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_RECTIFIERS = {"relu", "leaky_relu"}


def initial_weights(
    shape: tuple[int, ...], fans: tuple[int, int], activation: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Weights (shape) for a layer in front of an activation, uniform about zero.

    fans: inputs that each output is made of, and outputs that each input goes into. Before
    rectifiers, which let half of the signal through, the variance is 2 / inputs (He et al.,
    "Delving deep into rectifiers", 2015), else 2 / (inputs + outputs), a compromise between both
    directions (Glorot and Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", 2010).
    """
    inputs, outputs = fans
    variance = 2 / inputs if activation in _RECTIFIERS else 2 / (inputs + outputs)
    limit = math.sqrt(3 * variance)
    return rng.uniform(-limit, limit, shape).astype(np.float32)
