r"""The vector field of a game and products with its Jacobian.

    v(z) = (grad_1 l_1, ..., grad_n l_n),     J = dv/dz,     J_ij = D_ij l_i

At an equilibrium v = 0. All functions take and return tuples like the players.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree, Scalar

from .. import _tree
from ._game import Game, is_zero_sum


def loss(game: Game, i: int, players: tuple) -> Scalar:
    """The loss of player i, as a scalar."""
    return jnp.asarray(game.losses[i](players, game.args)).reshape(())


def own_gradient(game: Game, i: int, players: tuple) -> PyTree:
    """The gradient of player i's loss with respect to player i."""
    own = lambda p: loss(game, i, (*players[:i], p, *players[i + 1 :]))
    return jax.grad(own)(players[i])


def field(game: Game, players: tuple) -> tuple:
    """v(z): every player's own gradient."""
    return tuple(own_gradient(game, i, players) for i in range(len(players)))


def cross_product(game: Game, i: int, players: tuple) -> Callable[[tuple], PyTree]:
    """The linear map u -> sum over j != i of D_ij l_i u_j; `u[i]` is not read."""
    others = (*players[:i], *players[i + 1 :])

    def gradient(others):
        return own_gradient(game, i, (*others[:i], players[i], *others[i:]))

    product = jax.linearize(gradient, others)[1]
    return lambda u: product((*u[:i], *u[i + 1 :]))


def two_players(game: Game, players: tuple) -> tuple[tuple, tuple]:
    """v(z), and the linear maps dy -> D_xy l_1 dy and dx -> D_yx l_2 dx."""
    x, y = players
    if is_zero_sum(game):
        # One linearisation serves both: D_yx l_2 = -(D_xy l_1)'.
        g_x, d_xy = jax.linearize(lambda y: own_gradient(game, 0, (x, y)), y)
        transposed = jax.linear_transpose(d_xy, y)
        d_yx = lambda dx: scaled(-1, transposed(dx)[0])
        return (g_x, own_gradient(game, 1, players)), (d_xy, d_yx)
    g_x, d_xy = jax.linearize(lambda y: own_gradient(game, 0, (x, y)), y)
    g_y, d_yx = jax.linearize(lambda x: own_gradient(game, 1, (x, y)), x)
    return (g_x, g_y), (d_xy, d_yx)


def jacobian_product(game: Game, players: tuple) -> Callable[[tuple], tuple]:
    """The linear map u -> J u."""
    return jax.linearize(lambda z: field(game, z), players)[1]


def transposed_product(game: Game, players: tuple) -> tuple[tuple, Callable]:
    """V and the linear map u -> J' u."""
    value, pull = jax.vjp(lambda z: field(game, z), players)
    return value, lambda u: pull(u)[0]


def jacobian(game: Game, players: tuple) -> Float[Array, "n n"]:
    """J as a matrix, for the players as one vector."""
    flat, unravel = _tree.ravel_real(players)
    return jax.jacfwd(lambda x: _tree.ravel_real(field(game, unravel(x)))[0])(flat)


def move(players: tuple, scale: Any, direction: tuple) -> tuple:
    """`players + scale * direction`."""
    return _tree.add_scaled(players, scale, direction)


def scaled(scale: Any, tree: PyTree) -> PyTree:
    """`scale * tree` for a real scalar."""
    return jtu.tree_map(lambda x: _tree.scale_like(scale, x) * x, tree)


def times(a: PyTree, b: PyTree) -> PyTree:
    """The product leaf by leaf."""
    return jtu.tree_map(lambda x, y: x * y, a, b)


def add(*trees: PyTree) -> PyTree:
    """The sum leaf by leaf."""
    return jtu.tree_map(lambda *x: sum(x[1:], x[0]), *trees)
