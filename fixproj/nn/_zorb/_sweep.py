"""One sweep of projections over the hidden layers, first to last.

The output error R = Y - F W is carried back by the least-norm change of a hidden
layer's output that would remove it, T = H + R W' (W W' + mu)^-1, and through the
activation; each layer then moves to the (ridge) least-squares solution of its carried
targets, by the step that is best for the linearised network. Unlike an inverse image of
the labels alone, T keeps what the random start already has in the null space of W, so
the hidden layer does not collapse to rank <= outputs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fixproj.nn._zorb._activations import ACTIVATIONS
from fixproj.nn._zorb._expansion import BLOCK, Expansion, blocks, hidden, joined
from fixproj.nn._zorb._ridge import solve_ridge


_OUTPUT_DAMPING = 0.1
# Relative to the mean eigenvalue: the more rows for each input, the less.
_LAYER_RIDGE = 40.0
_MOST_RIDGE = 3.0
_TRY = BLOCK


def sweep(expansion: Expansion, readout, x, y, weights, dtype) -> Expansion:
    """The expansion after one sweep.

    Args:
        expansion: the hidden layers.
        readout: `(mean of features, weights, mean of targets)` that fits them.
        x: rows.
        y: their targets.
        weights: of the rows.
        dtype: of the computation.

    Returns:
        The moved expansion; the readout has to be solved anew.
    """
    mean, out, offset = (np.asarray(part, dtype) for part in readout)
    start = 0
    for layer, size in enumerate(expansion.sizes[:-1]):
        block = out[start : start + size] * (expansion.gain / np.sqrt(size))
        start += size
        inner = block.T.astype(np.float64) @ block
        damped = inner + _OUTPUT_DAMPING * np.trace(inner) / len(inner) * np.eye(
            len(inner)
        )
        if not np.trace(inner) > 0:
            continue
        back = (np.linalg.solve(damped, block.T)).astype(dtype)
        arrays = expansion.arrays(dtype)
        gram = cross = 0.0
        for _, (bx, by, bw) in blocks(expansion, dtype, x, y, weights):
            g, c = _carried(
                arrays, (mean, out, offset), back, bx, by, bw, layer, expansion
            )
            gram, cross = gram + np.asarray(g, float), cross + np.asarray(c, float)
        gram, cross = np.asarray(gram), np.asarray(cross)
        relative = min(_MOST_RIDGE, _LAYER_RIDGE * len(gram) / len(x))
        ridge = relative * float(np.trace(gram)) / len(gram)
        move = solve_ridge(gram, cross, ridge)
        _, (bx, by, bw) = next(
            blocks(expansion, dtype, x[:_TRY], y[:_TRY], weights[:_TRY])
        )
        towards, square = _response(
            arrays,
            (mean, out, offset),
            np.asarray(block, dtype),
            move.astype(dtype),
            bx,
            by,
            bw,
            layer,
            expansion,
        )
        step = float(towards) / max(float(square), np.finfo(dtype).tiny)
        if not (np.isfinite(step) and step > 0 and np.all(np.isfinite(move))):
            continue
        old, bias = expansion.layers[layer]
        moved = (old + step * move[:-1], bias + step * move[-1])
        layers = (*expansion.layers[:layer], moved, *expansion.layers[layer + 1 :])
        expansion = expansion.replace(layers=layers)
    return expansion


def _parts(arrays, readout, x, y, layer, activation):
    mean, out, offset = readout
    residual = y - offset[None] - (joined(arrays, x, activation) - mean[None]) @ out
    outputs = [x, *hidden(arrays, x, activation)]
    before, h = outputs[layer], outputs[layer + 1]
    weights, bias = arrays[0][layer]
    ones = jnp.ones((x.shape[0], 1), x.dtype)
    return (
        residual,
        jnp.concatenate([before, ones], 1),
        before @ weights + bias[None],
        h,
    )


def _carry(arrays, readout, back, x, y, w, layer, activation):
    residual, before, z, h = _parts(arrays, readout, x, y, layer, activation)
    pulled = ACTIVATIONS[activation].pull(z, h, residual @ back)
    weighted = before * w[:, None]
    return weighted.T @ before, weighted.T @ pulled


def _respond(arrays, readout, block, move, x, y, w, layer, activation):
    residual, before, z, h = _parts(arrays, readout, x, y, layer, activation)
    slope = ACTIVATIONS[activation].slope
    change = before @ move
    if slope is not None:
        change = change * slope(z, h)
    response = change @ block
    w = w[:, None]
    return jnp.sum(w * response * residual), jnp.sum(w * response * response)


_carry_jit = jax.jit(_carry, static_argnums=(6, 7))
_respond_jit = jax.jit(_respond, static_argnums=(7, 8))


def _carried(arrays, readout, back, x, y, w, layer, expansion):
    return _carry_jit(arrays, readout, back, x, y, w, layer, expansion.activation)


def _response(arrays, readout, block, move, x, y, w, layer, expansion):
    activation = expansion.activation
    return _respond_jit(arrays, readout, block, move, x, y, w, layer, activation)
