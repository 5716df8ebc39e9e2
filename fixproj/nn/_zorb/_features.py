"""Where hidden units start: each separates a random pair of unlike examples.

For a pair (a, b) the unit tanh(s (2 (x - m)'(a - b) / |a - b|^2 + r)), m the midpoint,
is at -s and s on the pair itself but for the random shift r. Directions between
examples lie where the data varies, which plain Gaussian weights do not
(Zhu, Miao and Qing, "Constrained extreme learning machine", 2014).
"""

import numpy as np


_SHIFT = 0.5
_FEW = 32
_TRIES = 8


def pair_units(x, groups, weights, units: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of the units.

    Args:
        x: scaled inputs, of shape (examples, features).
        groups: the class, or quantile of the target, of each.
        weights: how likely each is drawn.
        units: how many.
        rng: a NumPy generator.

    Returns:
        Weights (features, units) and biases (units,).
    """
    size = x.shape[1]
    if len(x) < _FEW:
        return _gaussian(size, units, rng)
    cumulative = np.cumsum(weights) / np.sum(weights)

    def draw(count):
        found = np.searchsorted(cumulative, rng.random(count))
        return np.minimum(found, len(x) - 1)

    first, second = draw(_TRIES * units), draw(_TRIES * units)
    # Unlike pairs first, then any pair of two different points.
    order = np.argsort(groups[first] == groups[second], kind="stable")[: 2 * units]
    first, second = first[order], second[order]
    gap = ((x[first] - x[second]) ** 2).sum(1)
    usual = np.mean(gap)
    if not usual > 0:
        return _gaussian(size, units, rng)
    chosen = np.argsort(gap <= 1e-6 * usual, kind="stable")[:units]
    a, b = x[first[chosen]], x[second[chosen]]
    gap = np.maximum(gap[chosen], 1e-3 * usual)[:, None]
    direction = 2 * (a - b) / gap
    bias = -np.sum(direction * (a + b) / 2, axis=1)
    return direction.T, bias + _SHIFT * rng.standard_normal(units)


def slope_of(activation: str) -> float:
    """What makes the activation's graph that of tanh, up to an affine map."""
    return 2.0 if activation == "sigmoid" else 1.0


def _gaussian(size, units, rng):
    weights = rng.standard_normal((size, units)) / np.sqrt(size)
    return weights, rng.standard_normal(units)
