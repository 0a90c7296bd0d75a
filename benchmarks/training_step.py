"""The pyramid's training step beside the same network and loss in PyTorch, on the same cores.

Both are given the same parameters and crops; that the gradients agree is checked before anything
is timed. What is timed is a round of training: one step of all parameters, then those in which the
filter alone learns from crops decoded before. aezip computes the crops of a step in two processes
of one thread, as `aezip fit` does. PyTorch computes them one after the other on two threads, and on
one, which is counted as if two such processes did not disturb each other; the better of the two is
compared. Both leave it to the encoder, which is no network, to choose the latents.
"""
# ruff: noqa: E402

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

from aezip import fitting, images, nn
from aezip.autoencoders import Pyramid, lifting, postfilter, pyramid, residual
from aezip.autoencoders.base import LAGRANGIAN, log_step, step_size
from aezip.autoencoders.crops import PART, Decoded, Replay, random_crop
from aezip.entropy import context, laplace, median
from aezip.shared import share

CROPS = 2
UNTRAINED = {"colour", "typical"}  # what the collection says, before training
QUALITY = 60
TIMED = 4  # rounds

Tensors = dict[str, torch.Tensor]


def extend(x: torch.Tensor, parity: int, axis: int) -> torch.Tensor:
    index = torch.from_numpy(lifting._mirrored(x.shape[axis], parity))
    return x.index_select(axis % x.ndim, index)


