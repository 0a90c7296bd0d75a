"""The context model as a differentiable rate: what training minimises.

The same network as `context.IntegerNetwork`, in floating point, on the same features, with the
gradients that the coder has no need of.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aezip import nn
from aezip.entropy import context, laplace
from aezip.entropy.context import Layout, Parameters

Array = NDArray[np.floating]
Backprop = Callable[[], tuple[Array, Parameters]]


def rate(
    parameters: Parameters,
    where: Layout,
    buffer: Array,
    log_step: int,
    sample: tuple[int, np.random.Generator] | None = None,
    unrounded: Array | None = None,
) -> tuple[float, Backprop]:
    """Bits of all latents of one image or crop.

    buffer: (where.size,) latents in half steps in the layout's flat order, whole numbers, zero
    where there is none. log_step: as `IntegerNetwork.bias` takes it.
    sample: (n, rng) to take n latents drawn at random for all that have a context, and n for
    all that have none: unbiased, and many small steps teach more than few large ones.
    unrounded: (where.size,) in steps, what `buffer` was quantised from. The gradient by a latent,
    in steps, is then that of the rate averaged over the rounding interval, bits(u + 1/2) -
    bits(u - 1/2), which is what additive uniform noise gives in expectation; at a whole number
    itself the zeros, which are most, would have none. Without, latents have no gradient.
    Returns (bits, backprop); backprop gives the gradients by latent and by each parameter.
    The gradient by a latent is that of its own bits; its influence as a neighbour of others is
    left out (it is small where the contexts are logarithms, and costs as much as the rest).
    """
    ops = nn.ops_of(buffer)
    # What is looked up here and there is found on the processor, whatever computes the rest.
    latents = ops.to_host(buffer)
    active = context.is_active(where, latents)
    some = np.flatnonzero(active)
    quiet = np.flatnonzero(~active)
    some, weight_some = _draw(some, sample)
    quiet, weight_quiet = _draw(quiet, sample)
    weights = np.array([weight_quiet, weight_some], buffer.dtype)
    weight = ops.asarray(np.repeat(weights, [len(quiet), len(some)]))
    present = np.flatnonzero(latents)
    features = np.zeros((where.size, 2), buffer.dtype)
    features[present] = context.integer_features(latents[present])
    features *= buffer.dtype.type(1 / context.FEATURE_STEPS)
    inputs = context.gather(features, where.inputs(some))
    coded, second = context.symbols(where, latents.astype(np.int32))
    planes = len(where.planes)
    # One row for each plane, with all features zero, then one for each latent with a context.
    which = np.concatenate([quiet, some])
    plane = np.concatenate([np.arange(planes), where.plane_of[some]])
    row = np.concatenate([where.plane_of[quiet], planes + np.arange(len(some))])
    position = where.position[which]
    value, second = ops.asarray(coded[position].astype(buffer.dtype)), second[position]
    row, at = ops.asarray(2 * row + second), ops.asarray(position)
    inputs = np.concatenate([np.zeros((planes, inputs.shape[1]), inputs.dtype), inputs])
    bias = context.embedding(parameters, where.planes)
    bias = bias + parameters["quality"] * parameters["quality"].dtype.type(
        log_step / context.LOG_STEP_UNITS
    )

    hidden, back1 = nn.dense(ops.asarray(inputs), parameters["w1"], of_data=True)
    hidden += bias[ops.asarray(plane)]
    hidden, clip1 = nn.clipped_relu(hidden, context.HIDDEN_LIMIT)
    hidden, back2 = nn.dense(hidden, parameters["w2"], parameters["b2"])
    hidden, clip2 = nn.clipped_relu(hidden, context.HIDDEN_LIMIT)
    output, back3 = nn.dense(hidden, parameters["w3"], parameters["b3"])
    output = output.reshape(-1, context.OUTPUTS)  # both quantisers' one after the other
    bits, (_, *by_outputs) = laplace.mixture_bits(value, *output[row].T)
    bits *= weight

    def backprop() -> tuple[Array, Parameters]:
        dlatents = np.zeros_like(buffer)
        if unrounded is not None:
            exact = unrounded[at]
            exact = exact + np.sign(exact) * ops.asarray(second * exact.dtype.type(0.5))
            distributions = output[row].T
            half = buffer.dtype.type(0.5)
            slope = laplace.mixture_bits(exact + half, *distributions)[0]
            slope -= laplace.mixture_bits(exact - half, *distributions)[0]
            np.add.at(dlatents, at, slope * weight)  # a latent may have been drawn twice
        doutput = np.empty_like(output)
        for column, gradient in enumerate(by_outputs):
            doutput[:, column] = np.bincount(row, weights=gradient * weight, minlength=len(output))
        doutput = doutput.reshape(-1, 2 * context.OUTPUTS)
        d: Parameters = {}
        dhidden, d["w3"], d["b3"] = back3(doutput)
        dhidden, d["w2"], d["b2"] = back2(clip2(dhidden))
        dhidden = clip1(dhidden)
        _, d["w1"], _ = back1(dhidden)
        dbias = np.zeros_like(bias)
        order = np.argsort(plane, kind="stable")
        starts = ops.asarray(np.searchsorted(plane[order], np.arange(planes)))
        np.add.reduceat(dhidden[ops.asarray(order)], starts, axis=0, out=dbias)
        d.update(context.embedding_gradient(dbias, where.planes, parameters))
        d["quality"] = dbias.sum(axis=0) * dbias.dtype.type(log_step / context.LOG_STEP_UNITS)
        return dlatents, d

    return float(bits.sum(dtype=np.float64)), backprop


def _draw(
    latents: NDArray[np.intp], sample: tuple[int, np.random.Generator] | None
) -> tuple[NDArray[np.intp], float]:
    """Some of the latents, and for how many each of them stands."""
    if sample is None or len(latents) <= sample[0]:
        return latents, 1.0
    n, rng = sample
    # One from each of n equal stretches.
    drawn = ((np.arange(n) + rng.random(n)) * (len(latents) / n)).astype(np.intp)
    # The sum may round up to n.
    return latents[np.minimum(drawn, len(latents) - 1)], len(latents) / n
