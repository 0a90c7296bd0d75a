"""Overfitting an autoencoder on a folder of images.

Starts from the closed form, or goes on from the model that is there; keeps the best parameters
seen, also when interrupted; writes the model every minute, so that a crash loses little.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aezip import choosing, nn, stages, starting, workers
from aezip import images as pictures
from aezip._version import __version__
from aezip.autoencoders import (
    ARCHITECTURES,
    Autoencoder,
    Dense,
    Loss,
    Parameters,
    Pixels,
    Pyramid,
    check_quality,
)
from aezip.entropy.parameters import bits_slope
from aezip.errors import ImageError, ModelError
from aezip.shared import Shared, share
from aezip.storage.files import one_line, reason
from aezip.storage.hdf5 import content_id, read_model, write_model

_HELD = 3 << 29  # bytes of pixels, in a file, while fitting: of larger collections, a part
_LARGEST = 1 << 30  # bytes of pixels that images are cut down to, before some are left out
_BATCHES = 2  # whose gradients are averaged; computed side by side where there are several jobs
_LOOK_EVERY = 0.04  # of the training: how often the fixed sample is evaluated
_SAVE_EVERY = 60  # seconds
_GO_ON_FROM = 0.7  # of the schedule, when a model whose training had ended is trained again
_ROUND_FROM = 0.85  # of the schedule: training goes on with parameters rounded as they travel
_ADAPT_FROM = 0.5  # of the schedule, when the model of other images is trained for these
_HEADER = {
    "arch", "config", "grids", "progress", "history", "images", "pixels", "seed", "aezip",
}  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """How far a training is: rate and PSNR are those of a fixed sample of the collection."""

    fraction: float
    step: int
    bits_per_pixel: float
    psnr: float
    seconds_left: float


@dataclass
class Fitted:
    """What `fit` did: the model, where it is, and the files it had to leave out."""

    path: Path
    autoencoder: Autoencoder
    images: int
    skipped: int
    interrupted: bool
    seconds: float
    history: list[list[float]]  # of this and earlier runs: minutes, bits per pixel, dB
    failed: list[tuple[str, str]] = field(default_factory=list)


def default_model(folder: str | os.PathLike[str]) -> Path:
    """Where the model of a folder is unless one says otherwise."""
    name = Path(os.path.realpath(folder)).name or "images"
    return Path("models") / f"{name}.h5"


def load_model(path: str | os.PathLike[str]) -> tuple[Autoencoder, dict[str, Any]]:
    """(autoencoder, header) of a fitted model. Raises ModelError."""
    header, tensors = read_model(path)
    shown = one_line(path)
    try:
        if _HEADER - header.keys() or not isinstance(header["config"], dict):
            raise KeyError
        kind = ARCHITECTURES[header["arch"]]
        parameters = {k: v.astype(np.float32) for k, v in tensors.items()}
        shapes = kind.shapes(header["config"])
        grids = {k: int(header["grids"][k]) for k in shapes}
        wrong = [k for k in shapes if parameters[k].shape != shapes[k]]
        analysis = kind.analysis_shapes(header["config"])
        wrong += [k for k in analysis if parameters[k].shape != analysis[k]]
    except (KeyError, TypeError, ValueError, ModelError) as error:
        raise ModelError(f"{shown} is damaged: it does not describe a model") from error
    if wrong or not all(np.isfinite(x).all() for x in parameters.values()):
        raise ModelError(f"{shown} is damaged: its parameters are not those of its architecture")
    if not _is_whole(header):
        raise ModelError(f"{shown} is damaged: it does not say how it was fitted")
    return kind(header["config"], parameters, grids), header


def _is_whole(header: dict[str, Any]) -> bool:
    """Whether what a header says of the training is of the kinds that `_write` writes."""
    history, told = header["history"], header.get("stages", [])
    return (
        all(stages.is_number(header[k]) for k in ("images", "pixels", "progress"))
        and isinstance(history, list)
        and all(isinstance(x, list) and len(x) == 3 for x in history)
        and all(stages.is_number(x) for point in history for x in point)
        and isinstance(told, list)
        and all(map(stages.is_stage, told))
    )


def fit(
    folder: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    arch: str = "auto",
    minutes: float | None = None,
    steps: int | None = None,
    quality: int | None = None,
    budget: int | None = None,
    start: str | os.PathLike[str] | None = None,
    seed: int = 0,
    jobs: int = 1,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Fit an autoencoder to the images of a folder and write it as a model.

    model: the file, by default `models/<folder name>.h5`. When it exists, training goes on from
    it. arch: "dense", "pyramid" or "auto". minutes, steps: how long to train; by default the
    architecture's own time. The same seed and steps give the same result where BLAS computes
    alike (the same machine and number of threads), whatever the jobs. jobs: processes that train
    side by side, of which two are of use; more than one needs the usual
    `if __name__ == "__main__"` in a script. quality: 1 to 100, what `compress` will use
    unless told otherwise; `dense` is trained for it. budget: bytes that each image's latents take
    at most, instead of a quality; only `dense` can promise that. device: "cpu", or "cuda":
    gradients are computed by CuPy on an NVIDIA GPU, in this process. start: the model of other
    images to start from, by default the cheapest of those that come with aezip for the
    architecture; "none" for none.
    progress: called now and then. A KeyboardInterrupt ends the training early and is kept quiet.

    Raises ImageError for a folder without images, ModelError for everything about the model.
    """
    began = time.monotonic()
    path = default_model(folder) if model is None else Path(model)
    if quality is not None:
        check_quality(quality)
    if arch not in ("auto", *ARCHITECTURES):
        known = ", ".join(["auto", *ARCHITECTURES])
        raise ModelError(f"there is no architecture {one_line(arch)}; there are {known}")
    if minutes is not None and steps is not None:
        raise ModelError("a training takes so many minutes or so many steps, not both")
    if quality is not None and budget is not None:
        raise ModelError("a model is fitted for a quality or for a budget of bytes, not for both")
    try:
        ops = nn.ops_for(device)
    except (nn.DeviceError, ValueError) as error:
        raise ModelError(str(error)) from error
    found = pictures.find(folder)
    with tempfile.TemporaryDirectory(prefix="aezip-", ignore_cleanup_errors=True) as temporary:
        pixels, failed = _load(Path(folder), found.names, Path(temporary))
        images = pixels.arrays()
        rng = np.random.default_rng(seed)
        history: list[list[float]] = []
        pictured: list[dict[str, Any]] = []
        at = 0.0
        if path.exists():
            autoencoder, header = load_model(path)
            _check_continues(path, autoencoder, images, arch, quality, budget)
            history = [list(x) for x in header["history"]]
            pictured = list(header.get("stages", []))
            at = header["progress"] if header["progress"] < 1 else _GO_ON_FROM
        else:
            if budget is not None:
                autoencoder = _start_within(budget, arch, images, start, rng)
            elif arch == "auto":
                autoencoder, at = _choose(images, quality, start, rng)
            else:
                autoencoder, at = _begin(ARCHITECTURES[arch], images, quality, start, rng)
        run = _Run(autoencoder, images, rng, at, history, pictured)
        if steps is None:
            run.until_minutes(autoencoder.default_minutes if minutes is None else minutes)
        else:
            run.until_step(steps)

        def save() -> None:
            _write(path, run, images, seed)

        interrupted = False
        try:
            save()  # a place that cannot be written to is better known before than after it all
            run.train(ops, min(jobs, _BATCHES), pixels, progress, save)
        except KeyboardInterrupt:
            interrupted = True
            run.keep_best()
        save()
        return Fitted(
            path=path,
            autoencoder=run.best(),
            images=len(images),
            skipped=found.skipped,
            failed=failed,
            interrupted=interrupted,
            seconds=time.monotonic() - began,
            history=history,
        )