def filtered(x: torch.Tensor, taps: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    return sum(x.narrow(axis % x.ndim, i, size) * taps[i] for i in range(lifting.TAPS))


def split(x: torch.Tensor, taps: torch.Tensor, axis: int) -> list[torch.Tensor]:
    every = torch.arange(0, x.shape[axis], 2)
    pair = [x.index_select(axis % x.ndim, every + i) for i in (0, 1)]
    for step in range(lifting.STEPS):
        target, source = (step + 1) % 2, step % 2
        size = pair[target].shape[axis]
        more = filtered(extend(pair[source], source, axis), taps[step], size, axis)
        pair[target] = pair[target] + more
    return [pair[0] * lifting._NORM, pair[1] / lifting._NORM]


def join(low: torch.Tensor, high: torch.Tensor, taps: torch.Tensor, axis: int) -> torch.Tensor:
    pair = [low / lifting._NORM, high * lifting._NORM]
    for step in reversed(range(lifting.STEPS)):
        target, source = (step + 1) % 2, step % 2
        size = pair[target].shape[axis]
        less = filtered(extend(pair[source], source, axis), taps[step], size, axis)
        pair[target] = pair[target] - less
    shape = list(low.shape)
    shape[axis] *= 2
    return torch.stack(pair, dim=low.ndim + axis + (axis == -1) + (axis == -2)).reshape(shape)


def convolved(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x (n, c, h, w), a kernel as aezip's: (kh, kw, inputs, outputs)."""
    margin = kernel.shape[0] // 2
    padded = F.pad(x, (margin,) * 4, mode="replicate")
    return F.conv2d(padded, kernel.permute(3, 2, 0, 1).contiguous(), bias)


def blind(kernel: torch.Tensor) -> torch.Tensor:
    return kernel - kernel.mean(dim=(0, 1), keepdim=True)


def predicted(p: Tensors, x: torch.Tensor, level: int, octaves: float) -> torch.Tensor:
    step = 2.0**octaves
    bias = p["prediction.b1"][level - 1] + p["prediction.step1"] * octaves
    h = convolved(x[None] / step, blind(p["prediction.w1"]), bias)
    h = convolved(F.leaky_relu(h, 0.1), p["prediction.w2"], p["prediction.b2"])
    y = convolved(F.leaky_relu(h, 0.1), p["prediction.w3"], None)[0]
    gain = torch.exp2(p["prediction.gain"][level - 1]) * step
    return (y * gain[:, None, None]).reshape(3, len(x), *x.shape[1:])


def shifted(x: torch.Tensor) -> torch.Tensor:
    """x (c, h, w) with each eighth of its channels shifted, as `residual.shifted`."""
    around = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
    padded, (channels, height, width) = F.pad(x, (1, 1, 1, 1)), x.shape
    return torch.cat(
        [
            padded[
                channels * group // 8 : channels * (group + 1) // 8,
                1 - down : 1 - down + height,
                1 - right : 1 - right + width,
            ]
            for group, (down, right) in enumerate(around)
        ]
    )


def pointwise(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x[None], w.T[..., None, None].contiguous(), b)[0]


def cleaned(p: Tensors, x: torch.Tensor, latents: torch.Tensor, octaves: float) -> torch.Tensor:
    step, count = 2.0**octaves, len(x)
    scaled = (x / step).reshape(count, x.shape[1] // 2, 2, x.shape[2] // 2, 2)
    blocks = scaled.permute(0, 2, 4, 1, 3).reshape(count, 4, x.shape[1] // 2, x.shape[2] // 2)
    means = F.pad(blocks.mean(dim=1)[None], (2,) * 4, mode="replicate")
    differences = blocks - F.avg_pool2d(means, 5, stride=1)[0][:, None]
    differences = differences / (1 + differences.abs() / postfilter._LARGE)
    inputs = torch.cat([differences.flatten(0, 1), latents.flatten(0, 1).clamp(-2, 2)])
    h = pointwise(inputs, p["filter.w1"], p["filter.b1"] + p["filter.step1"] * octaves)
    h = F.leaky_relu(h, 0.1)
    for mix, bias in zip(p["filter.mix"], p["filter.bias"], strict=True):
        h = h + F.leaky_relu(pointwise(shifted(h), mix, bias), 0.1)
    y = pointwise(h, p["filter.w2"], p["filter.b2"])
    y = y.reshape(count, 2, 2, *y.shape[1:]).permute(0, 3, 1, 4, 2).reshape(x.shape)
    return x + step * y


def mixture_bits(value: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    centre, narrow, spread, weight = output.unbind(-1)
    narrow = narrow.clamp(*laplace.LOG_SCALE_RANGE)
    spread, weight = spread.clamp(*laplace.SPREAD_RANGE), weight.clamp(0, 1)
    a = (value - centre).abs()

    def component(log_scale: torch.Tensor) -> torch.Tensor:
        scale = torch.exp2(log_scale)
        inner = a.clamp(max=0.5)
        inside = 1 - (torch.exp((inner - 0.5) / scale) + torch.exp((-inner - 0.5) / scale)) / 2
        outside = torch.exp(-(a - 0.5).clamp(min=0) / scale) * (1 - torch.exp(-1 / scale)) / 2
        return torch.where(a >= 0.5, outside, inside)

    p = weight * component(narrow) + (1 - weight) * component(narrow + spread)
    return -torch.log2(p + 2.0**-18)


def rate(
    p: Tensors,
    where: context.Layout,
    buffer: np.ndarray,
    unrounded: torch.Tensor,
    log: int,
    sample: tuple[int, np.random.Generator],
) -> torch.Tensor:
    from aezip.entropy.rate import _draw

    active = context.is_active(where, buffer)
    some, weight_some = _draw(np.flatnonzero(active), sample)
    quiet, weight_quiet = _draw(np.flatnonzero(~active), sample)
    features = np.zeros((where.size, 2), np.float32)
    present = np.flatnonzero(buffer)
    coded, second = context.symbols(where, buffer.astype(np.int32))
    features[present] = context.integer_features(buffer[present]) / context.FEATURE_STEPS
    planes = len(where.planes)
    inputs = torch.from_numpy(context.gather(features, where.inputs(some)))
    inputs = torch.cat([torch.zeros(planes, inputs.shape[1]), inputs])
    plane = np.concatenate([np.arange(planes), where.plane_of[some]])
    row = np.concatenate([where.plane_of[quiet], planes + np.arange(len(some))])
    kinds = np.array([x[:3] for x in where.planes])
    bias = p["context.level"][kinds[:, 0]] + p["context.orientation"][kinds[:, 1]]
    bias = bias + p["context.colour"][kinds[:, 2]] + p["context.quality"] * (log / 32)
    limit = context.HIDDEN_LIMIT
    h = (inputs @ p["context.w1"] + bias[torch.from_numpy(plane)]).clamp(0, limit)
    h = (h @ p["context.w2"] + p["context.b2"]).clamp(0, limit)
    position = where.position[np.concatenate([quiet, some])]
    output = (h @ p["context.w3"] + p["context.b3"]).reshape(-1, 2, context.OUTPUTS)
    output = output[torch.from_numpy(row), torch.from_numpy(second[position].astype(int))]
    weights = np.repeat(np.float32([weight_quiet, weight_some]), [len(quiet), len(some)])
    weights = torch.from_numpy(weights)
    value = torch.from_numpy(coded[position].astype(np.float32))
    bits = (mixture_bits(value, output) * weights).sum()
    exact, known = unrounded[torch.from_numpy(position)], output.detach()
    with torch.no_grad():
        nearer = torch.sign(exact) * torch.from_numpy(second[position] / np.float32(2))
        slope = mixture_bits(exact + nearer + 0.5, known)
        slope = slope - mixture_bits(exact + nearer - 0.5, known)
    moved = (slope * weights * exact).sum()
    return bits + moved - moved.detach()


def torch_gradients(
    model: Pyramid,
    p: Tensors,
    pixels: np.ndarray,
    log: int,
    rng: np.random.Generator,
    known_latents: dict[int, np.ndarray] | None = None,
) -> Tensors:
    """Those of `Pyramid._loss`, by autograd. known_latents: by level, 0 for the low-pass band, in
    half steps. Chosen anew they may differ: between two of one cost a rounding decides.
    """
    levels, octaves = model.config["levels"], log / 32
    planes = torch.from_numpy(model._to_planes(pixels, log)[0])
    where = pyramid.layout(*planes.shape[1:], levels, len(planes))
    step = float(step_size(log))
    steps = step * torch.exp2(p["gain"])
    x, bands = planes, []
    for level in range(levels):
        taps = p["lifting"][level]
        low, up = split(x, taps[0], -2)
        x, right = split(low, taps[1], -1)
        bands.append(torch.stack([right, *split(up, taps[1], -1)]))
    buffer = np.zeros(where.size, np.float32)
    places, exact, roughly = [], [], torch.zeros(())

    def rounded(band: torch.Tensor, level: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        key = level - 1, slice(first, first + len(band))
        size, shrink = steps[key][..., None, None], p["shrink"][key][..., None, None, :]
        scaled = band / size
        if known_latents:
            half_steps = torch.from_numpy(known_latents[level if first else 0])
        elif first:
            exactly = scaled.detach().numpy()
            half_steps = torch.from_numpy(model._as_encoded(exactly, level, log, where, buffer))
        else:
            half_steps = 2 * torch.round(scaled.detach())
        for plane in where.planes:
            if plane.level == level and (plane.orientation >= 1) == (first == 1):
                at = plane.orientation - first, plane.colour
                known = np.zeros((), np.float32)
                if first == 0:
                    known = median.expected(half_steps[at].numpy() / 2)
                where.view(buffer, plane)[:] = half_steps[at].numpy() - 2 * known
                grid = np.arange(where.size).astype(np.int64)
                places.append(torch.from_numpy(where.view(grid, plane).reshape(-1).copy()))
                exact.append((scaled[at] - torch.from_numpy(known)).reshape(-1))
        through = half_steps / 2 + scaled - scaled.detach()
        less = torch.where(half_steps.abs() == 2, shrink[..., 1], shrink[..., 2])
        less = torch.where(half_steps.abs() == 1, shrink[..., 0], less)
        return (through - torch.sign(half_steps) * less) * size, half_steps / 2

    low, _ = rounded(x[None], levels, 0)
    image, q = low[0], low
    for level in range(levels, 0, -1):
        expected = predicted(p, image.detach(), level, octaves)
        size = steps[level - 1, 1:4][..., None, None].detach()
        residual = (bands[level - 1].detach() - expected) / size
        roughly = roughly + torch.log2(1 + residual * residual).sum() / 2
        fixed = expected.detach()
        decoded, q = rounded(bands[level - 1] - fixed, level, 1)
        right, below, both = decoded + fixed
        taps = p["lifting"][level - 1]
        left, up = join(image, right, taps[1], -1), join(below, both, taps[1], -1)
        image = join(left, up, taps[0], -2)
    unrounded = torch.zeros(where.size).index_put((torch.cat(places),), torch.cat(exact))
    bits = rate(p, where, buffer, unrounded, log, (pyramid._SAMPLE, rng))
    error = cleaned(p, image, q, octaves) - planes
    worth = LAGRANGIAN / step**2
    weight = 1 / (bits.detach().clamp(min=1) * planes[0].numel()).sqrt()
    loss = (bits + worth * (error * error).sum() + roughly) * weight
    names = [k for k in p if k not in UNTRAINED]
    return dict(zip(names, torch.autograd.grad(loss, [p[k] for k in names]), strict=True))


def torch_filter_gradients(
    model: Pyramid, p: Tensors, crops: list[Decoded], rng: np.random.Generator
) -> Tensors:
    """Those of `Pyramid._filter_loss`, by autograd."""
    loss, side = torch.zeros(()), PART
    for number in rng.integers(len(crops), size=pyramid._PARTS):
        crop = crops[number]
        top, left = (2 * int(rng.integers((n - side) // 2 + 1)) for n in crop.error.shape[1:])
        planes = torch.from_numpy(model._to_planes(crop.pixels, crop.log)[0])
        planes = planes[:, top : top + side, left : left + side]
        off, q = (torch.from_numpy(x) for x in crop.part(top, left))
        error = cleaned(p, planes + off, q, crop.log / 32) - planes
        share = crop.worth * crop.error.size / error.numel() / pyramid._PARTS
        loss = loss + share * (error * error).sum()
    names = [k for k in p if k.startswith("filter.")]
    return dict(zip(names, torch.autograd.grad(loss, [p[k] for k in names]), strict=True))


def worst_difference(own: dict[str, np.ndarray], theirs: Tensors) -> float:
    return max(
        float(np.abs(own[k] - v.numpy()).max() / np.abs(v.numpy()).max()) for k, v in theirs.items()
    )


def timed(step: Callable[[], object]) -> float:
    step()
    began = time.perf_counter()
    for _ in range(TIMED):
        step()
    return (time.perf_counter() - began) / TIMED


def seconds_of_products(model: Pyramid, pixels: np.ndarray, log: int) -> tuple[float, float]:
    """(seconds of a crop's round, seconds that its matrix products alone take) in this process."""
    products: list[tuple[int, int, int]] = []  # rows, inner size, columns
    conv2d, dense, pointwise = nn.conv2d, nn.dense, residual.pointwise

    def noted(rows: int, w: np.ndarray, of_data: bool) -> None:
        inner, columns = int(np.prod(w.shape[:-1])), w.shape[-1]
        products.append((rows, inner, columns))
        products.append((inner, rows, columns))
        if not of_data:
            products.append((rows, columns, inner))

    def noted_conv2d(x, w, b=None, **options):
        y, backprop = conv2d(x, w, b, **options)
        noted(y.size // y.shape[3], w, options.get("of_data", False))
        return y, backprop

    def noted_dense(x, w, b=None, **options):
        noted(len(x), w, options.get("of_data", False))
        return dense(x, w, b, **options)

    def noted_pointwise(x, w, b):
        noted(x[0].size, w, False)
        return pointwise(x, w, b)

    rng = np.random.default_rng(2)

    def one_round() -> None:
        model._loss(pixels, log, sample=(pyramid._SAMPLE, rng))
        for _ in range(pyramid._REPLAYS - 1):
            model._filter_loss(model.memory[0].crops, rng)

    try:
        nn.conv2d, nn.dense, residual.pointwise = noted_conv2d, noted_dense, noted_pointwise
        one_round()
    finally:
        nn.conv2d, nn.dense, residual.pointwise = conv2d, dense, pointwise
    pairs = [
        (rng.random((a, b), np.float32), rng.random((b, c), np.float32)) for a, b, c in products
    ]
    return timed(one_round), timed(lambda: [a @ b for a, b in pairs])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Time training steps on crops of the images of FOLDER."""
    names = images.find(folder).names[:4]
    pictures = [images.to_array(images.read(folder / name)) for name in names]
    model = Pyramid.start(pictures, 75, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for name, value in model.parameters.items():  # so that no gradient is zero
        if name not in UNTRAINED:
            value += rng.normal(scale=0.01, size=value.shape).astype(np.float32)
    torch.set_num_threads(2)
    p = {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in model.parameters.items()}
    log, crop = log_step(QUALITY), random_crop(pictures, rng).pixels
    model.memory = [Replay()]
    crops = model.memory[0].crops
    own = model._loss(crop, log, sample=(pyramid._SAMPLE, np.random.default_rng(2))).gradients
    coded = model._code(crop, log)
    same = {0: coded.low.q, **{group.level: group.q for group in coded.details}}
    theirs = torch_gradients(model, p, crop, log, np.random.default_rng(2), same)
    worst = worst_difference(own, theirs)
    own = model._filter_loss(crops, np.random.default_rng(3)).gradients
    theirs = torch_filter_gradients(model, p, crops, np.random.default_rng(3))
    worst = max(worst, worst_difference(own, theirs))
    click.echo(f"gradients agree to {worst:.1e} of their largest values")
    with tempfile.TemporaryDirectory() as folder:
        pixels = share(Path(folder, "images"), pictures)
        with fitting._gradients(model, pictures, pixels, nn.NUMPY, CROPS) as gradients_of:

            def own_round() -> None:
                for _ in range(pyramid._REPLAYS):
                    gradients_of(model, 0.9, rng.spawn(CROPS))

            ours = timed(own_round)

    def torch_round() -> None:
        for _ in range(CROPS):
            torch_gradients(model, p, random_crop(pictures, rng).pixels, log, rng)
            for _ in range(pyramid._REPLAYS - 1):
                torch_filter_gradients(model, p, crops, rng)

    times = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        times[threads] = timed(torch_round)
    click.echo(
        f"a round of {CROPS} crops: aezip {ours:.3f} s; "
        f"PyTorch {times[2]:.3f} s on two threads, {times[1]:.3f} s on one"
    )
    best = min(times[2], times[1] / 2)
    click.echo(f"aezip takes {ours / best:.2f} times as long as PyTorch at its best")
    whole, products = seconds_of_products(model, crop, log)
    click.echo(f"matrix products take {100 * products / whole:.0f} % of aezip's step")


if __name__ == "__main__":
    main()
