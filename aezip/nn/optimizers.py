"""Optimizers: they keep state per parameter and change the parameters in place."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Self

from aezip.nn.ops import Array, ops_of


class Optimizer(ABC):
    """What all share: the state of each parameter by name, and the checks."""

    _states: int  # arrays of the parameter's shape that are kept for it

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, list[Array]]] = {}  # steps taken, state

    def fresh(self) -> Self:
        """An optimizer with the same settings that has taken no step yet."""
        other = copy.copy(self)
        other._kept = {}
        return other

    def update(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        rates: Mapping[str, float] | float,
    ) -> None:
        """One step for each parameter that has a gradient.

        rates: the learning rate, one for all or one for each name in `gradients`.
        Raises ValueError where a gradient has not the shape of its parameter.
        """
        for name, gradient in gradients.items():
            parameter = parameters[name]
            if gradient.shape != parameter.shape:
                raise ValueError(
                    f"{name} of shape {parameter.shape} has a gradient of shape {gradient.shape}"
                )
            ops = ops_of(parameter)
            # float(): a scalar of NumPy's float64 would promote float32.
            rate = float(rates[name] if isinstance(rates, Mapping) else rates)
            if name not in self._kept:
                self._kept[name] = 0, [ops.xp.zeros_like(parameter) for _ in range(self._states)]
            step, state = self._kept[name]
            self._kept[name] = step + 1, state
            for block in ops.blocks(parameter):
                some = (x[block] for x in state)
                self._move(ops.xp, parameter[block], gradient[block], rate, step + 1, *some)

    @abstractmethod
    def _move(
        self, xp: ModuleType, p: Array, g: Array, rate: float, step: int, *state: Array
    ) -> None:
        """Change the parameter p by its gradient g, and its state; steps count from 1."""


class SGD(Optimizer):
    """Stochastic gradient descent, p -= rate * g; with momentum, p -= rate * v where
    v = momentum * v + g (Polyak, "Some methods of speeding up the convergence of iteration
    methods", 1964)."""

    def __init__(self, *, momentum: float = 0.0) -> None:
        super().__init__()
        self.momentum = momentum
        self._states = 1 if momentum else 0

    def _move(
        self, xp: ModuleType, p: Array, g: Array, rate: float, step: int, *state: Array
    ) -> None:
        if self.momentum:
            (v,) = state
            v *= self.momentum
            v += g
            g = v
        p -= rate * g


class RMSprop(Optimizer):
    """Each gradient over the root of its mean square (Tieleman and Hinton, "Lecture 6.5 - RMSProp",
    2012)."""

    _states = 1

    def __init__(self, *, rho: float = 0.9, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.rho, self.epsilon = rho, epsilon

    def _move(
        self, xp: ModuleType, p: Array, g: Array, rate: float, step: int, *state: Array
    ) -> None:
        (v,) = state
        v += (1 - self.rho) * (g * g - v)
        p -= rate * g / (xp.sqrt(v) + self.epsilon)


class Adam(Optimizer):
    """Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1."""

    _states = 2

    def __init__(self, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def _move(
        self, xp: ModuleType, p: Array, g: Array, rate: float, step: int, *state: Array
    ) -> None:
        # The moments are kept over (1 - beta1) and (1 - beta2): each saves a pass over the array.
        m, v = state
        m *= self.beta1
        m += g
        v *= self.beta2
        change = xp.empty_like(v)
        xp.multiply(g, g, out=change)
        v += change
        scale = ((1 - self.beta2**step) / (1 - self.beta2)) ** 0.5
        xp.sqrt(v, out=change)
        change += self.epsilon * scale
        xp.divide(m, change, out=change)
        change *= rate * scale * (1 - self.beta1) / (1 - self.beta1**step)
        p -= change


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": SGD,
    "momentum": lambda: SGD(momentum=0.9),
    "rmsprop": RMSprop,
    "adam": Adam,
}
"""By the names that a model is compiled with."""