class _Run:
    """One training: the autoencoder, the best parameters so far, and how much is done."""

    def __init__(
        self,
        autoencoder: Autoencoder,
        images: Sequence[Pixels],
        rng: np.random.Generator,
        first: float,
        history: list[list[float]],
        pictured: list[dict[str, Any]],
    ) -> None:
        self.autoencoder = autoencoder
        self.progress = first  # through the schedule, 0 to 1
        self.history = history
        self.pictured = pictured
        self._shown = stages.sample(images, whole=autoencoder.code_size > 0)
        self._first = first
        self._images = images
        self._rng = rng
        self._optimizer = nn.Adam()
        self._step = 0
        self._began = self._saved = time.monotonic()
        self._minutes_before = history[-1][0] if history else 0.0
        self._best: tuple[float, Parameters, dict[str, int]] | None = None
        # The loss is in bits per pixel, and so is the decoder's part of it.
        self._pixels = sum(x.shape[0] * x.shape[1] for x in images) / autoencoder.decoder_weight
        self._rounding = False
        if autoencoder.code_size:
            size = len(images), autoencoder.code_size
            autoencoder.codes = np.full(size, np.nan, np.float32)
        autoencoder.grids = autoencoder.finest_grids()

    def until_step(self, steps: int) -> None:
        self._done = lambda: self._step / steps if steps else 1.0

    def until_minutes(self, minutes: float) -> None:
        seconds = max(60 * minutes, 1e-3)
        self._done = lambda: (time.monotonic() - self._began) / seconds

    def train(
        self,
        ops: nn.Ops,
        jobs: int,
        pixels: Shared,
        progress: Callable[[Progress], None] | None,
        save: Callable[[], None],
    ) -> None:
        """Until it is done; then the parameters are the best seen."""
        next_look = 0.0
        last = self._look()
        if not self.pictured:
            self._picture()
        due = list(stages.SHARES)
        with _gradients(self.autoencoder, self._images, pixels, ops, jobs) as gradients:
            while (done := min(self._done(), 1.0)) < 1:
                self.progress = self._first + (1 - self._first) * done
                if self.progress >= _ROUND_FROM and not self._rounding:
                    self._train_rounded()
                self._advance(gradients)
                if done >= next_look:
                    last = self._look()
                    next_look = done + _LOOK_EVERY
                    if due and done >= due[0]:
                        self._picture()
                        due = [x for x in due if x > done]
                if time.monotonic() - self._saved > _SAVE_EVERY:
                    save()
                    self._saved = time.monotonic()
                if progress is not None:
                    spent = time.monotonic() - self._began
                    left = spent * (1 - done) / done if done else 0.0
                    progress(Progress(done, self._step, last.bits_per_pixel, last.psnr, left))
        if not self._rounding:  # a training of no steps
            self._begin_rounding()
        self._look()
        self.progress = 1.0
        self.keep_best()
        self._picture()

    def _picture(self) -> None:
        """Keep what a sample looks like now."""
        taken = stages.take(self.best(), self._shown, self._minutes())
        self.pictured[:] = stages.thinned([*self.pictured, taken])

    def _begin_rounding(self) -> None:
        """Choose the grids that the parameters bear as they are."""
        self.keep_best()
        self.autoencoder.choose_grids(self._images, self._pixels)
        self._rounding = True
        self._best = None
        self._look()

    def _train_rounded(self) -> None:
        """From here on gradients are those of parameters rounded to grids coarser than they bear
        yet, and move the exact ones."""
        self._begin_rounding()
        self.autoencoder.choose_grids(self._images, self._pixels, self.autoencoder.recovered)

    def best(self) -> Autoencoder:
        """The autoencoder with the best parameters seen so far."""
        a = self.autoencoder
        return type(a)(a.config, *(self._best[1:] if self._best else (a.parameters, a.grids)))

    def keep_best(self) -> None:
        """Return to the best parameters seen."""
        if self._best is None:  # interrupted before the first look
            self._look()
        assert self._best is not None
        _, parameters, grids = self._best
        for name, value in parameters.items():
            self.autoencoder.parameters[name][:] = value
        # Of those that are not rounded yet the finest grids are as fine as their values allow.
        self.autoencoder.grids = grids if self._rounding else self.autoencoder.finest_grids()

    def note(self, loss: Loss) -> None:
        """Enter what the fixed sample costs now into the history."""
        self.history.append(
            [round(self._minutes(), 3), round(loss.bits_per_pixel, 5), round(loss.psnr, 3)]
        )

    def _minutes(self) -> float:
        return self._minutes_before + (time.monotonic() - self._began) / 60

    def _advance(self, gradients_of: _Gradients) -> None:
        a = self.autoencoder
        found = gradients_of(self._now(), self.progress, self._rng.spawn(_BATCHES))
        gradients = {k: sum(x[k] for x in found) / np.float32(_BATCHES) for k in found[0]}
        for name in gradients.keys() & a.grids.keys():
            slope = bits_slope(a.parameters[name], a.grids[name])
            gradients[name] += slope / np.float32(self._pixels)
        rate = a.rates(self.progress)
        self._optimizer.update(a.parameters, gradients, {k: rate(k) for k in gradients})
        self._step += 1

    def _now(self) -> Autoencoder:
        """As it is trained now: a new object, since one keeps what it derives from its parameters,
        and these change in place."""
        a = self.autoencoder
        return self._frozen() if self._rounding else type(a)(a.config, a.parameters, codes=a.codes)

    def _frozen(self) -> Autoencoder:
        """As it would travel now."""
        a = self.autoencoder
        finest = a.finest_grids()  # training may move weights out of the range that a grid allows
        a.grids = {k: max(grid, finest[k]) for k, grid in a.grids.items()}
        return a.frozen()

    def _look(self) -> Loss:
        """Evaluate the fixed sample, and remember the parameters if they are the best."""
        a = self.autoencoder
        if not self._rounding:
            a.grids = a.finest_grids()  # as fine as the weights of now allow
        loss = self._now().evaluate(self._images)
        if not np.isfinite(loss.value):
            raise ModelError("the training diverged; try another --seed")
        self.note(loss)
        # In bits per pixel, all that an archive would hold.
        cost = loss.value + 8 * len(a.pack()) / self._pixels
        if self._best is None or cost < self._best[0]:
            copy = {k: v.copy() for k, v in a.parameters.items()}
            self._best = cost, copy, dict(a.grids)
        return loss


