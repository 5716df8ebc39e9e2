"""Classification by least squares whose targets may be exceeded.

One-hot targets punish outputs for being more right than asked for. Any T of the convex
set C, T >= 1 at the label and T <= 0 elsewhere, says the same, so the readout W and T
are a pair of nearest points, of the linear space {F W} and of C, found by alternating
projections: W by ridge regression on T, T <- P_C(F W) with Nesterov's extrapolation
(after Xiang et al., "Discriminative least squares regression", IEEE TNNLS 23(11),
2012). The factor of F'F is made once. Held-out rows say when to stop; their targets
come from outputs that did not see them, and join for the last solve.
"""

import dataclasses

import numpy as np

from fixproj.nn._zorb._expansion import BLOCK, Expansion
from fixproj.nn._zorb._moments import Moments
from fixproj.nn._zorb._ridge import Factor


_HELD_SHARE = 0.1
_MOST_HELD = 4096
_MOST_ROUNDS = 24
_PATIENCE = 4


def relaxed_readout(
    expansion: Expansion,
    moments: Moments,
    strength: float,
    rows,
    kept,
    dtype,
    rng,
):
    """The readout for relaxed targets, and the statistics with these.

    Args:
        expansion: the hidden layers.
        moments: of all rows.
        strength: of the ridge.
        rows: x, one-hot y and weights.
        kept: features by block, or None to compute them again.
        dtype: of the computation.
        rng: a NumPy generator, for the held-out rows.

    Returns:
        Moments, the readout `(mean of features, weights, mean of targets)`, and the
        held-out rows with their outputs, as indices and an array.
    """
    x, y, weights = rows
    count = min(_MOST_HELD, int(_HELD_SHARE * len(x)))
    held = np.sort(rng.choice(len(x), count, replace=False))
    hx, hy, hw = x[held], y[held], weights[held]
    if kept is None:
        features = expansion(hx, dtype)
    else:
        features = np.stack([kept[i // BLOCK][i % BLOCK] for i in held])
    part = Moments.of_features(moments.centre, features, hy, hw)
    own = moments.without(part)
    others = np.array(weights)
    others[held] = 0.0
    gram, cross, _, mean, offset = own.centred()
    factor = Factor(gram, strength)
    targets = np.array(y, dtype)
    best, since, momentum, chosen = np.inf, 0, 1.0, None
    for _ in range(_MOST_ROUNDS):
        out = factor.solve(cross)
        affine = out.astype(dtype), (offset - mean @ out).astype(dtype)
        outputs = features @ affine[0] + affine[1]
        loss = float(hw @ (outputs.argmax(1) != hy.argmax(1)))
        if loss < best:
            best, since, chosen = loss, 0, (own, outputs)
        elif since == _PATIENCE:
            break
        since += 1
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        push, momentum = dtype.type((momentum - 1) / faster), faster
        sums, total, squares = 0.0, 0.0, 0.0
        for i, begin in enumerate(range(0, len(x), BLOCK)):
            at = slice(begin, begin + BLOCK)
            f = expansion(x[at], dtype) if kept is None else kept[i][: len(x[at])]
            new = _nearest(y[at], f @ affine[0] + affine[1])
            z = _nearest(y[at], new + push * (new - targets[at]))
            targets[at] = new
            weighted = z * others[at, None].astype(dtype)
            column = weighted.sum(0, dtype=np.float64)
            sums = sums + f.T @ weighted - np.outer(moments.centre, column)
            total, squares = total + column, squares + (weighted * z).sum(0)
        own = dataclasses.replace(own, cross=sums, target=total, squares=squares)
        cross, offset = own.centred_cross()
    assert chosen is not None
    own, outputs = chosen
    wanted = _nearest(hy, outputs)
    moments = own.plus(part.with_targets(features, wanted, hw))
    gram, cross, _, mean, offset = moments.centred()
    out = Factor(gram, strength).solve(cross)
    return moments, (mean, out, offset), (held, outputs)


def _nearest(y, t):
    return np.where(y > 0.5, np.maximum(t, 1), np.minimum(t, 0))
