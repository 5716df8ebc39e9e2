"""Ridge regression from sufficient statistics, and the choice of its strength.

With G = F'F, C = F'Y of n centred rows, the solution is W = (G + k I)^-1 C. Two scores
choose k without other data. Generalised cross-validation needs the statistics only
(Golub, Heath and Wahba, 1979):

    GCV(k) = |Y - F W|^2 / (1 - df / n)^2,   df = 1 + tr(G (G + k I)^-1).

Leave-one-out needs the rows: the residual without row i is r_i / (1 - h_i), with h_i
the row's leverage. Everything here is float64 on the host.
"""

import dataclasses

import numpy as np
import scipy.linalg


_GRID = 10.0 ** np.arange(-10.0, 1.1, 0.5)
_EXACT, _PROBES = 256, 16
# Decades, relative to the mean eigenvalue.
_START, _LEAST, _MOST = -4.0, -10.0, 1.0


@dataclasses.dataclass(frozen=True)
class Ridge:
    """A solved ridge problem.

    Attributes:
        weights: of shape (features, outputs).
        strength: k.
        score: the GCV score, or the residual's if the strength was given.
    """

    weights: np.ndarray
    strength: float
    score: float


def solve_ridge(gram, cross, strength: float) -> np.ndarray:
    """(G + strength I)^-1 C by Cholesky, by eigenvalues where that breaks down."""
    return Factor(gram, strength).solve(cross)


def choose_ridge(
    gram,
    cross,
    total: float,
    count: float,
    near: float | None = None,
    steps: tuple[float, ...] = (2.0, 1.0, 0.5),
) -> Ridge:
    """The ridge of least GCV score, by steps downhill that become smaller.

    Args:
        gram: F'F of the centred rows.
        cross: F'Y.
        total: the squared norm of the centred Y.
        count: the number of rows, or the sum of their weights.
        near: a strength to start from, or None.
        steps: decades.
    """
    size = len(gram)
    if size == 0:
        return Ridge(cross, 0.0, total)
    scale = max(float(np.trace(gram)) / size, np.finfo(float).tiny)
    # The trace of the inverse is exact with unit vectors, and close with random signs.
    probes, share = np.eye(size), 1.0
    if size > _EXACT:
        probes = np.random.default_rng(0).choice([-1.0, 1.0], (size, _PROBES))
        share = 1 / _PROBES
    seen: dict[float, Ridge] = {}

    def score(exponent: float) -> float:
        if exponent not in seen:
            strength = scale * 10.0**exponent
            factor = Factor(gram, strength)
            weights = factor.solve(cross)
            inverse = share * float(np.sum(probes * factor.solve(probes)))
            freedom = 1 + size - strength * inverse
            left = max(1 - freedom / count, 1e-3)
            residual = total - np.sum(weights * (2 * cross - gram @ weights))
            residual = max(float(residual), 1e-12 * total)
            seen[exponent] = Ridge(weights, strength, residual / count / left**2)
        return seen[exponent].score

    best = _START if near is None else round(2 * np.log10(near / scale)) / 2
    for step in steps:
        before = np.nan
        while best != before and _LEAST <= best <= _MOST:
            before, best = best, min((best, best - step, best + step), key=score)
    score(best)
    return seen[best]


def gcv(values, cross, total: float, count: float, strength: float) -> float:
    """The score from the eigenvalues of F'F, and F'Y in the basis of its vectors."""
    kept = values + strength
    residual = total - np.sum(cross**2 * ((kept + strength) / kept**2)[:, None])
    left = max(1 - (1 + np.sum(values / kept)) / count, 1e-3)
    return max(float(residual), 1e-12 * total) / count / left**2


class LeaveOneOut:
    """All ridge solutions of a small problem, with their leave-one-out residuals.

    Args:
        features: rows F, not centred.
        targets: Y.
        weights: of the rows.
    """

    def __init__(self, features, targets, weights):
        self.total = float(weights.sum())
        self.mean = weights @ features / self.total
        self.offset = weights @ targets / self.total
        self._root = np.sqrt(weights)[:, None]
        self._rows = self._root * (features - self.mean)
        self._targets = self._root * (targets - self.offset)
        # The smaller of F'F and FF' has all that is needed.
        self._dual = self._rows.shape[0] < self._rows.shape[1]
        gram = self._rows @ self._rows.T if self._dual else self._rows.T @ self._rows
        values, self._vectors = np.linalg.eigh(gram)
        self._values = np.maximum(values, 0.0)
        self._scores = self._vectors if self._dual else self._rows @ self._vectors
        self._cross = self._scores.T @ self._targets

    def strengths(self) -> np.ndarray:
        """The grid of strengths, relative to the mean squared feature row."""
        return _GRID * max(float(self._values.sum()), np.finfo(float).tiny)

    def freedom(self, strength: float) -> float:
        """Effective degrees of freedom."""
        return float(np.sum(self._values / (self._values + strength)))

    def residuals(self, strength: float) -> np.ndarray | None:
        """Y minus what a fit without the row says; None if a row fits itself only."""
        filtered = 1 / (self._values + strength)
        if self._dual:
            filtered = filtered * self._values
        leverage = (self._scores**2) @ filtered + self._root[:, 0] ** 2 / self.total
        if leverage.max() > 1 - 1e-6:
            return None
        fitted = self._scores @ (filtered[:, None] * self._cross)
        return (self._targets - fitted) / (self._root * (1 - leverage[:, None]))

    def solve(self, strength: float) -> np.ndarray:
        """The weights for features minus their mean."""
        inner = self._cross / (self._values + strength)[:, None]
        if self._dual:
            return self._rows.T @ (self._vectors @ inner)
        return self._vectors @ inner


class Factor:
    """G + k I, factored by Cholesky, or by eigenvalues where that breaks down.

    Args:
        gram: G.
        strength: k.
    """

    def __init__(self, gram, strength: float):
        shifted = gram + strength * np.eye(len(gram))
        try:
            self._cholesky = scipy.linalg.cho_factor(shifted, check_finite=False)
        except scipy.linalg.LinAlgError:
            self._cholesky = None
            values, self._vectors = np.linalg.eigh(gram)
            self._values = np.maximum(values, 0.0) + strength

    def solve(self, right) -> np.ndarray:
        """(G + k I)^-1 times a matrix."""
        if self._cholesky is not None:
            return scipy.linalg.cho_solve(self._cholesky, right, check_finite=False)
        return self._vectors @ ((self._vectors.T @ right) / self._values[:, None])