_Gradients = Callable[[Autoencoder, float, list[np.random.Generator]], list[Parameters]]


@contextmanager
def _gradients(
    autoencoder: Autoencoder,
    images: Sequence[Pixels],
    pixels: Shared,
    ops: nn.Ops,
    jobs: int,
) -> Iterator[_Gradients]:
    """A function that gives, for the autoencoder as it is now, the gradients of one random batch
    for each random generator.

    With several jobs each is computed in a process of its own. What these need of each other
    lies in files that all map: the images once, the parameters and the gradients as they change.
    A GPU, whose backend `ops` then is, is kept busy by one process.
    """
    parts = _parts(images, autoencoder.codes)
    if jobs <= 1 or ops is not nn.NUMPY:
        memories: list[list[Any]] = [[] for _ in parts]

        def compute_here(
            used: Autoencoder, progress: float, rngs: list[np.random.Generator]
        ) -> list[Parameters]:
            there = {name: ops.asarray(value) for name, value in used.parameters.items()}
            found = []
            for (part, codes), memory, rng in zip(parts, memories, rngs, strict=True):
                as_used = type(used)(used.config, there, used.grids, codes, memory)
                gradients = as_used.sample_loss(part, progress, rng).gradients or {}
                found.append({name: ops.to_host(value) for name, value in gradients.items()})
            return found

        yield compute_here
        return
    own = autoencoder.parameters
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="aezip-", ignore_cleanup_errors=True)
        )
        slots = [
            share(Path(folder, name), own.values())
            for name in ("parameters", *(f"gradients{batch}" for batch in range(_BATCHES)))
        ]
        kept = None
        if autoencoder.codes is not None:
            kept = share(Path(folder, "codes"), [autoencoder.codes])
            autoencoder.codes = kept.arrays()[0]
        parameters, *gradients = (slot.named(own) for slot in slots)
        state = (autoencoder.arch, autoencoder.config, list(own), pixels, kept, slots)
        runs = [
            stack.enter_context(workers.crew(_gradient_worker, (number, *state), 1))
            for number in range(_BATCHES)
        ]

        def compute(
            used: Autoencoder, progress: float, rngs: list[np.random.Generator]
        ) -> list[Parameters]:
            for name, value in used.parameters.items():
                parameters[name][:] = value
            found = [
                run([(used.grids, progress, rng)]) for run, rng in zip(runs, rngs, strict=True)
            ]
            return [
                {k: arrays[k] for k in next(names)}
                for names, arrays in zip(found, gradients, strict=True)
            ]

        yield compute


