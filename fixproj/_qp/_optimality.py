r"""What makes a pair (x, y) a solution, and what proves that there is none.

    violation   dist_inf(Ax, [l, u])
    dual        |Px + q + A'y|_inf
    gap         |x'Px + q'x + S(y)|,      S(y) = u'max(y, 0) + l'min(y, 0)

y is the multiplier of the rows: positive at an upper bound, negative at a lower one.

    infeasible  A'y = 0 and S(y) < 0
    unbounded   Px = 0, q'x < 0, Ax in the recession cone of [l, u]

Stellato et al. (2020), section 3.4.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from . import _equilibrate
from ._canonical import Program


class Figures(eqx.Module):
    """Residuals in the units of the user, and each relative to what is allowed."""

    violation: Float[Array, ""]
    dual: Float[Array, ""]
    gap: Float[Array, ""]
    merit: Float[Array, ""]


def measure(
    program: Program,
    scaling: _equilibrate.Scaling,
    x: Float[Array, " n"],
    y: Float[Array, " m"],
    rtol: Any,
    atol: Any,
) -> Figures:
    """How far `(x, y)` of the scaled program is from a solution of the original."""
    big = lambda v: jnp.max(jnp.abs(v), initial=0)
    per_row, per_x = 1 / scaling.rows, 1 / (scaling.x * scaling.cost)
    ax, px, aty = program.rows(x), program.P @ x, program.transposed(y)
    violation = big(per_row * (ax - jnp.clip(ax, program.lower, program.upper)))
    dual = big(per_x * (px + program.q + aty))
    support, supports = _support(program, y)
    xpx, qx = x @ px, program.q @ x
    gap = jnp.abs(xpx + qx + support) / scaling.cost
    finite = lambda b: jnp.where(jnp.isfinite(b), jnp.abs(b), 0)
    sides = jnp.maximum(finite(program.lower), finite(program.upper))
    unit = lambda size: jnp.where(size > 0, jnp.minimum(size, 1), 1)
    primal_unit = unit(big(per_row * sides))
    dual_unit = unit(big(per_x * program.q))
    primal_size = big(per_row * ax)
    dual_size = jnp.maximum(big(per_x * px), big(per_x * aty))
    dual_size = jnp.maximum(dual_size, big(per_x * program.q))
    gap_size = jnp.maximum(jnp.abs(xpx), jnp.abs(qx))
    gap_size = jnp.maximum(gap_size, supports) / scaling.cost
    residuals = jnp.stack([violation, dual, gap])
    sizes = jnp.stack([primal_size, dual_size, gap_size])
    units = jnp.stack([primal_unit, dual_unit, dual_unit * primal_unit])
    rtol = jnp.asarray(rtol, x.dtype)
    allowed = rtol * units if atol is None else jnp.asarray(atol, x.dtype)
    allowed = jnp.maximum(allowed + rtol * sizes, jnp.finfo(x.dtype).tiny)
    # NaN must not pass for small.
    merit = jnp.max(residuals / allowed)
    return Figures(violation, dual, gap, jnp.where(jnp.isnan(merit), jnp.inf, merit))


def _support(program: Program, y):
    """`S(y)`, and the largest modulus of its two halves."""
    zero = jnp.zeros_like(y)
    up, down = jnp.maximum(y, 0), jnp.minimum(y, 0)
    upper = jnp.sum(jnp.where(up > 0, program.upper * up, zero))
    lower = jnp.sum(jnp.where(down < 0, program.lower * down, zero))
    return upper + lower, jnp.maximum(jnp.abs(upper), jnp.abs(lower))


def is_infeasible(
    program: Program, scaling: _equilibrate.Scaling, y: Float[Array, " m"], tol: float
) -> Bool[Array, ""]:
    """Whether the direction `y` separates the range of A from the bounds."""
    # A multiplier of the wrong sign at an infinite bound proves nothing.
    y = jnp.where(jnp.isfinite(program.upper), y, jnp.minimum(y, 0))
    y = jnp.where(jnp.isfinite(program.lower), y, jnp.maximum(y, 0))
    size = jnp.max(jnp.abs(y), initial=0)
    y = y / jnp.where(size > 0, size, 1)
    support, _ = _support(program, y)
    residual = jnp.max(jnp.abs(program.transposed(y)), initial=0)
    return (size > 0) & (support < 0) & (residual <= tol * jnp.minimum(-support, 1))


def is_unbounded(
    program: Program, scaling: _equilibrate.Scaling, x: Float[Array, " n"], tol: float
) -> Bool[Array, ""]:
    """Whether the cost falls for ever along `x` without leaving the bounds."""
    size = jnp.max(jnp.abs(x), initial=0)
    x = x / jnp.where(size > 0, size, 1)
    descent = -(program.q @ x)
    ax = program.rows(x)
    up = jnp.where(jnp.isfinite(program.upper), jnp.maximum(ax, 0), 0)
    down = jnp.where(jnp.isfinite(program.lower), jnp.minimum(ax, 0), 0)
    limit = tol * jnp.minimum(descent, 1)
    leaves = jnp.maximum(jnp.max(up, initial=0), -jnp.min(down, initial=0))
    curves = jnp.max(jnp.abs(program.P @ x), initial=0)
    return (size > 0) & (descent > 0) & (leaves <= limit) & (curves <= limit)
