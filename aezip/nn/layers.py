"""Layers as functions: `layer(x, parameters...)` returns `(output, backprop)`.

`backprop(gradient of the output)` returns the gradients of the arguments in their order: of x,
then of each parameter. What the backward pass needs stays in the closure, so a layer has no
hidden state and any composition works (the idea of thinc). All arithmetic is matrix products
over whole batches, in the dtype of the arguments. Images are (n, height, width, channels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from aezip.nn.ops import Array, ops_of

Backprop = Callable[[Array], Any]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def dense(
    x: Array, w: Array, b: Array | None = None, *, of_data: bool = False
) -> tuple[Array, Backprop]:
    """Fully connected: `x @ w + b`, over the last axis.

    x: (..., inputs), w: (inputs, outputs), b: (outputs,) or None for no bias. of_data: x is data,
    whose gradient nobody wants; it is a third of the work, and dx is then None.
    Returns (..., outputs); backprop gives (dx, dw, db), db None without a bias.
    Raises ValueError where the shapes do not fit.
    """
    if x.ndim == 0 or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"weights of shape {w.shape} cannot take inputs of shape {x.shape}")
    _check_bias(w, b, w.shape[1])
    y = x @ w
    if b is not None:
        y += b

    def backprop(dy: Array) -> tuple[Array | None, Array, Array | None]:
        flat = dy.reshape(-1, w.shape[1])
        dx = None if of_data else dy @ w.T
        dw = x.reshape(-1, w.shape[0]).T @ flat
        return dx, dw, None if b is None else flat.sum(axis=0)

    return y, backprop


def same_padding(size: Pair, kernel: Pair, stride: Pair) -> Padding:
    """The padding that makes a convolution give ceil(size / stride) rows and columns; the odd
    one goes after (as in TensorFlow)."""
    pads = []
    for n, k, s in zip(size, kernel, stride, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads.append((total // 2, total - total // 2))
    return pads[0], pads[1]


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    of_data: bool = False,
) -> tuple[Array, Backprop]:
    """Convolution (the networks' kind: no flip), as one matrix product over all windows.

    x: (n, h, w, inputs), w: (kernel h, kernel w, inputs, outputs), b: (outputs,) or None.
    padding: zeros ((above, below), (left, right)). of_data: as for `dense`.
    Returns (n, rows, columns, outputs); backprop gives (dx, dw, db).
    Raises ValueError where the shapes do not fit.
    """
    if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[2]:
        raise ValueError(f"a kernel of shape {w.shape} cannot take images of shape {x.shape}")
    _check_bias(w, b, w.shape[3])
    ops = ops_of(x)
    kernel = w.shape[:2]
    padded = _pad(x, padding)
    if padded.shape[1] < kernel[0] or padded.shape[2] < kernel[1]:
        raise ValueError(f"images of shape {x.shape} are smaller than the kernel {w.shape}")
    windows = ops.windows(padded, kernel, stride)
    n, rows, columns = windows.shape[:3]
    matrix = w.reshape(-1, w.shape[3])
    patches = windows.reshape(-1, matrix.shape[0])
    y = patches @ matrix
    if b is not None:
        y += b

    def backprop(dy: Array) -> tuple[Array | None, Array, Array | None]:
        flat = dy.reshape(-1, w.shape[3])
        dw = (patches.T @ flat).reshape(w.shape)
        db = None if b is None else flat.sum(axis=0)
        if of_data:
            return None, dw, db
        dpatches = (flat @ matrix.T).reshape(n, rows, columns, *w.shape[:3])
        dx = _crop(_overlap(dpatches, padded.shape, stride), padding)
        return dx, dw, db

    return y.reshape(n, rows, columns, w.shape[3]), backprop


def conv2d_transpose(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    of_data: bool = False,
) -> tuple[Array, Backprop]:
    """Transposed convolution: what `conv2d` with the same kernel does to gradients.

    x: (n, rows, columns, inputs), w: (kernel h, kernel w, outputs, inputs), b: (outputs,) or
    None. padding: rows and columns cut from the result. of_data: as for `dense`.
    Returns (n, h, w, outputs), h = (rows - 1) stride + kernel - padding; backprop gives
    (dx, dw, db). Raises ValueError where the shapes do not fit.
    """
    if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[3]:
        raise ValueError(f"a kernel of shape {w.shape} cannot take images of shape {x.shape}")
    _check_bias(w, b, w.shape[2])
    ops = ops_of(x)
    n, rows, columns, inputs = x.shape
    matrix = w.reshape(-1, inputs)
    flat = x.reshape(-1, inputs)
    patches = (flat @ matrix.T).reshape(n, rows, columns, *w.shape[:3])
    whole = (
        n,
        (rows - 1) * stride[0] + w.shape[0],
        (columns - 1) * stride[1] + w.shape[1],
        w.shape[2],
    )
    if whole[1] <= sum(padding[0]) or whole[2] <= sum(padding[1]):
        raise ValueError(f"a padding of {padding} leaves nothing of a result of shape {whole}")
    y = _crop(_overlap(patches, whole, stride), padding)
    if b is not None:
        y = y + b

    def backprop(dy: Array) -> tuple[Array | None, Array, Array | None]:
        windows = ops.windows(_pad(dy, padding), w.shape[:2], stride)
        dpatches = windows.reshape(-1, matrix.shape[0])
        dx = None if of_data else (dpatches @ matrix).reshape(x.shape)
        dw = (dpatches.T @ flat).reshape(w.shape)
        return dx, dw, None if b is None else dy.sum(axis=(0, 1, 2))

    return y, backprop


def max_pool2d(
    x: Array, size: Pair, *, stride: Pair, padding: Padding = ((0, 0), (0, 0))
) -> tuple[Array, Backprop]:
    """The largest value of each channel in each window; of equal ones the first has the gradient.

    x: (n, h, w, c). padding: as for `conv2d`, but never the largest.
    Returns (n, rows, columns, c). Raises ValueError where the shapes do not fit.
    """
    rows, columns = _pooled_size(x, size, stride, padding)
    xp = ops_of(x).xp
    padded = _pad(x, padding, -np.inf)
    first, *others = _views(padded, size, rows, columns, stride)
    y = first.copy()
    for view in others:
        xp.maximum(y, view, out=y)

    def backprop(dy: Array) -> Array:
        dpadded = xp.zeros_like(padded)
        for view, dview in zip(
            [first, *others], _views(dpadded, size, rows, columns, stride), strict=True
        ):
            here = dy * (view == y)
            dview += here
            dy = dy - here
        return _crop(dpadded, padding)

    return y, backprop


def avg_pool2d(
    x: Array, size: Pair, *, stride: Pair, padding: Padding = ((0, 0), (0, 0))
) -> tuple[Array, Backprop]:
    """The mean of each channel in each window, of which padding is no part.

    Shapes and errors as for `max_pool2d`.
    """
    rows, columns = _pooled_size(x, size, stride, padding)
    xp = ops_of(x).xp
    padded = _pad(x, padding)
    pixels = _pad(xp.ones((1, *x.shape[1:3], 1), x.dtype), padding)
    share = 1 / sum(_views(pixels, size, rows, columns, stride))
    y = sum(_views(padded, size, rows, columns, stride)) * share

    def backprop(dy: Array) -> Array:
        dpadded, dy = xp.zeros_like(padded), dy * share
        for dview in _views(dpadded, size, rows, columns, stride):
            dview += dy
        return _crop(dpadded, padding)

    return y, backprop


def dropout(x: Array, rate: float, rng: np.random.Generator) -> tuple[Array, Backprop]:
    """x with a share of `rate` of its elements, drawn at random, set to zero, and the others
    scaled so that the expectation is kept (Srivastava et al., "Dropout: a simple way to prevent
    neural networks from overfitting", 2014). rate: from 0 up to, not including, 1."""
    kept = rng.random(x.shape, np.float32) >= rate
    factor = ops_of(x).asarray(kept.astype(x.dtype) * x.dtype.type(1 / (1 - rate)))
    return x * factor, lambda dy: dy * factor


def reshape(x: Array, shape: tuple[int, ...]) -> tuple[Array, Backprop]:
    """x in another shape.

    Raises ValueError where it has another number of elements.
    """
    return x.reshape(shape), lambda dy: dy.reshape(x.shape)


def pad_edges(x: Array, margin: int) -> tuple[Array, Backprop]:
    """`x` (n, h, w, c) with its outermost pixels repeated `margin` times on all sides."""
    xp = ops_of(x).xp
    y = xp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")

    def backprop(dy: Array) -> Array:
        for axis in (1, 2):
            dy = xp.moveaxis(dy, axis, 0)
            inner = dy[margin:-margin].copy() if margin else dy.copy()
            if margin:
                inner[0] += dy[:margin].sum(axis=0)
                inner[-1] += dy[-margin:].sum(axis=0)
            dy = xp.moveaxis(inner, 0, axis)
        return dy

    return y, backprop


def space_to_depth(x: Array, block: int) -> tuple[Array, Backprop]:
    """(n, h, w, c) to (n, h / block, w / block, block * block * c).

    Raises ValueError where block does not divide h and w.
    """
    if x.ndim != 4 or x.shape[1] % block or x.shape[2] % block:
        raise ValueError(f"images of shape {x.shape} do not divide into blocks of {block, block}")

    def backprop(dy: Array) -> Array:
        return _to_space(dy, block)

    return _to_depth(x, block), backprop


def depth_to_space(x: Array, block: int) -> tuple[Array, Backprop]:
    """The inverse of `space_to_depth`.

    Raises ValueError where block * block does not divide the channels.
    """
    if x.ndim != 4 or x.shape[3] % block**2:
        raise ValueError(f"channels of shape {x.shape} do not make blocks of {block, block}")

    def backprop(dy: Array) -> Array:
        return _to_depth(dy, block)

    return _to_space(x, block), backprop


def _check_bias(w: Array, b: Array | None, outputs: int) -> None:
    # A bias of shape (1,) would be broadcast without a word, and its gradient would not fit.
    if b is not None and b.shape != (outputs,):
        raise ValueError(f"weights of shape {w.shape} do not go with a bias of shape {b.shape}")


def _to_depth(x: Array, block: int) -> Array:
    n, h, w, c = x.shape
    x = x.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // block, w // block, block * block * c)


def _to_space(x: Array, block: int) -> Array:
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h * block, w * block, c // block**2)


def _pooled_size(x: Array, size: Pair, stride: Pair, padding: Padding) -> Pair:
    if x.ndim != 4:
        raise ValueError(f"windows of shape {size} cannot be taken of images of shape {x.shape}")
    result = []
    for n, k, s, pads in zip(x.shape[1:3], size, stride, padding, strict=True):
        if max(pads) >= k:
            raise ValueError(f"a padding of {padding} holds whole windows of shape {size}")
        if n + sum(pads) < k:
            raise ValueError(f"images of shape {x.shape} are smaller than a window of {size}")
        result.append((n + sum(pads) - k) // s + 1)
    return result[0], result[1]


def _pad(x: Array, padding: Padding, value: float = 0) -> Array:
    if padding == ((0, 0), (0, 0)):
        return x
    n, h, w, c = x.shape
    (top, bottom), (left, right) = padding
    # Not the library's `pad`, which for small images takes longer than the copy.
    padded = ops_of(x).xp.full((n, top + h + bottom, left + w + right, c), value, x.dtype)
    padded[:, top : top + h, left : left + w] = x
    return padded


def _crop(x: Array, padding: Padding) -> Array:
    (top, bottom), (left, right) = padding
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def _views(x: Array, size: Pair, rows: int, columns: int, stride: Pair) -> Iterator[Array]:
    """For each place of a window, row by row, what it meets in x as the window moves: views of
    shape (n, rows, columns, c)."""
    for top in range(size[0]):
        for left in range(size[1]):
            yield x[
                :,
                top : top + (rows - 1) * stride[0] + 1 : stride[0],
                left : left + (columns - 1) * stride[1] + 1 : stride[1],
            ]


def _overlap(patches: Array, shape: tuple[int, ...], stride: Pair) -> Array:
    """Patches (n, rows, columns, kh, kw, c) added up where they overlap: `shape`."""
    total = ops_of(patches).xp.zeros(shape, patches.dtype)
    rows, columns, kh, kw = patches.shape[1:5]
    for place, view in enumerate(_views(total, (kh, kw), rows, columns, stride)):
        view += patches[:, :, :, place // kw, place % kw]
    return total
