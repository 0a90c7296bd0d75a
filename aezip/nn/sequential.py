"""A model of layers one after the other: it owns their parameters, trains and applies them.

All parameters lie in one flat array, and so do their gradients; layers get views. The optimizer
thus takes one step over everything: with small arrays it is the calls that cost.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from aezip.nn import saving
from aezip.nn.activations import ACTIVATIONS
from aezip.nn.losses import (
    OBJECTIVES,
    Objective,
    binary_cross_entropy,
    check_classes,
    sparse_cross_entropy,
)
from aezip.nn.metrics import METRICS, Metric, binary_accuracy
from aezip.nn.modules import Layer, Parameters, Shape, as_shape, shapes_through
from aezip.nn.ops import Array, ops_for
from aezip.nn.optimizers import OPTIMIZERS, Optimizer

_DTYPE = np.float32
_ALL = "all"  # the optimizer's name for the flat array of all parameters
_EVALUATED = 256  # samples at once where nothing is trained


class Sequential:
    """A stack of layers, for inputs and outputs of one array each.

    layers: the first may tell its `input_shape`; otherwise the first data do. seed: of initial
    weights, the order of batches and dropout: the same seed and data give the same model, on one
    machine and number of threads. device: "cpu", or "cuda" where CuPy finds a GPU.
    Raises ValueError where a layer cannot take the shape that the one before it gives, DeviceError
    where there is no such device.
    """

    def __init__(
        self, layers: Sequence[Layer] = (), *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.layers: list[Layer] = []
        self._ops = ops_for(device)
        self._rng = np.random.default_rng(seed)
        self._shapes: list[Shape] = []  # of a sample before the first layer and after each
        self._flat = self._flat_gradient = self._ops.xp.zeros(0, _DTYPE)
        self._parameters: list[Parameters] = []  # of each layer: views of the flat array
        self._gradients: list[Parameters] = []
        self._objective: Objective | None = None
        for layer in layers:
            self.add(layer)

    # --- what it is made of ---

    def add(self, layer: Layer) -> None:
        """Put a layer at the end; a model compiled before has to be compiled again.

        Raises ValueError for what is no layer, and where it cannot take the shape that the layers
        before it give; the model is then what it was.
        """
        if not isinstance(layer, Layer):
            raise ValueError(f"a layer is an object of a Layer class, not {type(layer).__name__}")
        if self._shapes:
            self._extend([layer], self._shapes[-1])
        elif not self.layers and layer.input_shape is not None:
            self._extend([layer], layer.input_shape)
        self.layers.append(layer)
        self._objective = None

    def build(self, input_shape: Shape) -> None:
        """Make the parameters, if there are none yet, for samples of a shape.

        Raises ValueError where the layers cannot take it or the model has another already.
        """
        if not self._shapes:
            self._extend(self.layers, input_shape)
        elif as_shape(input_shape) != self.input_shape:
            raise ValueError(
                f"a model for samples of {self.input_shape} is not built for {input_shape}"
            )

    @property
    def input_shape(self) -> Shape:
        """Of one sample. Raises ValueError while nothing has told it."""
        return self._known_shapes()[0]

    @property
    def output_shape(self) -> Shape:
        """Of one sample. Raises ValueError while that of the inputs is not known."""
        return self._known_shapes()[-1]

    def count_params(self) -> int:
        """The number of all parameters."""
        self._known_shapes()
        return int(self._flat.size)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all parameters, layer by layer, weights before bias."""
        return [self._ops.to_host(x).copy() for p in self._parameters for x in p.values()]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Put arrays in the place of the parameters, in the order of `get_weights`.

        Raises ValueError where their number or shapes are not the model's.
        """
        own = [x for parameters in self._parameters for x in parameters.values()]
        if len(weights) != len(own):
            raise ValueError(f"the model has {len(own)} arrays of parameters, not {len(weights)}")
        for parameter, values in zip(own, weights, strict=True):
            if parameter.shape != np.shape(values):
                raise ValueError(
                    f"parameters of shape {parameter.shape} cannot be {np.shape(values)}"
                )
        for parameter, values in zip(own, weights, strict=True):
            parameter[...] = self._ops.asarray(values, _DTYPE)

    def summary(self) -> None:
        """Print a table of the layers, their shapes without the batch, and their parameters."""
        shapes = self._known_shapes()
        rows = [("layer", "input", "output", "activation", "parameters")]
        for layer, before, after, p in zip(
            self.layers, shapes, shapes[1:], self._parameters, strict=False
        ):
            count = sum(x.size for x in p.values())
            activation = getattr(layer, "activation", "")
            rows.append((type(layer).__name__, str(before), str(after), activation, f"{count:,}"))
        rows.append(("total", "", "", "", f"{self.count_params():,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for *texts, count in rows:
            cells = [text.ljust(width) for text, width in zip(texts, widths, strict=False)]
            print("  ".join([*cells, count.rjust(widths[-1])]))

    # --- training and use ---

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        lr: float = 0.001,
        loss: str = "mse",
        metrics: Sequence[str] = (),
    ) -> None:
        """Say how the model is trained, from here on.

        optimizer: "sgd", "momentum", "rmsprop", "adam", or one of `aezip.nn`'s with settings of its
        own: a copy of it that has taken no step. lr: the learning rate. loss: "mse", or
        "binary_crossentropy" of a last layer with sigmoid, or "categorical_crossentropy" of one
        with softmax, which is "sparse_categorical_crossentropy" where targets are the classes'
        numbers, (n,) or (n, 1). metrics: of "accuracy", which under "binary_crossentropy" counts
        elements and else samples, and "mae", which there is not for classes' numbers.
        Raises ValueError for other names and for a loss that the last layer does not go with; the
        model is then compiled as it was.
        """
        if not self.layers:
            raise ValueError("a model without layers cannot be trained")
        if not lr > 0:
            raise ValueError(f"a learning rate is greater than zero, not {lr}")
        objective = _named("loss", OBJECTIVES, loss)
        last = self.layers[-1]
        if objective.activation is not None:
            activation = getattr(last, "activation", "none")
            if activation != objective.activation:
                raise ValueError(
                    f"{loss} goes with a last layer of activation {objective.activation}, "
                    f"not {activation}"
                )
            # Losses that take logits replace the activation, whose outputs round to 0 and 1.
            last = replace(last, activation="linear")  # type: ignore[call-arg]
        if isinstance(metrics, str) or not isinstance(metrics, Sequence):
            raise ValueError(f"metrics is a list of names, not {metrics!r}")
        known = dict(METRICS)
        if objective.loss is binary_cross_entropy:
            known["accuracy"] = binary_accuracy
        elif objective.loss is sparse_cross_entropy:
            del known["mae"]
        wanted = {name: _named(f"metric of {loss},", known, name) for name in metrics}
        if not isinstance(optimizer, Optimizer):
            made: Optimizer = _named("optimizer", OPTIMIZERS, optimizer)()
        else:
            made = optimizer.fresh()
        # Nothing is refused from here on.
        self._optimizer = made
        self._metrics: dict[str, Metric] = wanted
        self._lr = lr
        self._trained = [*self.layers[:-1], last]
        self._objective = objective

    def fit(
        self,
        x: Any,
        y: Any,
        epochs: int = 1,
        batch_size: int = 32,
        *,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        verbose: bool = True,
    ) -> dict[str, list[float]]:
        """Train on samples x (n, ...) and their targets y (n, ...).

        An epoch goes over all samples once, in a new order if `shuffle`. verbose: show a progress
        bar for each. A KeyboardInterrupt leaves the model as the last step made it.
        Returns the history, one value for each epoch: "loss", the mean over the epoch, and each
        metric; with validation_data (x, y) also "val_loss" and the like, from after the epoch.
        Raises ValueError for shapes that are not the model's, for numbers of classes that it has
        not, for no samples, for less than one epoch or sample of a batch, and when it is not
        compiled: all before anything is changed.
        """
        from tqdm import tqdm  # not above: who only applies a model should not wait for it

        for name, number in (("epochs", epochs), ("batch_size", batch_size)):
            if number < 1:
                raise ValueError(f"{name} is at least 1, not {number}")
        pairs = [(x, y)]
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
                raise ValueError("validation_data is a pair (x, y)")
            pairs.append(tuple(validation_data))
        (x, y), *validation = self._samples(*pairs)
        history: dict[str, list[float]] = {}
        for epoch in range(1, epochs + 1):
            order = self._rng.permutation(len(x)) if shuffle else np.arange(len(x))
            order = self._ops.asarray(order)
            total = _Mean()
            with tqdm(
                total=-(-len(x) // batch_size),
                desc=f"epoch {epoch}/{epochs}",
                disable=not verbose,
            ) as bar:
                for start in range(0, len(x), batch_size):
                    batch = order[start : start + batch_size]
                    inputs = x[batch]
                    targets = inputs if y is x else y[batch]
                    total.add(self._train(inputs, targets), len(inputs))
                    bar.set_postfix_str(f"loss {total.values['loss']:.4g}", refresh=False)
                    bar.update()
                results = total.values
                for pair in validation:
                    after = self._evaluate(*pair, _EVALUATED)
                    results.update({f"val_{name}": value for name, value in after.items()})
                shown = ", ".join(f"{k} {v:.4g}" for k, v in results.items())
                bar.set_postfix_str(shown, refresh=False)
            for name, value in results.items():
                history.setdefault(name, []).append(value)
        return history

    def train_on_batch(self, x: Any, y: Any) -> dict[str, float]:
        """One step of the optimizer. Returns "loss" and each metric, from before the step."""
        return self._train(*self._samples((x, y))[0])

    def evaluate(self, x: Any, y: Any, batch_size: int = _EVALUATED) -> dict[str, float]:
        """ "loss" and each metric over samples x and their targets y.

        Raises ValueError as `fit` does.
        """
        return self._evaluate(*self._samples((x, y))[0], batch_size)

    def predict(self, x: Any, batch_size: int = _EVALUATED) -> np.ndarray:
        """The outputs for samples x (n, ...): an array of NumPy, float32.

        Raises ValueError where the shape is not the model's.
        """
        x, shapes = self._inputs(x, self._shapes)
        if not self._shapes:
            self.build(shapes[0])
        outputs = [
            self._ops.to_host(self._apply(self.layers, x[batch], None)[0])
            for batch in _batches(len(x), batch_size)
        ]
        return np.concatenate(outputs) if outputs else np.zeros((0, *self.output_shape), _DTYPE)

    # --- files ---

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and parameters as HDF5, whole or not at all.

        Raises ValueError while the inputs' shape is not known and for layers of classes that are
        not `aezip.nn`'s, OSError where it cannot be written.
        """
        named = [
            {name: self._ops.to_host(x) for name, x in parameters.items()}
            for parameters in self._parameters
        ]
        saving.write(path, self.input_shape, self.layers, named)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, seed: int = 0, device: str = "cpu"
    ) -> Self:
        """The model that `save` wrote; to train it on, compile it.

        seed: of what is random from here on.
        Raises ValueError for a file that it did not write or that is damaged, OSError where it
        cannot be read, DeviceError as the constructor does.
        """
        input_shape, layers, parameters = saving.read(path)
        model = cls(layers, seed=seed, device=device)
        model.build(input_shape)
        model.set_weights([x for named in parameters for x in named.values()])
        return model

    # --- inside ---

    def _extend(self, new: Sequence[Layer], shape: Shape) -> None:
        """Make the parameters of layers that come after those that have some; shape: of what the
        first of them is given."""
        shapes = shapes_through(new, shape)
        initial = [layer.initial(s, self._rng) for layer, s in zip(new, shapes, strict=False)]
        arrays = [x.ravel() for named in initial for x in named.values()]
        flat = np.concatenate([self._ops.to_host(self._flat), *arrays])
        every = [{k: x.shape for k, x in p.items()} for p in [*self._parameters, *initial]]
        self._shapes = [*self._shapes[:-1], *shapes]
        self._flat = self._ops.asarray(flat)
        self._flat_gradient = self._ops.xp.zeros_like(self._flat)
        self._parameters = _views(self._flat, every)
        self._gradients = _views(self._flat_gradient, every)

    def _known_shapes(self) -> list[Shape]:
        if not self._shapes:
            raise ValueError(
                "the shape of the inputs is not known yet: give the first layer an input_shape"
            )
        return self._shapes

    def _samples(self, *pairs: tuple[Any, Any]) -> list[tuple[Array, Array]]:
        """Samples and targets on the device, once all are known to fit the model, which is then
        built."""
        if self._objective is None:
            raise ValueError("the model is not compiled")
        shapes, result = self._shapes, []
        for x, y in pairs:
            samples, shapes = self._inputs(x, shapes)
            if not len(samples):
                raise ValueError(f"inputs of shape {samples.shape} hold no samples")
            # An autoencoder's targets are its inputs.
            targets = self._targets(samples if y is x else y, (len(samples), *shapes[-1]))
            result.append((samples, targets))
        if not self._shapes:
            self.build(shapes[0])
        return result

    def _targets(self, y: Any, outputs: Shape) -> Array:
        """Targets on the device, once they are known to fit outputs of a shape."""
        assert self._objective is not None
        sparse = self._objective.loss is sparse_cross_entropy
        targets = self._ops.asarray(y, None if sparse else _DTYPE)
        wanted = outputs[:-1] if sparse else outputs
        if sparse and targets.shape == (*wanted, 1):  # as they are in Keras
            targets = targets[..., 0]
        if targets.shape != wanted:
            raise ValueError(f"targets of shape {targets.shape} do not fit outputs of {outputs}")
        if sparse:
            check_classes(targets, outputs[-1])
        return targets

    def _inputs(self, x: Any, shapes: list[Shape]) -> tuple[Array, list[Shape]]:
        """Samples on the device, and what the layers make of their shape: `shapes`, if those are
        known, which they have to fit."""
        x = self._ops.asarray(x, _DTYPE)
        if x.ndim == 0:
            raise ValueError("inputs of shape () hold no samples")
        shapes = shapes or shapes_through(self.layers, x.shape[1:])
        if x.shape[1:] != shapes[0]:
            wanted = ", ".join(["n", *map(str, shapes[0])])
            raise ValueError(f"inputs of shape {x.shape} do not fit a model of ({wanted})")
        return x, shapes

    def _train(self, x: Array, y: Array) -> dict[str, float]:
        results, backprop = self._losses(x, y, self._rng)
        backprop()
        self._optimizer.update({_ALL: self._flat}, {_ALL: self._flat_gradient}, self._lr)
        return results

    def _evaluate(self, x: Array, y: Array, batch_size: int) -> dict[str, float]:
        total = _Mean()
        for batch in _batches(len(x), batch_size):
            total.add(self._losses(x[batch], y[batch], None)[0], len(x[batch]))
        return total.values

    def _losses(
        self, x: Array, y: Array, training: np.random.Generator | None
    ) -> tuple[dict[str, float], Callable[[], None]]:
        """Loss and metrics of a batch; backprop sets the gradients."""
        assert self._objective is not None
        outputs, backprop = self._apply(self._trained, x, training)
        value, gradient = self._objective.loss(outputs, y)
        results = {"loss": value}
        if self._metrics:
            predicted, _ = ACTIVATIONS[self._objective.activation or "linear"](outputs)
            results.update({name: metric(predicted, y) for name, metric in self._metrics.items()})
        return results, lambda: backprop(gradient)

    def _apply(
        self, layers: Sequence[Layer], x: Array, training: np.random.Generator | None
    ) -> tuple[Array, Callable[[Array], None]]:
        """The layers' outputs; in training, backprop sets the gradients of all parameters."""
        # No gradient goes further back than to the first layer that has parameters.
        first = next((i for i, p in enumerate(self._parameters) if p), len(layers))
        backprops = []
        for number, (layer, parameters) in enumerate(zip(layers, self._parameters, strict=True)):
            applied = layer.apply(parameters, x, training=training, of_data=number == first)
            x = applied[0]
            if training is not None:
                backprops.append(applied[1])
            del applied  # its backprop holds what it needs of the inputs, which may be large

        def backprop_all(d: Array) -> None:
            for number in reversed(range(first, len(layers))):
                d, gradients = backprops[number](d)
                for name, gradient in gradients.items():
                    self._gradients[number][name][...] = gradient

        return x, backprop_all


class _Mean:
    """Mean values by name over batches of different sizes."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._samples = 0

    def add(self, values: dict[str, float], samples: int) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * samples
        self._samples += samples

    @property
    def values(self) -> dict[str, float]:
        return {name: total / self._samples for name, total in self._sums.items()}


def _named(kind: str, known: dict[str, Any], name: str) -> Any:
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"there is no {kind} {name!r}; there are {', '.join(known)}")
    return known[name]


def _batches(count: int, size: int) -> Iterator[slice]:
    if size < 1:
        raise ValueError(f"batch_size is at least 1, not {size}")
    return (slice(start, start + size) for start in range(0, count, size))


def _views(flat: Array, shapes: Sequence[dict[str, Shape]]) -> list[Parameters]:
    """Of a flat array, views of these shapes one after the other."""
    result, start = [], 0
    for named in shapes:
        views = {}
        for name, shape in named.items():
            size = math.prod(shape)
            views[name] = flat[start : start + size].reshape(shape)
            start += size
        result.append(views)
    return result
