r"""Stackelberg gradient: a leader, who sees how the follower will answer.

    leader:    x <- x - step_x (D_x f - D_xy g (D_yy g)^-1 D_y f)
    follower:  y <- y - step_y D_y g

The bracket is the total derivative of f(x, y(x)) along D_y g(x, y(x)) = 0. Fiez,
Chasnov & Ratliff (2020), Implicit learning dynamics in Stackelberg games.
"""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from . import _field, _inner
from ._game import Game
from ._method import AbstractGameMethod, two_players


class Stackelberg(AbstractGameMethod):
    """The first player leads and takes the total derivative, the second follows.

    Args:
        step_x: the leader's step size, a scalar > 0 that may be traced.
        step_y: the follower's; None is the same.
        ridge: added to the follower's second derivative before it is inverted.
        linear_solver: a lineax solver; None is LU up to 256 unknowns of the follower,
            and GMRES above.

    Raises:
        ValueError: if an argument is out of range, or, on solving, there are not two
            players.

    References:
        T. Fiez, B. Chasnov and L. Ratliff (2020), Implicit learning dynamics in
        Stackelberg games.
    """

    step_x: float | Scalar = 0.1
    step_y: float | Scalar | None = None
    ridge: float | Scalar = 0.0
    linear_solver: lx.AbstractLinearSolver | None = None

    def __check_init__(self):
        check_between("Stackelberg", "step_x", self.step_x, 0)
        if self.step_y is not None:
            check_between("Stackelberg", "step_y", self.step_y, 0)

    def start(self, game: Game) -> PyTree:
        """The solution of the last linear system, zero."""
        two_players(self, game)
        return jtu.tree_map(jnp.zeros_like, game.y0[1])

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """One system with the follower's second derivatives."""
        x, y = players
        g_x, f_y = jax.grad(lambda z: _field.loss(game, 0, z))(players)
        g_y, pull = jax.vjp(lambda x, y: _field.own_gradient(game, 1, (x, y)), x, y)
        # Second derivatives with respect to y alone are symmetric.
        product = lambda w: _tree.add_scaled(pull(w)[1], self.ridge, w)
        w = _inner.solve(product, f_y, self.linear_solver, False, memory)
        total = _tree.subtract(g_x, pull(w)[0])
        step_y = self.step_x if self.step_y is None else self.step_y
        moves = (_field.scaled(-self.step_x, total), _field.scaled(-step_y, g_y))
        return _field.move(players, 1, moves), w

    def rests_at_zero_gradient(self) -> bool:
        """No: the leader's total derivative is zero."""
        return False
