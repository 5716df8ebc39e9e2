r"""The linear systems of competitive methods.

Both players answer each other to first order (a Nash equilibrium of the bilinear
approximation, with proximal terms of metrics A_x, A_y, which are diagonal here):

    dx = -A_x (g_x + D_xy dy)          dy = -A_y (g_y + D_yx dx)

Eliminating one of them, with s = A_x^(1/2) and dx = s w,

    (I - s D_xy A_y D_yx s) w = -s (g_x - D_xy A_y g_y)

which for a zero-sum game, where D_yx = -D_xy', is symmetric and positive definite.
Schaefer & Anandkumar (2019), equation (3); Schaefer, Zheng & Anandkumar (2020).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import PyTree

from .. import _tree
from ._field import add, scaled, times


DENSE_LIMIT = 256
"""Up to so many unknowns a system is solved densely."""

# How exact an answer is, relative to it, and for how many steps one is sought.
_TOLERANCE, _MOST = 2e-2, 100


def solve(
    product: Callable[[PyTree], PyTree],
    right: PyTree,
    solver: lx.AbstractLinearSolver | None,
    symmetric: bool,
    start: PyTree,
) -> PyTree:
    """Solve `product(u) = right` for a linear `product`.

    Args:
        product: the linear map, of pytrees like `right`.
        right: the right-hand side.
        solver: a lineax solver; None is LU up to `DENSE_LIMIT` unknowns, above it CG
            where the map is symmetric and positive definite, and GMRES elsewhere.
        symmetric: whether it is.
        start: where an iterative solver starts.
    """
    size = _tree.real_size(right)
    if solver is None and size <= DENSE_LIMIT:
        flat, unravel = _tree.ravel_real(right)
        flat_product = lambda u: _tree.ravel_real(product(unravel(u)))[0]
        eye = jnp.eye(size, dtype=flat.dtype)
        matrix = jax.vmap(flat_product, out_axes=1)(eye)
        return unravel(jnp.linalg.solve(matrix, flat))
    if solver is None:
        rtol = _tree.coarsest_epsilon(right) ** 0.25
        solver = lx.CG(rtol, rtol**3) if symmetric else lx.GMRES(rtol, rtol**3)
    tags = (lx.positive_semidefinite_tag, lx.symmetric_tag) if symmetric else ()
    operator = lx.FunctionLinearOperator(product, jax.eval_shape(lambda: right), tags)
    solution = lx.linear_solve(
        operator, right, solver, options={"y0": start}, throw=False
    )
    # A step that is not quite solved for is still a step; a broken one must show.
    return solution.value


def first_player(
    gradients: tuple[PyTree, PyTree],
    products: tuple[Callable, Callable],
    metrics: tuple[PyTree, PyTree],
    solver: lx.AbstractLinearSolver | None,
    symmetric: bool,
    start: PyTree,
) -> tuple[PyTree, PyTree]:
    """Both answers (dx, dy) of the equations above, by the system of the first player.

    Args:
        gradients: (g_x, g_y).
        products: the linear maps dy -> D_xy dy and dx -> D_yx dx.
        metrics: (A_x, A_y), the diagonals as trees like the players.
        solver: as for `solve`.
        symmetric: whether the game is zero-sum.
        start: where an iterative solver starts, a tree like dx.
    """
    (g_x, g_y), (d_xy, d_yx), (a_x, a_y) = gradients, products, metrics
    s = jtu.tree_map(jnp.sqrt, a_x)
    second = lambda dx: answer(g_y, a_y, d_yx(dx))

    def product(w):
        inner = d_xy(times(a_y, d_yx(times(s, w))))
        return _tree.subtract(w, times(s, inner))

    if symmetric and solver is None and _tree.real_size(g_x) > DENSE_LIMIT:
        return _improve(gradients, products, metrics, start)
    right = _tree.subtract(d_xy(times(a_y, g_y)), g_x)
    dx = times(s, solve(product, times(s, right), solver, symmetric, divide(start, s)))
    return dx, second(dx)


def _improve(
    gradients: tuple[PyTree, PyTree],
    products: tuple[Callable, Callable],
    metrics: tuple[PyTree, PyTree],
    u: PyTree,
) -> tuple[PyTree, PyTree]:
    """Both answers in a zero-sum game, by conjugate gradients from a guess u for dx.

    With K = -A_x D_xy A_y D_yx the system is (I + K) dx = b, positive definite in the
    inner product of 1 / A_x. What both answer to u, dy and then dx = u + r, has the
    preconditioned residual r = b - (I + K) u, and the error K (I + K)^(-1) r of dx is
    smaller than r where the players hardly mind each other. So the directions of the
    last move often are good enough a guess, and cost two products. Every step of
    Hestenes & Stiefel (1952) costs two more. The largest of the Rayleigh quotients of K
    that come up stands for its norm.
    """
    (g_x, g_y), (d_xy, d_yx), (a_x, a_y) = gradients, products, metrics
    square = lambda v: _tree.inner_product(v, divide(v, a_x))
    effect = d_yx(u)
    dy = answer(g_y, a_y, effect)
    dx = answer(g_x, a_x, d_xy(dy))
    r = _tree.subtract(dx, u)
    mind, size = _tree.inner_product(effect, times(a_y, effect)), square(u)
    quotient = jnp.where(size > 0, mind / jnp.where(size > 0, size, 1), 1)
    limit = _TOLERANCE**2 * square(dx)

    def keep_on(carry):
        _, _, _, _, size, quotient, count = carry
        return (jnp.minimum(quotient, 1) ** 2 * size > limit) & (count < _MOST)

    def body(carry):
        u, r, p, dy, size, quotient, count = carry
        change = times(a_y, d_yx(p))
        turned = times(a_x, d_xy(change))
        squared = square(p)
        mind = -_tree.inner_product(p, divide(turned, a_x))
        length = size / (squared + mind)
        u = _tree.add_scaled(u, length, p)
        dy = _tree.add_scaled(dy, -length, change)
        r = _tree.add_scaled(r, -length, _tree.subtract(p, turned))
        now = square(r)
        p = _tree.add_scaled(r, now / size, p)
        quotient = jnp.maximum(quotient, mind / squared)
        return u, r, p, dy, now, quotient, count + 1

    def improve():
        u, r, _, dy, *_ = jax.lax.while_loop(keep_on, body, start)
        return add(u, r), dy

    start = (u, r, r, dy, square(r), quotient, jnp.zeros((), jnp.int32))
    # Not a loop of no steps, whose arrays would be copied.
    return jax.lax.cond(keep_on(start), improve, lambda: (dx, dy))


def divide(a: PyTree, b: PyTree) -> PyTree:
    """`a / b` leaf by leaf, for `b >= 0`; zero where `b` is."""
    return jtu.tree_map(lambda x, y: x / jnp.where(y > 0, y, 1), a, b)


def answer(gradient: PyTree, metric: PyTree, effect: PyTree) -> PyTree:
    """`-metric (gradient + effect)`: a player's answer to a known move of the other."""
    return scaled(-1, times(metric, add(gradient, effect)))


def constant_like(tree: PyTree, value: Any) -> PyTree:
    """A scalar for every leaf of a tree."""
    return jtu.tree_map(lambda x: jnp.asarray(value, x.dtype), tree)
