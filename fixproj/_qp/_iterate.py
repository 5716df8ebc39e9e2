r"""A primal-dual interior-point method with proximal regularisation.

With slacks s and multipliers z of the finite bounds, and y of the equations,

    Px + q + A'y + rho (x - x_k) = 0                            (y = z_u - z_l)
    Ax - l = s_l - delta (z_l - z_l,k),    u - Ax = s_u - delta (z_u - z_u,k)
    Ax - b = delta (y - y_k)               where l = u = b
    s z = sigma mu,   s, z >= 0

is linearised and solved by one Cholesky factorisation of

    P + rho I + A' W A,    W = z / (s + delta z),  or 1 / delta for an equation

for Mehrotra's predictor and corrector. rho = shift / k and delta = shift k, with k the
size of x over that of y, so that both terms are as small beside what they are added to.
The shift shrinks to nearly the square root of what the dtype resolves, less far where a
factorisation has failed, so that one exists for every convex program, with linearly
dependent rows and free variables.

Where the multipliers are much larger than at the start, steps are short: the point is
too close to the bounds for the way it has to go. After some short steps it is moved
away from them. Mehrotra (1992), On the implementation of a primal-dual interior point
method; Friedlander & Orban (2012), A primal-dual regularized interior-point method for
convex quadratic programs; Schwan, Jiang, Kuhn & Jones (2023), PIQP: a proximal
interior-point quadratic programming solver.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._progress import report
from .._solution import RESULTS
from . import _factor, _optimality
from ._canonical import Program
from ._equilibrate import Scaling


_PATIENCE = 30
# Three steps in a row that are shorter than 0.3 move the point away from the bounds.
_SHORT, _SHORT_STEPS, _MOST_RETREATS = 0.3, 3, 2
_RETREAT = 10.0


class Point(eqx.Module):
    """The iterate: `y` holds the multipliers of equations, `z` those of bounds."""

    x: Float[Array, " n"]
    y: Float[Array, " m"]
    s_lower: Float[Array, " m"]
    s_upper: Float[Array, " m"]
    z_lower: Float[Array, " m"]
    z_upper: Float[Array, " m"]


class Course(eqx.Module):
    """What steps learn from those before.

    The regularisation and the least one, how many short steps there were in a row, and
    how often the point was moved away from the bounds.
    """

    shift: Float[Array, ""]
    least: Float[Array, ""]
    short: Int[Array, ""]
    retreats: Int[Array, ""]


class Kinds(eqx.Module):
    """Which rows are equations, and which have a finite bound on a side."""

    equal: Bool[Array, " m"]
    lower: Bool[Array, " m"]
    upper: Bool[Array, " m"]


class _Carry(eqx.Module):
    point: Point
    best: Point
    best_merit: Float[Array, ""]
    since_best: Int[Array, ""]
    course: Course
    num_steps: Int[Array, ""]
    result: RESULTS


def kinds(program: Program) -> Kinds:
    """The kinds of the rows."""
    equal = program.domain.lower >= program.domain.upper
    return Kinds(
        equal,
        jnp.isfinite(program.domain.lower) & ~equal,
        jnp.isfinite(program.domain.upper) & ~equal,
    )


def multipliers(point: Point, kind: Kinds) -> Float[Array, " m"]:
    """The multipliers of all rows."""
    return jnp.where(kind.equal, point.y, point.z_upper - point.z_lower)


def run(
    program: Program,
    scaling: Scaling,
    start: tuple[Float[Array, " n"], Float[Array, " m"]] | None,
    rtol: Any,
    atol: Any,
    max_steps: Any,
    done: Bool[Array, ""],
    progress: Int[Array, ""] | None,
) -> tuple[Point, RESULTS, Int[Array, ""]]:
    """The best iterate, how the iteration ended, and its steps; none if `done`."""
    kind = kinds(program)
    epsilon = float(jnp.finfo(program.q.dtype).eps)
    running = RESULTS.max_steps_reached

    def keep_on(carry):
        return (carry.result == running) & (carry.num_steps < max_steps)

    def body(carry):
        point = carry.point
        y = multipliers(point, kind)
        merit = _optimality.measure(program, scaling, point.x, y, rtol, atol).merit
        better = merit < carry.best_merit
        best = _where(better, point, carry.best)
        clearly = merit < 0.9 * carry.best_merit
        since_best = jnp.where(clearly, 0, carry.since_best + 1)
        best_merit = jnp.minimum(merit, carry.best_merit)
        moved, course, failed = step(program, point, carry.course)
        tol = epsilon**0.5
        infeasible = _optimality.is_infeasible(program, y, tol)
        unbounded = _optimality.is_unbounded(program, point.x, tol)
        result = RESULTS.where(since_best > _PATIENCE, RESULTS.stagnated, running)
        result = RESULTS.where(unbounded, RESULTS.unbounded, result)
        result = RESULTS.where(infeasible, RESULTS.infeasible, result)
        result = RESULTS.where(merit <= 1, RESULTS.successful, result)
        # A certificate is a direction, which is the current iterate.
        best = _where(infeasible | unbounded, point, best)
        stay = failed | (result != running)
        if progress is not None:
            report(progress, carry.num_steps + 1, merit)
        return _Carry(
            _where(stay, point, moved),
            best,
            best_merit,
            since_best,
            course,
            carry.num_steps + 1,
            result,
        )

    point, course = begin(program, start)
    inf = jnp.full((), jnp.inf, program.q.dtype)
    none = jnp.zeros((), jnp.int32)
    result = RESULTS.where(done, RESULTS.successful, running)
    carry = _Carry(point, point, inf, none, course, none, result)
    carry = jax.lax.while_loop(keep_on, body, carry)
    return carry.best, carry.result, carry.num_steps


def _where(pred, true, false):
    return jax.tree.map(lambda t, f: jnp.where(pred, t, f), true, false)


def begin(program: Program, start: Any) -> tuple[Point, Course]:
    """Mehrotra's start: the least-squares point, moved inside the bounds."""
    kind = kinds(program)
    epsilon = float(jnp.finfo(program.q.dtype).eps)
    lower = jnp.where(kind.lower | kind.equal, program.domain.lower, 0)
    upper = jnp.where(kind.upper, program.domain.upper, 0)
    any_bound = kind.lower | kind.upper
    one = jnp.ones_like(lower)
    if start is None:
        # x minimises the cost plus the squared distance to the middle of the bounds.
        middle = jnp.where(kind.lower & kind.upper, (lower + upper) / 2, lower + upper)
        weights = jnp.where(any_bound | kind.equal, one, 0)
        shift = jnp.asarray(epsilon**0.5, lower.dtype)
        factor = _factor.factorise(program, weights, shift)
        x = factor.solve(program.transposed(weights * middle) - program.q)
        y = weights * (program.rows(x) - middle)
    else:
        x, y = start
    ax = program.rows(x)
    bounds = jnp.concatenate([kind.lower, kind.upper])
    s = jnp.concatenate([ax - lower, upper - ax])
    z = jnp.concatenate([jnp.maximum(-y, 0), jnp.maximum(y, 0)])
    s, z = jnp.where(bounds, s, 0), jnp.where(bounds, z, 0)
    count = jnp.maximum(jnp.sum(bounds), 1).astype(s.dtype)
    if start is None:
        s = s + jnp.maximum(-1.5 * jnp.min(s, initial=0), 0)
        product = jnp.sum(jnp.where(bounds, s * z, 0))
        s_more = product / jnp.maximum(jnp.sum(z), 1e-6) / 2
        z_more = product / jnp.maximum(jnp.sum(jnp.where(bounds, s, 0)), 1e-6) / 2
        s, z = s + jnp.maximum(s_more, 1e-1), z + jnp.maximum(z_more, 1e-1)
    else:
        # As central as the start is wrong.
        wrong = jnp.maximum(jnp.max(-s, initial=0), 1e-8)
        stationary = program.P @ x + program.q + program.transposed(y)
        wrong = jnp.maximum(wrong, jnp.max(jnp.abs(stationary), initial=0))
        gap = jnp.sum(jnp.where(bounds, jnp.maximum(s, 0) * z, 0)) / count
        floor = jnp.minimum(jnp.maximum(wrong, jnp.sqrt(gap)), 1)
        s, z = jnp.maximum(s, floor), jnp.maximum(z, floor)
    s, z = jnp.where(bounds, s, 1), jnp.where(bounds, z, 0)
    m = lower.size
    y = jnp.where(kind.equal, y, 0)
    none = jnp.zeros((), jnp.int32)
    first, least = (jnp.asarray(epsilon**power, s.dtype) for power in (0.375, 0.45))
    course = Course(first, least, short=none, retreats=none)
    return Point(x, y, s[:m], s[m:], z[:m], z[m:]), course


