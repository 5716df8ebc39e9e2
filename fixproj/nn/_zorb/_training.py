"""How the estimators' network is fitted: units from pairs, ridge readout, sweeps.

On few rows the strength of the ridge, the slope of the units and the share of the
hidden layer are the simplest whose leave-one-out error is within one standard error of
the least; on many rows the strength is chosen by generalised cross-validation from
streamed statistics, and sweeps improve the hidden layers.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from fixproj.nn._zorb._activations import ACTIVATIONS
from fixproj.nn._zorb._expansion import Expansion
from fixproj.nn._zorb._features import pair_units, slope_of
from fixproj.nn._zorb._moments import Moments
from fixproj.nn._zorb._relax import relaxed_readout
from fixproj.nn._zorb._ridge import LeaveOneOut, choose_ridge, solve_ridge
from fixproj.nn._zorb._sweep import sweep


FEW_ROWS = 2048
_SWEEP_ROWS = 4096
# A sweep helps where units are many for the rows, and costs accuracy beyond.
_SWEPT_ROWS = 8192
_KEPT_BYTES = 1 << 28
_FINE, _COARSE = (2.0, 1.0, 0.5), (2.0,)
_PAIR_ROWS = 4096
_SLOPES = (1.0, 0.3, 0.1)
_GAINS = (1.0, 0.1)
_LEAST_SPREAD = 0.1


@dataclasses.dataclass
class Fitted:
    """A trained network.

    Attributes:
        expansion: the hidden layers.
        readout: `(mean of features, weights, mean of targets)`.
        strength: of the ridge.
        dtype: that it computes in.
        held_out: rows, as indices, and outputs for them that did not see them; or None.
    """

    expansion: Expansion
    readout: tuple[np.ndarray, np.ndarray, np.ndarray]
    strength: float
    dtype: np.dtype
    held_out: tuple[np.ndarray, np.ndarray] | None = None
    moments: Moments | None = None

    def predict(self, x) -> np.ndarray:
        """Outputs of rows."""
        mean, weights, offset = self.readout
        features = self.expansion(x, self.dtype)
        # Row by row the same sum, whatever rows come along.
        return (features - mean.astype(self.dtype)) @ weights.astype(
            self.dtype
        ) + offset.astype(self.dtype)


def spreads(x, weights):
    """Mean of each input, and its standard deviation or a tenth of its range."""
    count = float(np.sum(weights))
    # About a point among the rows, so that one pass loses no digits.
    about = np.asarray(x[:FEW_ROWS], np.float64).mean(0)
    total, square, low, high = 0.0, 0.0, np.inf, -np.inf
    for rows in _slices(len(x)):
        block = np.asarray(x[rows], np.float64)
        low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
        block = block - about
        total = total + weights[rows] @ block
        square = square + weights[rows] @ np.square(block, out=block)
    shift = np.asarray(total) / count
    mean = about + shift
    deviation = np.sqrt(np.maximum(np.asarray(square) / count - shift**2, 0.0))
    spread = np.maximum(deviation, _LEAST_SPREAD * (np.asarray(high) - low))
    return mean, np.where(spread > 1e-12 * np.abs(mean), spread, 1.0)


def start(x, groups, weights, sizes, activation, rng, skip=True) -> Expansion:
    """Hidden layers of units from pairs, drawn from a sample of the rows."""
    shift, spread = spreads(x, weights)
    some = slice(None)
    if len(x) > _PAIR_ROWS:
        some = np.sort(rng.choice(len(x), _PAIR_ROWS, replace=False))
    sample = np.asarray(x[some], np.float64)
    groups, weights = groups[some], weights[some]
    h = (sample - shift) / spread
    layers = []
    for i, units in enumerate(sizes):
        slope = slope_of(activation)
        w, b = pair_units(h, groups, weights, units, rng)
        layers.append((slope * w, slope * b))
        if i + 1 < len(sizes):
            z = jnp.asarray(h @ layers[-1][0] + layers[-1][1])
            h = np.asarray(ACTIVATIONS[activation].function(z), np.float64)
    skip = skip or not layers
    return Expansion(shift, spread, tuple(layers), activation, skip=skip)


def train_few(x, y, weights, expansion, strength, sweeps, dtype) -> Fitted:
    """Chooses among slopes, gains and strengths by leave-one-out error."""
    homogeneous = ACTIVATIONS[expansion.activation].homogeneous
    slopes = (1.0,) if homogeneous or not expansion.layers else _SLOPES
    gains = _GAINS if expansion.layers else (1.0,)
    tried, errors = [], []
    for slope in slopes:
        layers = tuple((slope * w, slope * b) for w, b in expansion.layers)
        for gain in gains:
            moved = expansion.replace(layers=layers, gain=gain)
            held = LeaveOneOut(np.asarray(moved(x, dtype), float), y, weights)
            for k in held.strengths() if strength is None else [strength]:
                residuals = held.residuals(k)
                if residuals is not None:
                    tried.append((held.freedom(k), moved, held, k, residuals))
                    errors.append(np.sum(residuals**2, axis=1))
    if not tried:
        k = float(held.strengths()[-1]) if strength is None else strength
        mean, offset = held.mean, held.offset
        return Fitted(moved, (mean, held.solve(k), offset), k, dtype)
    scores = np.array(errors)
    best = int(np.argmin(scores @ weights))
    count = weights.sum()
    gaps = scores - scores[best]
    means = gaps @ weights / count
    deviation = np.sqrt(np.maximum((gaps**2) @ weights / count - means**2, 0))
    allowed = means <= deviation / np.sqrt(len(x)) + 1e-12 * scores[best].mean()
    simplest = min(np.flatnonzero(allowed), key=lambda i: tried[i][0])
    _, moved, held, k, residuals = tried[simplest]
    readout = held.mean, held.solve(k), held.offset
    fitted = Fitted(moved, readout, k, dtype, (np.arange(len(y)), y - residuals))
    if sweeps == 0:
        return fitted
    return train_many(x, y, weights, moved, strength, sweeps, dtype, None)


def train_many(
    x, y, weights, expansion, strength, sweeps, dtype, rng, classes=False
) -> Fitted:
    """Sweeps over samples of the rows, then a readout from all of them."""
    sweeps = int(len(x) <= _SWEPT_ROWS) if sweeps is None else sweeps
    chosen = None
    for _ in range(sweeps if expansion.layers else 0):
        some = slice(None)
        if rng is not None and len(x) > _SWEEP_ROWS:
            some = np.sort(rng.choice(len(x), _SWEEP_ROWS, replace=False))
        sx, sy, sw = x[some], y[some], weights[some]
        given = chosen if strength is None else strength
        fitted = _read(expansion, sx, sy, sw, given, dtype, steps=_COARSE)
        chosen = fitted.strength
        expansion = sweep(expansion, fitted.readout, sx, sy, sw, dtype)
    kept = None
    if classes and len(x) * sum(expansion.sizes) * dtype.itemsize <= _KEPT_BYTES:
        kept = []
    steps = _FINE if chosen is None else _FINE[1:]
    fitted = _read(expansion, x, y, weights, strength, dtype, chosen, kept, steps)
    return _relaxed(fitted, x, y, weights, kept, rng) if classes else fitted


def resolved(
    moments: Moments, expansion, strength, dtype, near=None, steps=_FINE
) -> Fitted:
    """The readout that the statistics give."""
    gram, cross, total, mean, offset = moments.centred()
    if strength is None:
        ridge = choose_ridge(gram, cross, total, moments.count, near, steps)
        strength, out = ridge.strength, ridge.weights
    else:
        out = solve_ridge(gram, cross, strength)
    return Fitted(expansion, (mean, out, offset), strength, dtype, None, moments)


def _read(
    expansion, x, y, weights, strength, dtype, near=None, kept=None, steps=_FINE
) -> Fitted:
    moments = Moments.about(expansion, x, y.shape[1], dtype)
    moments.add(expansion, x, y, weights, dtype, kept)
    return resolved(moments, expansion, strength, dtype, near, steps)


def _relaxed(fitted: Fitted, x, y, weights, kept, rng) -> Fitted:
    assert fitted.moments is not None
    moments, readout, held = relaxed_readout(
        fitted.expansion,
        fitted.moments,
        fitted.strength,
        (x, y, weights),
        kept,
        fitted.dtype,
        rng,
    )
    return dataclasses.replace(fitted, moments=moments, readout=readout, held_out=held)


def _slices(count):
    for begin in range(0, count, FEW_ROWS):
        yield slice(begin, min(begin + FEW_ROWS, count))
