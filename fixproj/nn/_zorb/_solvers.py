"""Layers' linear systems: by Cholesky, eigenvalues, lineax, or a factor of the rows.

Two summaries of the last layer's rows give its ridge regression with an unpenalised
bias: `Sums`, G = X'X and C = X'T; and `Triangle`, the R of a QR factorisation of
[1 X T], which is updated block by block and has the condition number of X, not of X'X.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.experimental import multihost_utils

from fixproj.nn._zorb._ridge import choose_ridge, gcv, solve_ridge


SOLVERS = ("cholesky", "eigh", "qr")


def solve_gram(gram, cross, ridge, solver):
    """(G + ridge mean(G) I)^-1 C in the working precision, traceable."""
    size = gram.shape[0]
    least = jnp.asarray(jnp.finfo(gram.dtype).tiny, gram.dtype)
    shift = jnp.asarray(ridge, gram.dtype) * jnp.trace(gram) / size + least
    if solver == "eigh":
        values, vectors = jnp.linalg.eigh(gram)
        inverse = 1 / (jnp.maximum(values, 0) + shift)
        return vectors @ (inverse[:, None] * (vectors.T @ cross))
    shifted = gram + shift * jnp.eye(size, dtype=gram.dtype)
    if solver == "cholesky":
        factor = jax.scipy.linalg.cho_factor(shifted)
        return jax.scipy.linalg.cho_solve(factor, cross)
    if solver == "qr":
        solver = lx.QR()
    operator = lx.MatrixLinearOperator(shifted, lx.positive_semidefinite_tag)
    solve = lambda c: lx.linear_solve(operator, c, solver).value
    return jax.vmap(solve, in_axes=1, out_axes=1)(cross)


def solve_host(gram, cross, strength: float, solver) -> np.ndarray:
    """(G + strength I)^-1 C in float64 for "cholesky" and "eigh", else by lineax."""
    if solver == "cholesky":
        return solve_ridge(gram, cross, strength)
    if solver == "eigh":
        values, vectors = np.linalg.eigh(gram)
        inverse = 1 / (np.maximum(values, 0.0) + strength)
        return vectors @ (inverse[:, None] * (vectors.T @ cross))
    with jax.enable_x64(True):
        relative = strength / max(float(np.trace(gram)) / len(gram), 1e-300)
        return np.asarray(
            solve_gram(jnp.asarray(gram), jnp.asarray(cross), relative, solver)
        )


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over rows, the last column of ones if there is a bias.

    Attributes:
        gram: X'X.
        cross: X'T.
        squares: of T, by output.
        biased: whether there is a bias.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray
    biased: bool

    def solved(
        self, ridge: float | None, least: float, solver: Any
    ) -> tuple[np.ndarray, float]:
        """Weights, the bias as last row, and the relative ridge, at least `least`.

        Generalised cross-validation chooses it if it is None and there is a bias, which
        also counts the rows.
        """
        if not self.biased:
            scale = float(np.trace(self.gram)) / len(self.gram)
            ridge = max(_WITHOUT_BIAS if ridge is None else ridge, least)
            return solve_host(self.gram, self.cross, ridge * scale, solver), ridge
        count = self.gram[-1, -1]
        mean, offset = self.gram[-1, :-1] / count, self.cross[-1] / count
        gram = self.gram[:-1, :-1] - count * np.outer(mean, mean)
        cross = self.cross[:-1] - count * np.outer(mean, offset)
        total = max(float(np.sum(self.squares - count * offset**2)), 0.0)
        scale = max(float(np.trace(gram)) / len(gram), np.finfo(float).tiny)
        if ridge is None:
            strength = choose_ridge(gram, cross, total, count).strength
        else:
            strength = ridge * scale
        strength = max(strength, least * scale)
        weights = solve_host(gram, cross, strength, solver)
        both = np.concatenate([weights, (offset - mean @ weights)[None]])
        return both, strength / scale


@dataclasses.dataclass(frozen=True)
class Triangle:
    """The triangular factor of rows [1 X T]; without the ones if there is no bias.

    Attributes:
        factor: R.
        outputs: columns of T.
        biased: whether there is a bias.
        count: of the rows.
    """

    factor: np.ndarray
    outputs: int
    biased: bool
    count: int

    def solved(
        self, ridge: float | None, least: float, solver: Any
    ) -> tuple[np.ndarray, float]:
        """As `Sums.solved`; by the singular values of the factor."""
        del solver
        skip, split = int(self.biased), self.factor.shape[1] - self.outputs
        u, s, vt = np.linalg.svd(self.factor[skip:, skip:split], full_matrices=False)
        right = self.factor[skip:, split:]
        cross = s[:, None] * (u.T @ right)
        scale = max(float(np.sum(s**2)) / (split - skip), np.finfo(float).tiny)
        if ridge is None and self.biased:
            total = float(np.sum(right**2))
            grid = scale * 10.0 ** np.arange(-14.0, 1.1, 0.5)
            strength = min(grid, key=lambda k: gcv(s**2, cross, total, self.count, k))
        else:
            strength = (_WITHOUT_BIAS if ridge is None else ridge) * scale
        # The factor is exact to eps, so the least ridge is that of its square.
        strength = max(strength, least**2 * scale)
        weights = vt.T @ (cross / (s**2 + strength)[:, None])
        if not self.biased:
            return weights, strength / scale
        mean, offset = self.factor[0, 1:split], self.factor[0, split:]
        bias = (offset - mean @ weights) / self.factor[0, 0]
        return np.concatenate([weights, bias[None]]), strength / scale


_WITHOUT_BIAS = 1e-4


def gathered(array) -> np.ndarray:
    """An array on the host, whichever devices and processes hold it."""
    array = jnp.asarray(array)
    if not (array.is_fully_addressable or array.is_fully_replicated):
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def on_host(array) -> np.ndarray:
    """The same, in float64."""
    return gathered(array).astype(np.float64)
