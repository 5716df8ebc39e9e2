"""Projections onto couplings: X >= 0 with given row and column sums.

Two distances share one method. With column potentials g, the matrix nearest to C with
the right row sums, C replaced by C + 1 g', is found row by row in closed form:

- Euclidean: X(g)_i = projection of C_i + g onto the simplex of radius row_i;
- Kullback-Leibler to exp(C): X(g)_i = row_i softmax(C_i + g).

The second kind is first tried by R. Sinkhorn's iteration (1967), which takes products
with one matrix only. What remains is to minimise a convex function of g with gradient
X(g)'1 - col and (generalised) Hessian diag(W'1) - W' diag(1 / W 1) W, where W is the
mask X > 0, or X itself. Newton's method with conjugate gradients does it: X. Li, D.
Sun, K.-C. Toh, "On the efficient computation of a generalized Jacobian of the projector
over the Birkhoff polytope" (2020); for the entropy, C. Brauer, C. Clason, D. Lorenz, B.
Wirth, "A Sinkhorn-Newton method for entropic optimal transport" (2017). Rows are exact
to rounding at every step.

The derivative solves the same linear system at the solution.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fixproj.projections._simplex import project_to_simplex


# Evaluations of the gradient; a few dozen are usual.
_MOST_TRIALS = 5000
# The largest error need not fall at every step.
_MOST_STALLED = 100
_MOST_SCALINGS = 100
_FIRST_SIZE, _GROWTH = 4.0, 10.0
# A stage of the continuation ends where the next can start from its solution.
_STAGE_ERROR = 0.01
# Relative to the largest sum, what is lacking may be filled in.
_MOST_FILLED = 0.1


class _State(NamedTuple):
    """What the search carries along; `base + g` is the target at the present size."""

    base: Array
    size: Array
    is_last: Array
    g: Array
    direction: Array
    length: Array
    descent: Array
    tries: Array
    recentred: Array
    best: Array
    best_x: Array
    stalled: Array
    trials: Array


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)
def couple(
    entropic: bool,
    targets: Float[Array, "batch m n"],
    row: Float[Array, " m"],
    column: Float[Array, " n"],
) -> Float[Array, "batch m n"]:
    """The nearest matrices with the given marginals, which must have equal sums.

    Args:
        entropic: whether near means a small Kullback-Leibler divergence from
            `exp(target)`, or else a small Euclidean distance from the target.
        targets: the matrices.
        row: row sums.
        column: column sums.

    Returns:
        The matrices, with the right sums to rounding; NaN if the search failed. Where
        it ended early, at an error of the sums below a tenth of the largest, the rest
        is filled in, and the matrix is near the nearest only as far as this error goes.
    """

    def search():
        return jax.vmap(lambda target: _couple(entropic, target, row, column))(targets)

    if not entropic:
        return search()
    x, done = jax.vmap(lambda target: _scaled(target, row, column))(targets)
    return lax.cond(
        jnp.all(done), lambda: x, lambda: jnp.where(done[:, None, None], x, search())
    )


def _scaled(target, row, column):
    """Sinkhorn's iteration, which settles what is not too hard, and whether it did."""
    eps = float(jnp.finfo(target.dtype).eps)
    unit = jnp.maximum(jnp.max(row), jnp.max(column))
    unit = jnp.where(unit == 0, 1, unit)
    rows, columns = row / unit, column / unit
    # Every row and column keeps an entry of size one.
    shifted = target - jnp.max(target, 1, keepdims=True)
    shifted = shifted - jnp.max(shifted, 0, keepdims=True)
    kernel = jnp.exp(shifted)

    def step(state):
        v, _, error, count = state
        u = rows / _dot(kernel, v)
        sums = _dot(u, kernel)
        new = jnp.max(jnp.abs(v * sums - columns))
        # The last step only measures.
        v = jnp.where(new > 4 * eps, columns / sums, v)
        return v, error, new, count + 1

    def unfinished(state):
        _, before, error, count = state
        # Slow cases are for Newton's method. A NaN ends it, too.
        return (error > 4 * eps) & (error < 0.9 * before) & (count < _MOST_SCALINGS)

    large = jnp.asarray(jnp.finfo(target.dtype).max, target.dtype)
    start = jnp.ones_like(columns), large, 0.5 * large, jnp.zeros((), jnp.int32)
    v, _, error, _ = lax.while_loop(unfinished, step, start)
    u = rows / _dot(kernel, v)
    x = unit * (u[:, None] * kernel * v[None, :])
    # What is below the smallest number in the kernel must not matter in the result.
    lost = float(jnp.finfo(target.dtype).tiny) * jnp.max(u) * jnp.max(v)
    return x, (error <= 4 * eps) & jnp.all(jnp.isfinite(x)) & (lost < eps**2)


