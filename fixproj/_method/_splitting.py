"""What the methods for composite problems share: checks, and proxes of the pairs.

prox_{s h*}(u) = u - s prox_{h / s}(u / s)    (Moreau, 1965)
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._composite import Composite
from . import _curvature
from ._gauge import Gauge


def require_composite(owner: str, problem: Any) -> None:
    """A TypeError unless the problem is a `Composite`."""
    if not isinstance(problem, Composite):
        raise TypeError(
            f"{owner} is for a fixproj.Composite, got {type(problem).__name__}."
        )


def require_identity(owner: str, problem: Composite) -> None:
    """A ValueError unless there is one pair, with the identity as its operator."""
    if len(problem.linear) != 1 or problem.linear[0][0] is not None:
        raise ValueError(
            f"{owner} needs exactly one pair in `linear`, and its operator must be "
            "None (the identity); use fixproj.PDHG or fixproj.CondatVu otherwise."
        )


def check_step(owner: str, name: str, value: Any) -> None:
    """A ValueError unless the step is None or a positive scalar."""
    if value is not None:
        check_between(owner, name, value, 0)


def scaled(x: PyTree, factor: Any, y: PyTree) -> PyTree:
    """`x + factor * y`."""
    return _tree.add_scaled(x, factor, y)


def proxes(problem: Composite, points: tuple, step: Any) -> tuple:
    """prox_{step h_i} of every point."""
    return tuple(
        h.prox(v, step) for (_, h), v in zip(problem.linear, points, strict=True)
    )


def dual_proxes(problem: Composite, points: tuple, step: Scalar) -> tuple:
    """prox_{step h_i*} of every point."""
    shrunk = jtu.tree_map(lambda u: u / _tree.scale_like(step, u), points)
    return scaled(points, -step, proxes(problem, shrunk, 1 / step))


def zero_duals(problem: Composite) -> tuple:
    """A zero of the shape of every K_i y."""
    shapes = jax.eval_shape(problem.forward, problem.y0)
    return jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def penalty_gauge(penalty: Any, bend: Scalar, square: Scalar) -> Gauge:
    """The penalty of an augmented Lagrangian; None balances curvatures, and adapts."""
    if penalty is not None:
        return Gauge(jnp.asarray(penalty).astype(square.dtype), True)
    return Gauge(jnp.where(bend > 0, bend * _curvature.inverse(square), 1), False)


def better_weight(dual: PyTree, primal: PyTree, start: PyTree) -> Scalar:
    """The factor that brings a weight closer to |dual - 0| / |primal - start|.

    This ratio, at the solution, is the best weight for the bound of a primal-dual
    method; the dual is given divided by the present weight. The root damps.
    """
    travelled = _tree.two_norm(_tree.subtract(primal, start))
    return jnp.sqrt(_tree.two_norm(dual) / travelled)
