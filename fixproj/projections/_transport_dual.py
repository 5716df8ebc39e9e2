"""Projections onto couplings: X >= 0 with given row and column sums.

Two distances share one method. With column potentials g, the matrix nearest to C with
the right row sums, C replaced by C + 1 g', is found row by row in closed form:

- Euclidean: X(g)_i = projection of C_i + g onto the simplex of radius row_i;
- Kullback-Leibler to exp(C): X(g)_i = row_i softmax(C_i + g).

What remains is to minimise a convex function of g with gradient X(g)'1 - col and
(generalised) Hessian diag(W'1) - W' diag(1 / W 1) W, where W is the mask X > 0, or X
itself. Newton's method with conjugate gradients does it: X. Li, D. Sun, K.-C. Toh, "On
the efficient computation of a generalized Jacobian of the projector over the Birkhoff
polytope" (2020); for the entropy, C. Brauer, C. Clason, D. Lorenz, B. Wirth, "A
Sinkhorn-Newton method for entropic optimal transport" (2017). Rows are exact to
rounding at every step.

The derivative solves the same linear system at the solution.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fixproj.projections._simplex import project_to_simplex


_MOST_STEPS = 200
# The largest error need not fall at every step.
_MOST_STALLED = 20


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)
def couple(
    entropic: bool,
    target: Float[Array, "m n"],
    row: Float[Array, " m"],
    column: Float[Array, " n"],
) -> Float[Array, "m n"]:
    """The nearest matrix with the given marginals, which must have equal sums.

    Args:
        entropic: whether near means a small Kullback-Leibler divergence from
            `exp(target)`, or else a small Euclidean distance from `target`.
        target: the matrix.
        row: row sums.
        column: column sums.

    Returns:
        The matrix; NaN if the method did not converge.
    """
    # Adding numbers to rows and columns changes nothing but the rounding.
    finite = jnp.isfinite(target)
    if entropic:
        target = target - jnp.max(target, 1, keepdims=True)
        target = target - jnp.max(target, 0, keepdims=True)
    else:
        target = target - jnp.mean(target, 1, keepdims=True)
        target = target - jnp.mean(target, 0, keepdims=True)
    rows, scale = row[:, None], jnp.maximum(jnp.max(row), jnp.max(column))
    eps = float(jnp.finfo(target.dtype).eps)
    tolerance = 4 * eps * scale

    def primal(g):
        shifted = target + g[None, :]
        if not entropic:
            return project_to_simplex(1, shifted, rows)
        return rows * jax.nn.softmax(shifted, 1)

    def gradient(x):
        return jnp.sum(x, 0) - column

    def unfinished(state):
        *_, error, count, stalled = state
        return (error > tolerance) & (count < _MOST_STEPS) & (stalled < _MOST_STALLED)

    def step(state):
        g, x, best_g, best, count, stalled = state
        slope = gradient(x)
        schur, _ = _system(_weights(entropic, x))
        # Regularised, as the Hessian may be singular far from the solution.
        error = jnp.max(jnp.abs(slope))
        ridge = jnp.minimum(1e-3, error / jnp.where(scale == 0, 1, scale))
        weights = _weights(entropic, x)
        diagonal = jnp.sum(weights, 0)
        # A column without support has no curvature yet: take that of the others.
        damping = ridge * jnp.maximum(diagonal, jnp.mean(diagonal))
        damping = damping + eps * jnp.max(diagonal)

        def damped(v):
            return schur(v) + damping * v

        # Only as accurate as Newton's method can make use of.
        accuracy = jnp.minimum(0.1, jnp.sqrt(error / jnp.where(scale == 0, 1, scale)))
        direction = -_conjugate_gradient(
            damped, slope, diagonal + damping, jnp.maximum(accuracy, 1e-3), g.shape[0]
        )
        descent = jnp.sum(slope * direction)

        def too_far(trial):
            length, _, along, tries = trial
            # The objective is convex: as long as it does not rise much at the end of
            # the step it has fallen along it. No values are compared, whose
            # differences would be lost to rounding.
            return (along > -0.1 * descent) & (tries < 30)

        def shorten(trial):
            length, _, along, tries = trial
            length = length * jnp.clip(-descent / (along - descent), 0.1, 0.7)
            return evaluate(length, tries + 1)

        def evaluate(length, tries):
            x = primal(g + length * direction)
            along = jnp.sum(gradient(x) * direction)
            along = jnp.where(jnp.isnan(along), jnp.inf, along)
            return length, x, along, tries

        first = evaluate(jnp.ones((), g.dtype), jnp.zeros((), jnp.int32))
        length, x, *_ = lax.while_loop(too_far, shorten, first)
        g = g + length * direction
        error = jnp.max(jnp.abs(gradient(x)))
        better = error < best
        stalled = jnp.where(error < 0.9 * best, 0, stalled + 1)
        return (
            g,
            x,
            jnp.where(better, g, best_g),
            jnp.minimum(error, best),
            count + 1,
            stalled,
        )

    g = _first_potential(entropic, target, row, column)
    x = primal(g)
    error = jnp.max(jnp.abs(gradient(x)))
    zero = jnp.zeros((), jnp.int32)
    _, _, g, error, *_ = lax.while_loop(unfinished, step, (g, x, g, error, zero, zero))
    x = primal(g)
    size = jnp.max(jnp.abs(jnp.where(finite, target + g[None, :], 0)))
    noise = eps * (scale * target.shape[0] + size * target.shape[0] ** 0.5)
    return jnp.where(error <= 64 * noise, x, jnp.nan)


def _first_potential(entropic, target, row, column):
    if entropic:
        # One step of Sinkhorn's iteration.
        share = jnp.log(row) - jax.nn.logsumexp(target, 1)
        return jnp.where(
            column > 0,
            jnp.log(jnp.where(column > 0, column, 1))
            - jax.nn.logsumexp(target + share[:, None], 0),
            -jnp.inf,
        )
    # Exact if no entry of the result is zero.
    m = target.shape[0]
    return (column - jnp.sum(target, 0)) / m


def _weights(entropic, x):
    return x if entropic else (x > 0).astype(x.dtype)


def _system(weights):
    """The Hessian as a function, and the inverse row sums of the weights."""
    sums = jnp.sum(weights, 1)
    inverse = jnp.where(sums > 0, 1 / jnp.where(sums > 0, sums, 1), 0)
    diagonal = jnp.sum(weights, 0)

    def schur(v):
        return diagonal * v - _dot(inverse * _dot(weights, v), weights)

    return schur, inverse


def _conjugate_gradient(apply, b, diagonal, accuracy, most_steps):
    """Solves a positive semidefinite, consistent system; scaled by its diagonal."""
    scaling = 1 / jnp.where(diagonal > 0, diagonal, 1)

    def unfinished(state):
        _, _, _, size, count = state
        return (size > goal) & (count < most_steps)

    def step(state):
        x, r, p, size, count = state
        image = apply(p)
        curvature = jnp.sum(p * image)
        alpha = jnp.where(
            curvature > 0, size / jnp.where(curvature > 0, curvature, 1), 0
        )
        x, r = x + alpha * p, r - alpha * image
        z = scaling * r
        new = jnp.sum(r * z)
        p = z + new / jnp.where(size > 0, size, 1) * p
        # Without curvature there is nothing left to do.
        return x, r, p, jnp.where(curvature > 0, new, 0), count + 1

    z = scaling * b
    size = jnp.sum(b * z)
    goal = accuracy**2 * size
    state = (jnp.zeros_like(b), b, z, size, jnp.zeros((), jnp.int32))
    return lax.while_loop(unfinished, step, state)[0]


def _dot(x, y):
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


@couple.defjvp
def _couple_jvp(entropic, primals, tangents):
    target, row, column = primals
    dtarget, drow, dcolumn = tangents
    x = couple(entropic, target, row, column)
    weights = _weights(entropic, x)
    schur, inverse = _system(weights)
    # dX = W (dC + df 1' + 1 dg'), with the row sums drow and the column sums dcolumn.
    change = jnp.where(weights > 0, weights * dtarget, 0)
    known = inverse * (drow - jnp.sum(change, 1))
    right = dcolumn - jnp.sum(change, 0) - _dot(known, weights)
    right = right - jnp.mean(right)
    diagonal = lax.stop_gradient(jnp.sum(weights, 0))
    accuracy = float(jnp.finfo(x.dtype).eps)

    def solve(apply, b):
        n = b.shape[0]
        return _conjugate_gradient(apply, b, diagonal, accuracy, 4 * n + 20)

    dg = lax.custom_linear_solve(schur, right, solve, symmetric=True)
    df = known - inverse * _dot(weights, dg)
    # 0 x passes a NaN on.
    return x, change + weights * (df[:, None] + dg[None, :]) + 0 * x
