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
from jaxtyping import Array, Float, PyTree

from .. import _tree
from ._field import add, scaled, times


DENSE_LIMIT = 256
"""Up to so many unknowns a system is solved densely."""


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
        # What both answer to the start is the start plus the residual of the system.
        # Where players hardly change their minds that is all, and costs two products.
        dy = second(start)
        dx = answer(g_x, a_x, d_xy(dy))
        residual = _tree.subtract(dx, start)
        rtol = _tree.coarsest_epsilon(g_x) ** 0.25
        near = _tree.two_norm(residual) <= rtol * _tree.two_norm(dx)

        def improve(dx, dy):
            residual = divide(_tree.subtract(dx, start), s)
            scale = _tree.two_norm(divide(dx, s))
            change = conjugate_gradient(product, residual, rtol * scale)
            dx = _tree.add_scaled(start, 1, times(s, change))
            return dx, second(dx)

        return jax.lax.cond(near, lambda dx, dy: (dx, dy), improve, dx, dy)
    right = _tree.subtract(d_xy(times(a_y, g_y)), g_x)
    dx = times(s, solve(product, times(s, right), solver, symmetric, divide(start, s)))
    return dx, second(dx)


def conjugate_gradient(
    product: Callable[[PyTree], PyTree],
    right: PyTree,
    tolerance: Float[Array, ""],
    max_steps: int = 100,
) -> PyTree:
    """Solve `product(u) = right` from u = 0, to a residual of 2-norm `tolerance`.

    Hestenes & Stiefel (1952), for a positive definite product. lineax's wants the steps
    to be small as well, which costs one more product.
    """

    def keep_on(carry):
        _, _, _, size, count = carry
        return (size > tolerance**2) & (count < max_steps)

    def body(carry):
        u, r, p, size, count = carry
        ap = product(p)
        length = size / _tree.inner_product(p, ap)
        u = _tree.add_scaled(u, length, p)
        r = _tree.add_scaled(r, -length, ap)
        now = _tree.inner_product(r, r)
        p = _tree.add_scaled(r, now / size, p)
        return u, r, p, now, count + 1

    zero = scaled(0, right)
    size = _tree.inner_product(right, right)
    carry = (zero, right, right, size, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(keep_on, body, carry)[0]


def divide(a: PyTree, b: PyTree) -> PyTree:
    """`a / b` leaf by leaf, for `b >= 0`; zero where `b` is."""
    return jtu.tree_map(lambda x, y: x / jnp.where(y > 0, y, 1), a, b)


def answer(gradient: PyTree, metric: PyTree, effect: PyTree) -> PyTree:
    """`-metric (gradient + effect)`: a player's answer to a known move of the other."""
    return scaled(-1, times(metric, add(gradient, effect)))


def constant_like(tree: PyTree, value: Any) -> PyTree:
    """A tree of arrays filled with a scalar."""
    return jtu.tree_map(
        lambda x: jnp.broadcast_to(jnp.asarray(value, x.dtype), x.shape), tree
    )