def _couple(entropic, target, row, column):
    """Newton's method for one matrix.

    A target that is large against the marginals makes the problem nearly a linear
    program, where Newton's method gets lost. So the size of the target grows from a
    harmless one to its own, and each solution is the start of the next.
    """
    dtype = target.dtype
    eps = float(jnp.finfo(dtype).eps)
    # In units in which the largest sum is one.
    scale = jnp.maximum(jnp.max(row), jnp.max(column))
    unit = jnp.where(scale == 0, 1, scale)
    rows, columns = (row / unit)[:, None], column / unit
    base, spread = _centred(entropic, target)
    # Beyond the upper bound it is a linear program to rounding, and might overflow.
    final = spread if entropic else spread / unit
    final = jnp.clip(final, eps**2, eps**-2)
    tolerance = 4 * eps

    def primal(shifted):
        if not entropic:
            return project_to_simplex(1, shifted, rows)
        return rows * jax.nn.softmax(shifted, 1)

    def unfinished(state):
        ends = (state.best <= tolerance) | (state.stalled >= _MOST_STALLED)
        return ~(state.is_last & ends) & (state.trials < _MOST_TRIALS)

    def trial(state):
        g = state.g + state.length * state.direction
        x = primal(state.base + g[None, :])
        slope = jnp.sum(x, 0) - columns
        error = jnp.max(jnp.abs(slope))
        along = jnp.sum(slope * state.direction)
        along = jnp.where(jnp.isnan(along), jnp.inf, along)
        # The objective is convex: as long as it does not rise much at the end of the
        # step it has fallen along it. No values are compared, whose differences would
        # be lost to rounding.
        accepted = (along <= -0.1 * state.descent) | (state.tries >= 30)
        shorter = jnp.clip(-state.descent / (along - state.descent), 0.1, 0.7)

        ends = (error <= _STAGE_ERROR) | (state.stalled >= _MOST_STALLED)
        grows = accepted & ends & ~state.is_last
        size = jnp.where(grows, jnp.minimum(_GROWTH * state.size, final), state.size)
        g = jnp.where(accepted, g, state.g)
        # Potentials as large as the target cannot hold entries as small as those of
        # the result, so the matrix takes them up, and what is left of them is small.
        takes_up = grows | (accepted & (error < 0.1 * state.recentred))
        moved = state.base + g[None, :]
        moved = (size / state.size) * (moved - jnp.max(moved, 1, keepdims=True))

        # After a change of size comes an evaluation, then a step.
        slope = jnp.where(accepted & ~grows, slope, 0)
        direction = _newton_direction(_weights(entropic, x), slope)

        better = accepted & (error < state.best)
        stalled = jnp.where(error < 0.9 * state.best, 0, state.stalled + 1)
        stalled = jnp.where(accepted, stalled, state.stalled)
        return _State(
            base=jnp.where(takes_up, moved, state.base),
            size=size,
            is_last=size >= final,
            g=jnp.where(takes_up, 0, g),
            direction=jnp.where(accepted, direction, state.direction),
            length=jnp.where(accepted, 1, state.length * shorter),
            descent=jnp.where(accepted, jnp.sum(slope * direction), state.descent),
            tries=jnp.where(accepted, 0, state.tries + 1),
            recentred=jnp.where(
                grows, jnp.inf, jnp.where(takes_up, error, state.recentred)
            ),
            best=jnp.where(grows, jnp.inf, jnp.where(better, error, state.best)),
            best_x=jnp.where(better | grows, x, state.best_x),
            stalled=jnp.where(grows, 0, stalled),
            trials=state.trials + 1,
        )

    size = jnp.minimum(_FIRST_SIZE, final)
    base = size * base
    g = _first_potential(entropic, base, rows[:, 0], columns)
    is_broken = jnp.any(jnp.isnan(base + g[None, :]))
    zero, count = jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
    start = _State(
        base=base,
        size=size,
        is_last=size >= final,
        g=g,
        direction=jnp.zeros_like(g),
        length=zero + 1,
        descent=zero,
        tries=count,
        recentred=zero + jnp.inf,
        best=zero + jnp.inf,
        best_x=jnp.full_like(base, jnp.nan),
        stalled=count,
        trials=jnp.where(is_broken, _MOST_TRIALS, count),
    )
    end = lax.while_loop(unfinished, trial, start)
    x, error = end.best_x, end.best
    # Zeros of `exp(target)` must stay.
    may_fill = jnp.all(jnp.isfinite(target)) if entropic else True
    x = jnp.where(may_fill & (error > 64 * eps), _filled(x, rows, columns), x)
    failed = error > jnp.where(may_fill, _MOST_FILLED, eps**0.5)
    return jnp.where(failed, jnp.nan, unit * x)


def _filled(x, rows, columns):
    """The right sums by adding a matrix of rank one.

    J. Altschuler, J. Weed, P. Rigollet, "Near-linear time approximation algorithms for
    optimal transport via Sinkhorn iteration" (2017), algorithm 2.
    """
    for axis, goal in ((1, rows), (0, columns[None, :])):
        sums = jnp.sum(x, axis, keepdims=True)
        x = x * jnp.where(sums > goal, goal / jnp.where(sums > 0, sums, 1), 1)
    row_lack = jnp.maximum(rows - jnp.sum(x, 1, keepdims=True), 0)
    column_lack = jnp.maximum(columns[None, :] - jnp.sum(x, 0, keepdims=True), 0)
    lack = jnp.sum(column_lack)
    return x + row_lack * (column_lack / jnp.where(lack == 0, 1, lack))


