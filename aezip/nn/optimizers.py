"""Optimizers: they keep state per parameter and change the parameters in place."""

from __future__ import annotations

from collections.abc import Mapping

from aezip.nn.ops import Array, ops_of


class Adam:
    """Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1."""

    def __init__(self, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self._moments: dict[str, tuple[Array, Array, int]] = {}

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
            xp = ops_of(parameter).xp
            # float(): a scalar of NumPy's float64 would promote float32.
            rate = float(rates[name] if isinstance(rates, Mapping) else rates)
            m, v, t = self._moments.get(name) or (
                xp.zeros_like(parameter),
                xp.zeros_like(parameter),
                0,
            )
            t += 1
            m += (1 - self.beta1) * (gradient - m)
            v += (1 - self.beta2) * (gradient * gradient - v)
            self._moments[name] = m, v, t
            correction = (1 - self.beta2**t) ** 0.5
            step = rate * correction / (1 - self.beta1**t)
            parameter -= step * m / (xp.sqrt(v) + self.epsilon * correction)
