"""Training steps of `aezip.nn` beside PyTorch's, on the same cores and in turns.

Three networks: the autoencoder 784-10-10-784 that aezip grew from, a dense one 784-256-64-256-784,
and a convolutional classifier of 32 x 32 x 3 images. Both libraries start from the same weights
and see the same batches, which are drawn from memory as part of the step; that their losses agree
is checked before anything is timed. PyTorch is timed with its plain and its fused Adam, and
images both channels first and last; its fastest is compared. OPENBLAS_NUM_THREADS tells how many
cores both use: one unless it is set, as in all processes of aezip.
"""
# ruff: noqa: E402

import os

THREADS = int(os.environ.setdefault("OPENBLAS_NUM_THREADS", "1"))
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import click
import numpy as np
import torch

from aezip.nn import Conv2D, Dense, Flatten, Sequential

SAMPLES = 2048
SETTLE = 0.05  # seconds: threads of the library that had its turn before go to sleep
ROUND = 0.15  # seconds of steps in a turn
PEAK_SIZE = 1024

Step = Callable[[np.ndarray], float]


@dataclass
class Case:
    name: str
    batch: int
    model: Sequential
    x: np.ndarray
    y: np.ndarray
    bar: float  # of PyTorch's speed


def cases() -> list[Case]:
    rng = np.random.default_rng(0)
    vectors = rng.random((SAMPLES, 784), np.float32)
    images = rng.random((SAMPLES, 32, 32, 3), np.float32)
    classes = rng.integers(10, size=SAMPLES)
    article = Sequential(
        [Dense(10, "sigmoid", input_shape=(784,)), Dense(10, "relu"), Dense(784, "sigmoid")]
    )
    wide = Sequential(
        [
            Dense(256, "relu", input_shape=(784,)),
            Dense(64, "relu"),
            Dense(256, "relu"),
            Dense(784, "sigmoid"),
        ]
    )
    convolutional = Sequential(
        [
            Conv2D(16, 3, 2, "same", "relu", input_shape=(32, 32, 3)),
            Conv2D(32, 3, 2, "same", "relu"),
            Conv2D(64, 3, 2, "same", "relu"),
            Flatten(),
            Dense(10, "softmax"),
        ]
    )
    article.compile()
    wide.compile()
    convolutional.compile(loss="sparse_categorical_crossentropy")
    return [
        Case("784-10-10-784", 32, article, vectors, vectors, 1.0),
        Case("784-256-64-256-784", 128, wide, vectors, vectors, 0.8),
        Case("convolutional 16-32-64", 32, convolutional, images, classes, 0.5),
    ]


def aezip_step(case: Case) -> Step:
    def step(batch: np.ndarray) -> float:
        x = case.x[batch]
        y = x if case.y is case.x else case.y[batch]
        return case.model.train_on_batch(x, y)["loss"]

    return step


