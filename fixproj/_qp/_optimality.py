r"""What makes a pair (x, y) a solution, and what proves that there is none.

    violation   |Ax - P_C(Ax)|_inf
    dual        |Px + q + A'y|_inf
    gap         |x'Px + q'x + S(y)|,      S the support function of C

y is the multiplier of the rows. C is [l, u] or b - K, see `_domain`.

    infeasible  A'y = 0 and S(y) < 0
    unbounded   Px = 0, q'x < 0, Ax in the recession cone of C

Stellato et al. (2020), section 3.4.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._canonical import Program
from ._equilibrate import Scaling


class Figures(eqx.Module):
    """Residuals in the units of the user.

    `merit` is the largest of them relative to what is allowed, `balance` the relative
    violation over the relative dual residual.
    """

    violation: Float[Array, ""]
    dual: Float[Array, ""]
    gap: Float[Array, ""]
    merit: Float[Array, ""]
    balance: Float[Array, ""]


def measure(
    program: Program,
    scaling: Scaling,
    x: Float[Array, " n"],
    y: Float[Array, " m"],
    rtol: Any,
    atol: Any,
) -> Figures:
    """How far `(x, y)` of the scaled program is from a solution of the original."""
    big = lambda v: jnp.max(jnp.abs(v), initial=0)
    domain = program.domain
    per_row, per_x = 1 / scaling.rows, 1 / (scaling.x * scaling.cost)
    ax, px, aty = program.rows(x), program.P @ x, program.transposed(y)
    violation = big(per_row * (ax - domain.project(ax)))
    dual = big(per_x * (px + program.q + aty))
    support, supports = domain.support(y)
    xpx, qx = x @ px, program.q @ x
    gap = jnp.abs(xpx + qx + support) / scaling.cost
    unit = lambda size: jnp.where(size > 0, jnp.minimum(size, 1), 1)
    primal_unit = unit(big(per_row * domain.size()))
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
    ratios = residuals / allowed
    # NaN must not pass for small.
    merit = jnp.where(jnp.any(jnp.isnan(ratios)), jnp.inf, jnp.max(ratios))
    return Figures(violation, dual, gap, merit, ratios[0] / ratios[1])


def is_infeasible(
    program: Program, y: Float[Array, " m"], tol: float
) -> Bool[Array, ""]:
    """Whether the direction `y` separates the range of A from C."""
    y = program.domain.barrier(_unit(y))
    # What is left of a direction outside of the barrier is rounding.
    remains = jnp.max(jnp.abs(y), initial=0) > 0.1
    y = _unit(y)
    support, _ = program.domain.support(y)
    residual = jnp.max(jnp.abs(program.transposed(y)), initial=0)
    proves = residual <= tol * jnp.minimum(-support, 1)
    return remains & (support < 0) & proves


def is_unbounded(
    program: Program, x: Float[Array, " n"], tol: float
) -> Bool[Array, ""]:
    """Whether the cost falls for ever along `x` without leaving C."""
    x = _unit(x)
    descent = -(program.q @ x)
    limit = tol * jnp.minimum(descent, 1)
    leaves = jnp.max(jnp.abs(program.domain.escape(program.rows(x))), initial=0)
    curves = jnp.max(jnp.abs(program.P @ x), initial=0)
    return (descent > 0) & (leaves <= limit) & (curves <= limit)


def _unit(v: Float[Array, " k"]) -> Float[Array, " k"]:
    size = jnp.max(jnp.abs(v), initial=0)
    return v / jnp.where(size > 0, size, 1)