def step(
    program: Program, point: Point, course: Course
) -> tuple[Point, Course, Bool[Array, ""]]:
    """One predictor-corrector step; the point stays if the factorisation failed."""
    kind = kinds(program)
    x, zero = point.x, jnp.zeros_like(point.y)
    y = multipliers(point, kind)
    ax = program.rows(x)
    r_dual = program.P @ x + program.q + program.transposed(y)
    r_equal = jnp.where(kind.equal, ax - program.domain.lower, zero)
    r_lower = jnp.where(kind.lower, ax - program.domain.lower - point.s_lower, zero)
    r_upper = jnp.where(kind.upper, program.domain.upper - ax - point.s_upper, zero)
    count = jnp.sum(kind.lower) + jnp.sum(kind.upper)
    count = jnp.maximum(count, 1).astype(x.dtype)
    products = point.s_lower * point.z_lower, point.s_upper * point.z_upper
    mu = (jnp.sum(products[0]) + jnp.sum(products[1])) / count
    size = lambda v: jnp.maximum(jnp.max(jnp.abs(v), initial=0), 1e-3)
    ratio = jnp.clip(size(x) / size(y), 1e-4, 1e4)
    rho, delta = course.shift / ratio, course.shift * ratio
    d_lower = 1 / (point.s_lower + delta * point.z_lower)
    d_upper = 1 / (point.s_upper + delta * point.z_upper)
    w_lower = jnp.where(kind.lower, point.z_lower * d_lower, zero)
    w_upper = jnp.where(kind.upper, point.z_upper * d_upper, zero)
    weights = jnp.where(kind.equal, 1 / delta, w_lower + w_upper)
    factor = _factor.factorise(program, weights, rho)

    def direction(c_lower, c_upper, refine):
        g_lower = jnp.where(kind.lower, (c_lower * d_lower - w_lower * r_lower), zero)
        g_upper = jnp.where(kind.upper, (c_upper * d_upper - w_upper * r_upper), zero)
        g = jnp.where(kind.equal, r_equal / delta, g_upper - g_lower)
        dx = factor.solve(-r_dual - program.transposed(g))
        adx = program.rows(dx)
        dy = weights * adx + g
        if refine:
            # What is lost in `weights * adx` is large near the solution.
            r = -r_dual - program.P @ dx - rho * dx - program.transposed(dy)
            more = factor.solve(r)
            a_more = program.rows(more)
            dx, adx, dy = dx + more, adx + a_more, dy + weights * a_more
        dz_lower = g_lower - w_lower * adx
        dz_upper = g_upper + w_upper * adx
        ds_lower = jnp.where(kind.lower, adx + r_lower + delta * dz_lower, zero)
        ds_upper = jnp.where(kind.upper, -adx + r_upper + delta * dz_upper, zero)
        dy = jnp.where(kind.equal, dy, zero)
        return Point(dx, dy, ds_lower, ds_upper, dz_lower, dz_upper)

    # The predictor only says how far to aim, and how curved the way is.
    first = direction(-products[0], -products[1], refine=False)
    primal, dual = _longest(point, first)
    after = jnp.sum(
        (point.s_lower + primal * first.s_lower)
        * (point.z_lower + dual * first.z_lower)
        + (point.s_upper + primal * first.s_upper)
        * (point.z_upper + dual * first.z_upper)
    )
    after = after / count
    sigma = (after / jnp.maximum(mu, jnp.finfo(x.dtype).tiny)) ** 3
    target = jnp.clip(sigma, 0, 1) * mu
    second = direction(
        target - products[0] - first.s_lower * first.z_lower,
        target - products[1] - first.s_upper * first.z_upper,
        refine=True,
    )
    primal, dual = _longest(point, second)
    length = jnp.minimum(jnp.minimum(primal, dual) * jnp.maximum(0.99, 1 - mu), 1)
    moved = jax.tree.map(lambda a, d: a + length * d, point, second)
    failed = ~jnp.isfinite(jnp.max(jnp.abs(second.x), initial=0))
    moved, course = _steer(moved, kind, course, length, failed)
    return moved, course, failed