def torch_step(case: Case, fused: bool, channels_last: bool = False) -> Step:
    """The same network and weights.

    An odd pixel of padding comes first in PyTorch and last here. Images and kernels are mirrored,
    which makes it the same.
    """
    parts: list[torch.nn.Module] = []
    weights = iter(case.model.get_weights())
    shape = case.model.input_shape
    images: tuple[int, ...] = ()  # what was flattened last
    for layer in case.model.layers:
        if isinstance(layer, Conv2D):
            w, b = next(weights), next(weights)
            parts.append(torch.nn.Conv2d(w.shape[2], w.shape[3], 3, 2, 1))
            parts[-1].weight.data = torch.tensor(w[::-1, ::-1].transpose(3, 2, 0, 1).copy())
            parts[-1].bias.data = torch.tensor(b)
        elif isinstance(layer, Dense):
            w, b = next(weights), next(weights)
            if images:
                mirrored = w.reshape(*images, -1)[::-1, ::-1]
                w, images = mirrored.transpose(2, 0, 1, 3).reshape(w.shape), ()
            parts.append(torch.nn.Linear(*w.shape))
            parts[-1].weight.data = torch.tensor(w.T.copy())
            parts[-1].bias.data = torch.tensor(b)
        else:
            images = shape
            parts.append(torch.nn.Flatten())
        activation = getattr(layer, "activation", None)
        if activation in ("relu", "sigmoid"):
            parts.append({"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid}[activation]())
        shape = layer.output_shape(shape)
    network = torch.nn.Sequential(*parts)
    x, y = torch.tensor(case.x), torch.tensor(case.y)
    if x.ndim == 4:
        x = x.flip(1, 2).permute(0, 3, 1, 2).contiguous()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(network.parameters(), lr=0.001, fused=fused)
    same = case.y is case.x
    loss_of = torch.nn.functional.mse_loss if same else torch.nn.functional.cross_entropy

    def step(batch: np.ndarray) -> float:
        index = torch.from_numpy(batch)
        inputs = x[index]
        targets = inputs if same else y[index]
        adam.zero_grad()
        loss = loss_of(network(inputs), targets)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def operations(case: Case) -> int:
    """Multiplications and additions in the matrix products of a step."""
    total, shape, of_data = 0, case.model.input_shape, True
    for layer in case.model.layers:
        after = layer.output_shape(shape)
        if "w" in layer.parameter_shapes(shape):
            outputs = math.prod(after[:-1])
            once = 2 * case.batch * outputs * math.prod(layer.parameter_shapes(shape)["w"])
            # Forward, by the weights and, but of data, by the inputs.
            total += once * (2 if of_data else 3)
            of_data = False
        shape = after
    return total


def turn(step: Callable[[np.ndarray], object], batches: list[np.ndarray]) -> list[float]:
    """Seconds of each step."""
    time.sleep(SETTLE)
    for batch in batches[:3]:
        step(batch)
    seconds: list[float] = []
    while sum(seconds) < ROUND:
        for batch in batches:
            began = time.perf_counter()
            step(batch)
            seconds.append(time.perf_counter() - began)
    return seconds


def check_losses(case: Case, steps: dict[str, Step], batches: list[np.ndarray]) -> None:
    losses = {name: [step(batch) for batch in batches] for name, step in steps.items()}
    for name, theirs in losses.items():
        np.testing.assert_allclose(theirs, losses["aezip"], rtol=1e-3, err_msg=name)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
def main(rounds: int) -> None:
    """Print microseconds per step, the ratio, and the share of the measured sgemm peak."""
    torch.set_num_threads(THREADS)
    click.echo(f"NumPy {np.__version__}, PyTorch {torch.__version__}, threads: {THREADS}")
    square = np.random.default_rng(0).random((PEAK_SIZE, PEAK_SIZE), np.float32)
    # Once, so that the shares of all networks are of one number.
    quickest = min(min(turn(lambda _: square @ square, [square])) for _ in range(rounds))
    peak = 2 * PEAK_SIZE**3 / quickest
    for case in cases():
        rng = np.random.default_rng(1)
        batches = [rng.choice(SAMPLES, case.batch, replace=False) for _ in range(5)]
        steps: dict[str, Step] = {
            "PyTorch": torch_step(case, fused=False),
            "PyTorch, fused Adam": torch_step(case, fused=True),
        }
        if case.x.ndim == 4:
            steps["PyTorch, fused Adam, channels last"] = torch_step(case, True, True)
        steps["aezip"] = aezip_step(case)
        check_losses(case, steps, batches)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                times[name] += turn(step, batches)
        click.echo(f"\n{case.name}, batch {case.batch}, {case.model.count_params():,} parameters")
        for name, seconds in times.items():
            click.echo(
                f"  {name:36} {1e6 * min(seconds):7.0f} us at best, "
                f"{1e6 * np.median(seconds):7.0f} us median"
            )
        own = times.pop("aezip")
        median = min(float(np.median(seconds)) for seconds in times.values()) / np.median(own)
        best = min(min(seconds) for seconds in times.values()) / min(own)
        click.echo(
            f"  aezip has {median:.2f} of PyTorch's speed by medians, {best:.2f} at best "
            f"(asked for: {case.bar})"
        )
        speed = operations(case) / min(own)
        click.echo(
            f"  its matrix products: {speed / 1e9:.0f} Gflop/s of {peak / 1e9:.0f} "
            f"that sgemm reaches, {100 * speed / peak:.0f} %"
        )


if __name__ == "__main__":
    main()
