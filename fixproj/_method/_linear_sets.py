"""Sets that linear inequalities and balls describe, written as one system.

    lower <= A x <= upper,    |x - c_k| <= r_k

with rows of A of length one. A bound is infinite where there is none, and both are the
same for an equation.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import projections as proj
from .._problem import Feasibility
from ..projections._norm import direction_and_norm


_INF = float("inf")
_KINDS = (
    proj.Affine,
    proj.Box,
    proj.Halfspace,
    proj.Hyperplane,
    proj.Hyperslab,
    proj.L2Ball,
    proj.NonNegative,
    proj.Polyhedron,
    proj.Simplex,
)


class System(eqx.Module):
    """The rows and the balls."""

    A: Float[Array, "m n"]
    lower: Float[Array, " m"]
    upper: Float[Array, " m"]
    centers: Float[Array, "k n"]
    radii: Float[Array, " k"]


def is_linear(problem: Feasibility) -> bool:
    """Whether `system` can write the sets of the problem: a static question."""
    y0 = problem.y0
    if not eqx.is_array(y0) or y0.ndim != 1 or y0.size == 0:
        return False
    if y0.dtype not in (jnp.float32, jnp.float64):
        return False
    return all(_fits(s) for s in problem.sets)


def _fits(set_: Any) -> bool:
    match set_:
        case proj.L2Ball() | proj.Simplex() if set_.radius.ndim != 0:
            return False
    # A subclass may be another set.
    return type(set_) in _KINDS


def count_rows(problem: Feasibility) -> int:
    """The number of rows of `A`."""
    return sum(_count(s, problem.y0.size) for s in problem.sets)


def _count(set_, n):
    match set_:
        case proj.L2Ball():
            return 0
        case proj.Box() | proj.NonNegative():
            return n
        case proj.Simplex():
            return n + 1
        case proj.Affine() | proj.Polyhedron():
            return set_.A.shape[0]
    return 1


def system(problem: Feasibility) -> System:
    """All sets as one system; for a problem that `is_linear`."""
    y0 = problem.y0
    balls = [s for s in problem.sets if isinstance(s, proj.L2Ball)]
    parts = [_rows(s, y0) for s in problem.sets if not isinstance(s, proj.L2Ball)]
    empty = jnp.zeros((0, *y0.shape), y0.dtype)
    A = jnp.concatenate([empty] + [p[0].astype(y0.dtype) for p in parts])
    bounds = [
        jnp.concatenate([empty[:, 0]] + [_fill(p[i], p[0], y0.dtype) for p in parts])
        for i in (1, 2)
    ]
    A, lengths = direction_and_norm(A, 1)
    lengths = jnp.where(lengths[:, 0] == 0, 1, lengths[:, 0])
    # An infinite bound is left out of the division, whose derivative would be NaN.
    lower, upper = (
        jnp.where(jnp.isinf(b), b, jnp.where(jnp.isinf(b), 0, b) / lengths)
        for b in bounds
    )
    center = lambda s: 0.0 if s.center is None else s.center.astype(y0.dtype)
    centers = [jnp.broadcast_to(center(s), y0.shape)[None] for s in balls]
    radii = [s.radius.astype(y0.dtype)[None] for s in balls]
    centers = jnp.concatenate([empty] + [c.astype(y0.dtype) for c in centers])
    return System(A, lower, upper, centers, jnp.concatenate([empty[:, 0], *radii]))


def _fill(bound, A, dtype):
    return jnp.broadcast_to(jnp.asarray(bound).astype(dtype), A.shape[:1])


def _rows(set_, y0):
    identity = lambda: jnp.eye(y0.size, dtype=y0.dtype)
    match set_:
        case proj.Halfspace():
            return set_.a[None], -_INF, set_.b
        case proj.Hyperplane():
            return set_.a[None], set_.b, set_.b
        case proj.Hyperslab():
            return set_.a[None], set_.lower, set_.upper
        case proj.Box():
            return identity(), set_.lower, set_.upper
        case proj.NonNegative():
            return identity(), 0.0, _INF
        case proj.Affine():
            return set_.A, set_.b, set_.b
        case proj.Polyhedron():
            return set_.A, set_.lower, set_.upper
    # The simplex: a sum, and signs.
    one, radius = jnp.ones((1, y0.size), y0.dtype), set_.radius.astype(y0.dtype)[None]
    none = jnp.full((y0.size,), _INF, y0.dtype)
    lower = jnp.concatenate([radius, jnp.zeros_like(y0)])
    return jnp.concatenate([one, identity()]), lower, jnp.concatenate([radius, none])
