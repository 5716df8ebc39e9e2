"""What the methods for composite problems share: step sizes, and proxes of the pairs.

prox_{s h*}(u) = u - s prox_{h / s}(u / s)    (Moreau, 1965)
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._composite import Composite


_POWER_STEPS = 60


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


def operator_norm(linear: Any, like: PyTree) -> Scalar:
    """The norm of a linear map, or a little more; not differentiated.

    The power method on K'K for a fixed number of steps, from a random vector; the
    margin of 5% covers what it lacks.
    """
    like = _tree.stop_gradient(like)
    transpose = jax.linear_transpose(linear, like)
    leaves, structure = jtu.tree_flatten(like)
    keys = jr.split(jr.key(0), max(len(leaves), 1))
    start = [
        jr.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=False)
    ]
    v = jtu.tree_unflatten(structure, start)

    def normalise(v):
        size = _tree.two_norm(v)
        safe = jnp.where(size > 0, size, 1)
        return jtu.tree_map(lambda a: a / safe.astype(a.dtype), v), size

    def body(_, carry):
        v, _ = carry
        return normalise(transpose(linear(v))[0])

    v, _ = normalise(v)
    _, square = jax.lax.fori_loop(
        0, _POWER_STEPS, body, (v, jnp.zeros((), _tree.norm_dtype(like)))
    )
    return jax.lax.stop_gradient(1.05 * jnp.sqrt(square))


def lipschitz(problem: Composite) -> Scalar:
    """The norm of the Hessian of the smooth part at the start: its curvature there."""
    dtype = _tree.norm_dtype(problem.y0)
    if problem.smooth is None:
        return jnp.zeros((), dtype)
    problem = _tree.stop_gradient(problem)
    _, hessian = jax.linearize(problem.gradient, problem.y0)
    return operator_norm(hessian, problem.y0)


def coupling(problem: Composite) -> Scalar:
    """The norm of all K_i, stacked; 0 without any."""
    if not problem.linear:
        return jnp.zeros((), _tree.norm_dtype(problem.y0))
    problem = _tree.stop_gradient(problem)
    return operator_norm(problem.forward, problem.y0)


def inverse(value: Scalar) -> Scalar:
    """1 / value, and 1 where it is zero."""
    return jnp.where(value > 0, 1 / jnp.where(value > 0, value, 1), 1)


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