def _parts(
    images: Sequence[Pixels], codes: NDArray[np.float32] | None
) -> list[tuple[Sequence[Pixels], NDArray[np.float32] | None]]:
    """What each of the batches that are computed side by side draws from: all images, or where
    each image has a code of its own, images of which no other batch changes that."""
    if codes is None:
        return [(images, None)] * _BATCHES
    return [
        (images[batch::_BATCHES], codes[batch::_BATCHES])
        if batch < len(images)
        else (images, codes.copy())
        for batch in range(_BATCHES)
    ]


_Batch = tuple[dict[str, int], float, np.random.Generator]
"""The grids that parameters are rounded to or none, progress, what is drawn from."""


def _gradient_worker(
    number: int,
    arch: str,
    config: dict[str, Any],
    names: list[str],
    pixels: Shared,
    kept: Shared | None,
    slots: list[Shared],
) -> Callable[[_Batch], list[str]]:
    """In a process of its own: computes the gradients of the batches of one number, and says which
    there are."""
    images, codes = _parts(pixels.arrays(), kept.arrays()[0] if kept else None)[number]
    parameters, gradients = (slots[k].named(names) for k in (0, 1 + number))
    memory: list[Any] = []

    def work(batch: _Batch) -> list[str]:
        grids, progress, rng = batch
        autoencoder = ARCHITECTURES[arch](config, parameters, grids, codes, memory)
        found = autoencoder.sample_loss(images, progress, rng).gradients or {}
        for name, value in found.items():
            gradients[name][:] = value
        return list(found)

    return work


