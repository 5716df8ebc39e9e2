r"""The curvature of a smooth part, from which step sizes follow.

For a quadratic f it is a constant: |H| by the power method, once. Whether f is
quadratic is read off its program: the derivative of grad f in a direction must not
depend on the point. For any other f the power method goes on along with the
iterates, one step v <- H(x) v / |H(x) v| for each of theirs, and every step is checked:
the curvature c is doubled until

    <grad f(x+) - grad f(x), x+ - x> <= c |x+ - x|^2

The vector v is part of the governing variable, so small that it has no weight in the
residual. A fixed point does not depend on the curvature, nor do its derivatives.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jax.interpreters import partial_eval
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._composite import Composite, is_function


# What is remembered in the governing variable but is no part of the solution is scaled
# by this, a normal number in float32 that no residual notices.
WEIGHT = 1e-30

_POWER_STEPS = 60
# The power method approaches the norm from below.
_MARGIN = 1.05
_DOUBLINGS = 80
# Of the random vector, in every power step: a direction that H has come to bend.
_FRESH = 0.05


def is_quadratic(problem: Composite) -> bool:
    """Whether the smooth part is seen to be quadratic (or absent), from its program."""
    if problem.smooth is None:
        return True

    def bend(y, v):
        return jax.jvp(problem.gradient, (y,), (v,))[1]

    jaxpr = jax.make_jaxpr(bend)(problem.y0, problem.y0).jaxpr
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return not any(used[: len(jtu.tree_leaves(problem.y0))])


def operator_norm(linear: Callable, like: PyTree) -> Scalar:
    """The norm of a linear map, or a little more; not differentiated.

    The power method on K'K for a fixed number of steps, from a random vector.
    """
    return _power(linear, _tree.stop_gradient(like))[0]


def coupling(problem: Composite) -> Scalar:
    """The norm of all K_i, stacked; 0 without any."""
    if not problem.linear:
        return jnp.zeros((), _tree.norm_dtype(problem.y0))
    problem = _tree.stop_gradient(problem)
    norm = operator_norm(problem.forward, problem.y0)
    if not any(is_function(K) for K, _ in problem.linear):
        return norm
    # Its transpose leaves out the constant of an affine function, without a word.
    zero = jtu.tree_map(jnp.zeros_like, problem.y0)
    return eqx.error_if(
        norm,
        ~(_tree.max_norm(problem.forward(zero)) == 0),
        "Composite: an operator of `linear` is not linear: it does not map 0 to 0. Put "
        "constants into the function, with fixproj.projections.translate.",
    )


def inverse(value: Scalar) -> Scalar:
    """1 / value, and 1 where it is zero."""
    return jnp.where(value > 0, 1 / jnp.where(value > 0, value, 1), 1)


class Curvature(eqx.Module):
    """The curvature of the smooth part: a constant, or followed by a vector."""

    first: Scalar
    top: PyTree
    probe: PyTree

    def init(self) -> PyTree:
        """What is remembered from step to step; an empty tuple for a constant."""
        return () if self.probe is None else _scaled(self.top, WEIGHT)

    def near(self, problem: Composite, x: PyTree, memory: PyTree):
        """The curvature at x, positive, and what to remember."""
        if self.probe is None:
            return jnp.where(self.first > 0, self.first, 1), ()
        problem, x, memory = _tree.stop_gradient((problem, x, memory))
        v, size = _normalise(_scaled(memory, 1 / WEIGHT))
        v = _tree.where(size > 0, v, self.probe)
        bent = jax.jvp(problem.gradient, (x,), (v,))[1]
        direction, size = _normalise(bent)
        v = _tree.add_scaled(direction, _FRESH, self.probe)
        value = jnp.where(size > 0, (_MARGIN + _FRESH) * size, 1)
        return value, _scaled(_normalise(v)[0], WEIGHT)

    def enough(self, problem: Composite, x: PyTree, advance: Callable, value: Scalar):
        """The curvature with which `advance(curvature)` may be trusted as the next x.

        All arguments must be cut from differentiation. NaN if none is found: then the
        gradient is not Lipschitz continuous, and a tiny step would pass for a solution.
        """
        if self.probe is None:
            return value
        gradient = problem.gradient(x)
        noise = 32 * _tree.coarsest_epsilon(x)

        def too_small(state):
            value, count = state
            move = _tree.subtract(advance(value), x)
            new = problem.gradient(_tree.add_scaled(x, 1, move))
            bent = _tree.inner_product(_tree.subtract(new, gradient), move)
            length = _tree.two_norm(move)
            rounding = _tree.two_norm(new) + _tree.two_norm(gradient)
            rounding += value * _tree.two_norm(x)
            excess = bent - value * length**2 - noise * rounding * length
            # A point outside of the domain of f is too far away, too.
            return ~(excess <= 0) & (count < _DOUBLINGS)

        double = lambda state: (2 * state[0], state[1] + 1)
        value, count = jax.lax.while_loop(too_small, double, (value, 0))
        return jnp.where(count < _DOUBLINGS, value, jnp.nan)


def curvature(problem: Composite, constant: bool = False) -> Curvature:
    """That of the smooth part; `constant` if it is not to be followed."""
    problem = _tree.stop_gradient(problem)
    if problem.smooth is None:
        return Curvature(jnp.zeros((), _tree.norm_dtype(problem.y0)), None, None)
    _, hessian = jax.linearize(problem.gradient, problem.y0)
    first, top = _power(hessian, problem.y0)
    if constant or is_quadratic(problem):
        return Curvature(first, None, None)
    # Where f is flat at the start, the slope there tells its scale.
    slope = _tree.two_norm(problem.gradient(problem.y0))
    first = jnp.maximum(first, slope / (1 + _tree.two_norm(problem.y0)))
    return Curvature(first, top, _random_unit(problem.y0))


def _power(linear: Callable, like: PyTree) -> tuple[Scalar, PyTree]:
    transpose = jax.linear_transpose(linear, like)

    def body(_, carry):
        v, _ = carry
        return _normalise(transpose(linear(v))[0])

    zero = jnp.zeros((), _tree.norm_dtype(like))
    carry = (_random_unit(like), zero)
    v, square = jax.lax.fori_loop(0, _POWER_STEPS, body, carry)
    return jax.lax.stop_gradient((_MARGIN * jnp.sqrt(square), v))


def _random_unit(like: PyTree) -> PyTree:
    leaves, structure = jtu.tree_flatten(like)
    keys = jr.split(jr.key(0), max(len(leaves), 1))
    draw = lambda key, leaf: jr.normal(key, leaf.shape, leaf.dtype)
    start = [draw(key, leaf) for key, leaf in zip(keys, leaves, strict=False)]
    return _normalise(jtu.tree_unflatten(structure, start))[0]


def _normalise(v: PyTree) -> tuple[PyTree, Scalar]:
    size = _tree.two_norm(v)
    safe = jnp.where(size > 0, size, 1)
    return jtu.tree_map(lambda a: a / safe.astype(a.dtype), v), size


def _scaled(x: PyTree, factor: Any) -> PyTree:
    return jtu.tree_map(lambda a: a * factor, x)