def _steer(point, kind, course, length, failed):
    """The course after a step of this length, and the point, away from the bounds."""
    epsilon = float(jnp.finfo(length.dtype).eps)
    least = jnp.minimum(10 * course.least, epsilon**0.25)
    least = jnp.where(failed, least, course.least)
    shift = course.shift * jnp.where(length > 0.5, 0.1, 0.5)
    shift = jnp.maximum(jnp.where(failed, 10 * course.shift, shift), least)
    short = jnp.where(length < _SHORT, course.short + 1, 0)
    retreat = (short >= _SHORT_STEPS) & (course.retreats < _MOST_RETREATS) & ~failed
    away = jnp.where(course.retreats > 0, 10 * _RETREAT, _RETREAT)
    away = jnp.where(retreat, away, 0).astype(length.dtype)
    far = lambda v, bounded: jnp.where(bounded, jnp.maximum(v, away), v)
    point = Point(
        point.x,
        point.y,
        far(point.s_lower, kind.lower),
        far(point.s_upper, kind.upper),
        far(point.z_lower, kind.lower),
        far(point.z_upper, kind.upper),
    )
    short = jnp.where(retreat, 0, short).astype(jnp.int32)
    retreats = course.retreats + jnp.where(retreat, 1, 0).astype(jnp.int32)
    return point, Course(shift, least, short, retreats)


def _longest(point, step):
    """How far the slacks, and the multipliers, may go until one is zero."""

    def limit(value, change):
        falls = change < 0
        ratio = jnp.where(falls, -value / jnp.where(falls, change, -1), jnp.inf)
        return jnp.min(ratio, initial=jnp.inf)

    primal = jnp.minimum(
        limit(point.s_lower, step.s_lower), limit(point.s_upper, step.s_upper)
    )
    dual = jnp.minimum(
        limit(point.z_lower, step.z_lower), limit(point.z_upper, step.z_upper)
    )
    return jnp.minimum(primal, 1), jnp.minimum(dual, 1)
