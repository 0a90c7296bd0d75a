"""The experiment that aezip grew from: an autoencoder 784-10-10-784 of 16,584 parameters on the
MNIST digits, trained with `aezip.nn` alone.

The original article trained on 60,000 digits for 10 epochs of 32, 18,750 updates, to a validation
loss of 0.0564. Here it is whole epochs of at least as many updates: 67 of 282, 18,894, of the
10,000 digits of the test set with the last 1,000 held out, or the article's own 10 epochs where
the folder has the full set.
"""
# ruff: noqa: E402

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import gzip
import time
from pathlib import Path

import click
import matplotlib
import numpy as np
from PIL import Image

from aezip.nn import Dense, Sequential

matplotlib.use("Agg")
import matplotlib.pyplot as plt

UPDATES = 18_750
BATCH = 32
ARTICLE = 0.0564
HELD_OUT = 1000


def digits(path: Path) -> np.ndarray:
    """(n, 784) float32, 0 to 1, of an IDX file of images."""
    data = gzip.decompress(path.read_bytes())
    if data[:4] != b"\0\0\x08\x03":
        raise click.ClickException(f"{path} holds no images in the IDX format")
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 784) / np.float32(255)


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(to train on, held out)."""
    test, full = (folder / f"{name}-images-idx3-ubyte.gz" for name in ("t10k", "train"))
    if not test.exists():
        raise click.ClickException(f"{test} is not there")
    if full.exists():
        return digits(full), digits(test)
    x = digits(test)
    return x[:-HELD_OUT], x[-HELD_OUT:]


def network(seed: int) -> Sequential:
    model = Sequential(seed=seed)
    model.add(Dense(10, "sigmoid", input_shape=(784,)))
    model.add(Dense(10, "relu"))
    model.add(Dense(784, "sigmoid"))
    model.compile(optimizer="adam", lr=0.001, loss="mse")
    return model


def compare_with_pytorch(x: np.ndarray, held_out: np.ndarray, epochs: int) -> float:
    """The largest difference of a validation loss after an epoch, both libraries given the same
    starting weights and batches."""
    import torch

    torch.set_num_threads(1)
    model, parts = network(seed=0), []
    weights = iter(model.get_weights())
    for w, b in zip(weights, weights, strict=True):
        linear = torch.nn.Linear(*w.shape)
        linear.weight.data, linear.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
        parts.append(linear)
    theirs = torch.nn.Sequential(
        parts[0], torch.nn.Sigmoid(), parts[1], torch.nn.ReLU(), parts[2], torch.nn.Sigmoid()
    )
    adam = torch.optim.Adam(theirs.parameters(), lr=0.001)
    data, unseen, rng = torch.tensor(x), torch.tensor(held_out), np.random.default_rng(0)
    worst = 0.0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            batch = order[start : start + BATCH]
            model.train_on_batch(x[batch], x[batch])
            inputs = data[torch.from_numpy(batch)]
            adam.zero_grad()
            torch.nn.functional.mse_loss(theirs(inputs), inputs).backward()
            adam.step()
        with torch.no_grad():
            expected = torch.nn.functional.mse_loss(theirs(unseen), unseen).item()
        worst = max(worst, abs(model.evaluate(held_out, held_out)["loss"] - expected))
    return worst


def draw_curves(path: Path, histories: list[dict[str, list[float]]]) -> None:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for seed, history in enumerate(histories):
        epochs = range(1, len(history["loss"]) + 1)
        color = f"C{seed}"
        axes.plot(epochs, history["loss"], color, alpha=0.4, label=f"seed {seed}, in training")
        axes.plot(epochs, history["val_loss"], color, label=f"seed {seed}, held out")
    axes.axhline(ARTICLE, color="grey", linestyle=":", label="where the article ended")
    axes.set(xlabel="epoch", ylabel="mean squared error")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_digits(path: Path, originals: np.ndarray, reconstructions: np.ndarray) -> None:
    """Ten inputs over ten reconstructions."""
    rows = [np.hstack(x.reshape(-1, 28, 28)) for x in (originals, reconstructions)]
    picture = Image.fromarray(np.rint(np.vstack(rows) * 255).astype(np.uint8))
    picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.NEAREST).save(path)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--updates", type=click.IntRange(min=1), default=UPDATES, show_default=True,
    help="At least so many, in whole epochs.",
)  # fmt: skip
@click.option("--pytorch/--no-pytorch", default=True, help="Compare the losses with PyTorch's.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=".", show_default=True,
    help="Where mnist_loss.png and mnist_digits.png go.",
)  # fmt: skip
def main(folder: Path, seeds: int, updates: int, pytorch: bool, out: Path) -> None:
    """Train on the MNIST digits in FOLDER (t10k-images-idx3-ubyte.gz; the full set where there is
    train-images-idx3-ubyte.gz, too)."""
    x, held_out = load(folder)
    batches = -(-len(x) // BATCH)
    epochs = -(-updates // batches)
    network(0).summary()
    click.echo(
        f"{len(x):,} digits, {len(held_out):,} held out, {epochs} epochs of {batches} batches of "
        f"{BATCH}: {epochs * batches:,} updates"
    )
    histories = []
    for seed in range(seeds):
        model = network(seed)
        began = time.perf_counter()
        history = model.fit(
            x, x, epochs, BATCH, validation_data=(held_out, held_out), verbose=False
        )
        seconds = time.perf_counter() - began
        histories.append(history)
        click.echo(
            f"seed {seed}: loss {history['loss'][-1]:.4f}, "
            f"validation {history['val_loss'][-1]:.4f} after {seconds:.1f} s"
        )
    out.mkdir(parents=True, exist_ok=True)
    draw_curves(out / "mnist_loss.png", histories)
    draw_digits(out / "mnist_digits.png", held_out[:10], model.predict(held_out[:10]))
    median = float(np.median([history["val_loss"][-1] for history in histories]))
    click.echo(f"validation loss, median of {seeds}: {median:.4f} (the article: {ARTICLE})")
    if pytorch:
        worst = compare_with_pytorch(x, held_out, epochs)
        click.echo(
            "same starting weights and batches: no validation loss is further than "
            f"{worst:.1e} from PyTorch's"
        )


if __name__ == "__main__":
    main()
