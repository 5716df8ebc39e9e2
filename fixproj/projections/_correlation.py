r"""Correlation matrices: {X : X = X' positive semidefinite, X_ii = 1}.

The dual of the nearest-point problem has one multiplier per diagonal entry,

    X = P(A + Diag(y)),   f(y) = diag P(A + Diag(y)) - 1 = 0,

with P the projection onto the positive semidefinite cone. Newton's method with the
generalised Jacobian V h = diag DP[Diag(h)], by conjugate gradients, and a line search
on the dual function |P(A + Diag(y))|^2 / 2 - sum y: H. Qi and D. Sun, "A quadratically
convergent Newton method for computing the nearest correlation matrix" (2006), algorithm
5.1. V is positive definite at the solution, so the same equation gives the derivative
of the multipliers, V dy = -diag DP[dA], and X has that of P at A + Diag(y).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating
from fixproj.projections._psd_cone import PSDCone
from fixproj.projections._set import AbstractSet
from fixproj.projections._spectral import (
    as_matrices,
    eigenvalue_derivative,
    hermitian,
    widened,
)


_MAX_STEPS = 50
_HALVINGS = 20


class CorrelationMatrices(AbstractSet):
    """The positive semidefinite matrices with ones on the diagonal.

    A point is a real matrix in the last two axes; one that is not symmetric is taken
    for its symmetric part. The Newton iteration costs one eigendecomposition per step,
    about 5 to 10 of them, and ends where rounding does. The diagonal of the result is
    exactly 1. Derivatives are exact; second ones need distinct eigenvalues of
    A + Diag(y), and are NaN where they repeat.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import CorrelationMatrices
        >>> a = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
        >>> x = CorrelationMatrices().project(a)
        >>> print(f"{x[0, 0]:.3f} {x[0, 1]:.3f} {x[0, 2]:.3f}")
        1.000 0.761 0.157
    """

    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Float[ArrayLike, "... n n"]) -> Float[Array, "... n n"]:
        """Returns the nearest correlation matrix.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if the matrices are not square.
        """
        x = as_matrices(as_floating(x, "x"), square=True)
        if x.size == 0:
            return x
        wide = hermitian(widened(x))
        function = _nearest
        for _ in range(x.ndim - 2):
            function = jax.vmap(function)
        return function(wide).astype(x.dtype)


def _spectrum(a, y):
    values, u = jnp.linalg.eigh(a + jnp.diag(y), symmetrize_input=False)
    return values, u, jnp.maximum(values, 0)


def _derivative(values, u, mapped, h):
    active = values > 0
    return eigenvalue_derivative(
        u, values, mapped, active, h, lambda d: jnp.where(active, d, 0)
    )


def _diagonal_of(u, mapped):
    return jnp.sum(u * u * mapped[None, :], -1)


def _newton_system(values, u, mapped, right, steps, tolerance):
    """Solves V h = right, with the diagonal of V as preconditioner."""

    def product(h):
        return jnp.diagonal(_derivative(values, u, mapped, jnp.diag(h)))

    active = values > 0
    gap = values[:, None] - values[None, :]
    rise = mapped[:, None] - mapped[None, :]
    both = active[:, None] & active[None, :]
    weights = jnp.where(gap == 0, 0, rise / jnp.where(gap == 0, 1, gap))
    weights = jnp.where(both, 1, weights)
    square = u * u
    scale = jnp.maximum(jnp.sum((square @ weights) * square, -1), 1e-3)
    solution, _ = cg(
        product, right, tol=tolerance, maxiter=steps, M=lambda h: h / scale
    )
    return solution


def _solve(a):
    n = a.shape[0]
    epsilon = float(jnp.finfo(a.dtype).eps)
    size = 1 + jnp.max(jnp.abs(a))
    tolerance = 4 * epsilon * n**0.5 * size

    def evaluate(y):
        values, u, mapped = _spectrum(a, y)
        gradient = _diagonal_of(u, mapped) - 1
        # The dual function, less a constant: near the minimum it is all rounding.
        dual = 0.5 * jnp.sum(mapped**2) - jnp.sum(y)
        return values, u, mapped, gradient, dual

    def unfinished(state):
        _, parts, count, stuck = state
        error = jnp.linalg.norm(parts[3])
        return (error > tolerance) & (count < _MAX_STEPS) & ~stuck

    def step(state):
        y, parts, count, _ = state
        values, u, mapped, gradient, dual = parts
        error = jnp.linalg.norm(gradient)
        h = _newton_system(
            values, u, mapped, -gradient, n + 5, jnp.minimum(1e-2, 0.1 * error)
        )
        descent = jnp.sum(h * gradient)
        bad = ~(descent < 0)
        h = jnp.where(bad, -gradient, h)
        descent = jnp.where(bad, -(error**2), descent)

        def accepted(length, new):
            rounding = 8 * epsilon * (jnp.abs(dual) + 0.5 * jnp.sum(mapped**2))
            lower = new[4] <= dual + 1e-4 * length * descent
            # Where the function is rounding its gradient still tells.
            settled = jnp.abs(new[4] - dual) <= rounding
            return lower | (settled & (jnp.linalg.norm(new[3]) < error))

        def again(search):
            length, new, tries = search
            return ~accepted(length, new) & (tries < _HALVINGS)

        def halve(search):
            length, _, tries = search
            return 0.5 * length, evaluate(y + 0.5 * length * h), tries + 1

        one = jnp.ones((), a.dtype)
        length, new, tries = lax.while_loop(
            again, halve, (one, evaluate(y + h), jnp.zeros((), jnp.int32))
        )
        failed = tries >= _HALVINGS
        keep = lambda old, new: jnp.where(failed, old, new)
        parts = jax.tree.map(keep, parts, new)
        return keep(y, y + length * h), parts, count + 1, failed

    start = 1 - jnp.diagonal(a)
    state = (start, evaluate(start), jnp.zeros((), jnp.int32), jnp.array(False))
    return lax.while_loop(unfinished, step, state)[0]


@jax.custom_jvp
def _multipliers(a):
    return _solve(a)


@_multipliers.defjvp
def _multipliers_jvp(primals, tangents):
    (a,), (da,) = primals, tangents
    # By the same rule, so that derivatives of this one see y move.
    y = _multipliers(a)
    values, u, mapped = _spectrum(a, y)

    def diagonal(h):
        return jnp.diagonal(_derivative(values, u, mapped, h))

    # Dense: a solve that JAX can transpose.
    eye = jnp.eye(*a.shape, dtype=a.dtype)
    system = jax.vmap(lambda h: diagonal(jnp.diag(h)))(eye)
    # Far from the set V is singular to rounding, in directions that leave X as it is
    # (h' V h = 0 only where DP[Diag(h)] = 0): any finite multiplier will do there.
    rounding = 4 * a.shape[0] * jnp.finfo(a.dtype).eps
    shift = rounding * jnp.maximum(jnp.max(jnp.diagonal(system)), 1e-3)
    return y, -jnp.linalg.solve(system + shift * eye, diagonal(da))


def _nearest(a):
    x = PSDCone().project(a + jnp.diag(_multipliers(a)))
    # To the last digit: the congruence keeps the matrix semidefinite.
    root = jnp.sqrt(jnp.diagonal(x))
    x = x / (root[:, None] * root[None, :])
    eye = jnp.eye(a.shape[0], dtype=bool)
    return jnp.where(eye & ~jnp.isnan(x), 1, x)