def _load(
    folder: Path, names: Sequence[str], temporary: Path
) -> tuple[Shared, list[tuple[str, str]]]:
    """The images, in a file below `temporary`, so that memory holds only what is in use; and
    [(name, why it could not be read)]. Of images too large to be held all together, a part from
    the middle; of too many even so, every second, or fourth, and so on."""
    failed: list[tuple[str, str]] = []
    most = max(_LARGEST // max(len(names), 1), 4 * 256 * 256)

    def readable(every: int) -> Iterator[Pixels]:
        for name in names[::every]:
            try:
                yield _middle(pictures.to_array(pictures.read(folder / name)), most)
            except ImageError as error:
                failed.append((name, str(error)))

    every = 1
    while (pixels := share(temporary / "images", readable(every), _HELD)) is None:
        every *= 2
        failed.clear()
    if not pixels.places:
        raise ImageError(f"{one_line(folder)}: none of its {len(names)} images can be read")
    return pixels, failed


def _middle(pixels: Pixels, most: int) -> Pixels:
    """An image's middle, of about `most` bytes where it has more."""
    if pixels.nbytes <= most:
        return pixels
    height, width = (int(n * (most / pixels.nbytes) ** 0.5) or 1 for n in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _start_within(
    budget: int,
    arch: str,
    images: Sequence[Pixels],
    start: str | os.PathLike[str] | None,
    rng: np.random.Generator,
) -> Autoencoder:
    if arch not in ("auto", Dense.arch):
        raise ModelError(f"only dense keeps a budget of bytes, {arch} does not")
    if start not in (None, "none"):
        raise ModelError("a model with a budget of bytes starts from its own images alone")
    return Dense.start_within(budget, images, rng)


def _choose(
    images: Sequence[Pixels],
    quality: int | None,
    start: str | os.PathLike[str] | None,
    rng: np.random.Generator,
) -> tuple[Autoencoder, float]:
    """As `_begin`, of the architecture that takes fewer bytes for the same quality, as a short
    trial has it."""
    if start not in (None, "none"):
        return _begin(type(load_model(Path(start))[0]), images, quality, start, rng)
    pyramid, at = _begin(Pyramid, images, quality, start, rng)
    if not choosing.may_be_dense(images):
        return pyramid, at
    used = quality or Dense.default_quality
    tried = type(pyramid)(pyramid.config, pyramid.parameters, pyramid.finest_grids())
    tried.choose_grids(images, sum(x.shape[0] * x.shape[1] for x in images))
    dense = choosing.trained_briefly(images, used, rng)
    costs = [choosing.cost(x, images, used) for x in (dense, tried.frozen())]
    return _begin(Dense, images, quality, start, rng) if costs[0] < costs[1] else (pyramid, at)


def _begin(
    kind: type[Autoencoder],
    images: Sequence[Pixels],
    quality: int | None,
    start: str | os.PathLike[str] | None,
    rng: np.random.Generator,
) -> tuple[Autoencoder, float]:
    """What training starts from, and from where in the schedule."""
    used = quality or kind.default_quality
    others = starting.models_for(kind.arch) if start is None else [Path(start)]
    if not others or start == "none":
        return kind.start(images, used, rng), 0.0
    starts = [_adapt(other, kind, images, used) for other in others]
    return choosing.cheapest(starts, images), _ADAPT_FROM


def _adapt(
    path: Path, kind: type[Autoencoder], images: Sequence[Pixels], quality: int
) -> Autoencoder:
    other, _ = load_model(path)
    if type(other) is not kind:
        raise ModelError(f"{one_line(path)} is of architecture {other.arch}, not {kind.arch}")
    try:
        return other.adapted(images, quality)
    except ModelError as error:
        raise ModelError(f"{one_line(path)} is of other images: {error}") from error


def _check_continues(
    path: Path,
    autoencoder: Autoencoder,
    images: Sequence[Pixels],
    arch: str,
    quality: int | None,
    budget: int | None,
) -> None:
    """Whether training can go on from the model that is there, or it had better be removed."""
    advice = f"remove {one_line(path)} to start anew, or choose another --model"
    if arch not in ("auto", autoencoder.arch):
        raise ModelError(f"the model there is of architecture {autoencoder.arch}: {advice}")
    if quality not in (None, autoencoder.config["quality"]):
        raise ModelError(
            f"the model there was fitted for quality {autoencoder.config['quality']}: {advice}"
        )
    if budget not in (None, has := autoencoder.config.get("budget")):
        fitted = "without a budget" if has is None else f"for {has} bytes an image"
        raise ModelError(f"the model there was fitted {fitted}: {advice}")
    for pixels in images:
        try:
            autoencoder.check(pixels)
        except ModelError as error:
            raise ModelError(f"{error}: {advice}") from error


def _write(path: Path, run: _Run, images: Sequence[Pixels], seed: int) -> None:
    autoencoder = run.best()
    header = {
        "arch": autoencoder.arch,
        "config": autoencoder.config,
        "grids": autoencoder.grids,
        "progress": run.progress,
        "history": run.history,
        "stages": run.pictured,
        "images": len(images),
        "pixels": sum(x.shape[0] * x.shape[1] for x in images),
        "seed": seed,
        "aezip": __version__,
        "decoder": content_id(autoencoder.config, autoencoder.pack()),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{one_line(path.parent)} cannot be made: {reason(error)}") from error
    write_model(path, header, autoencoder.parameters)