def _centred(entropic, target):
    """The matrix without what whole rows and columns share; its size apart."""
    is_finite = jnp.isfinite(target)
    size = jnp.max(jnp.where(is_finite, jnp.abs(target), 0))
    # Twice, as the reciprocal that XLA may multiply with can be subnormal.
    shrink = jnp.where(size > 1, 0.25, 1).astype(target.dtype)
    base = (target * shrink) / jnp.where(size == 0, 1, size * shrink)
    center = jnp.max if entropic else jnp.mean
    for axis in (1, 0):
        base = base - center(base, axis, keepdims=True)
    return base, size


def _first_potential(entropic, target, row, column):
    if not entropic:
        # Exact if no entry of the result is zero.
        return (column - jnp.sum(target, 0)) / target.shape[0]
    # One step of Sinkhorn's iteration.
    share = jnp.log(row) - jax.nn.logsumexp(target, 1)
    needed = jnp.log(jnp.where(column > 0, column, 1))
    potential = needed - jax.nn.logsumexp(target + share[:, None], 0)
    return jnp.where(column > 0, potential, -jnp.inf)


def _newton_direction(weights, slope):
    eps = float(jnp.finfo(slope.dtype).eps)
    schur, diagonal = _system(weights)[0], jnp.sum(weights, 0)
    error = jnp.minimum(1, jnp.max(jnp.abs(slope)))
    # The Hessian is singular where the mask falls apart into several components.
    damping = 0.01 * error + eps * jnp.max(diagonal)
    # Only as accurate as Newton's method can make use of.
    accuracy = jnp.clip(jnp.sqrt(error), 1e-3, 0.1)
    return -_conjugate_gradient(
        lambda v: schur(v) + damping * v,
        slope,
        diagonal + damping,
        accuracy,
        slope.shape[0],
    )


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


def _consistent(weights, v):
    """The part of `v` that sums to zero over each connected component of columns."""
    mask = (weights > 0).astype(v.dtype)
    n = mask.shape[1]

    def spread(state):
        label, _ = state
        # The largest label of the columns that share a row.
        seen = jnp.max(mask * label[None, :], 1, keepdims=True)
        new = jnp.maximum(label, jnp.max(mask * seen, 0))
        return new, jnp.any(new != label)

    label = jnp.arange(1, n + 1).astype(v.dtype)
    label, _ = lax.while_loop(lambda state: state[1], spread, (label, jnp.array(True)))
    # A component is named by one of its columns.
    same = (label[:, None] == jnp.arange(1, n + 1)[None, :].astype(v.dtype)).astype(
        v.dtype
    )
    size = jnp.sum(same, 0)
    mean = _dot(v, same) / jnp.where(size == 0, 1, size)
    return v - _dot(same, mean)


def _conjugate_gradient(apply, b, diagonal, accuracy, most_steps, least=0.0):
    """Solves a positive semidefinite, consistent system; scaled by its diagonal.

    Curvature below `least`, relative to the diagonal, is the rounding of none: a step
    along the null space that rounding leads into has no right length.
    """
    scaling = 1 / jnp.where(diagonal > 0, diagonal, 1)

    def unfinished(state):
        _, _, _, size, count = state
        return (size > goal) & (count < most_steps)

    def step(state):
        x, r, p, size, count = state
        image = apply(p)
        curvature = jnp.sum(p * image)
        curvature = jnp.where(
            curvature > least * jnp.sum(diagonal * p**2), curvature, 0
        )
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
    dtargets, drow, dcolumn = tangents
    x = couple(entropic, *primals)
    tangent = partial(_tangent, entropic)
    return x, jax.vmap(tangent, (0, 0, None, None))(x, dtargets, drow, dcolumn)


def _tangent(entropic, x, dtarget, drow, dcolumn):
    weights = _weights(entropic, x)
    schur, inverse = _system(weights)
    # dX = W (dC + df 1' + 1 dg'), with the row sums drow and the column sums dcolumn.
    change = jnp.where(weights > 0, weights * dtarget, 0)
    known = inverse * (drow - jnp.sum(change, 1))
    right = dcolumn - jnp.sum(change, 0) - _dot(known, weights)
    right = _consistent(lax.stop_gradient(weights), right)
    diagonal = lax.stop_gradient(jnp.sum(weights, 0))
    accuracy = float(jnp.finfo(x.dtype).eps)

    def solve(apply, b):
        n = b.shape[0]
        least = 4 * accuracy
        return _conjugate_gradient(apply, b, diagonal, accuracy, 4 * n + 20, least)

    dg = lax.custom_linear_solve(schur, right, solve, symmetric=True)
    df = known - inverse * _dot(weights, dg)
    # 0 x passes a NaN on.
    return change + weights * (df[:, None] + dg[None, :]) + 0 * x
