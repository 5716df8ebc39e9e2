r"""Competitive gradient with orders of solving.

    dx = -step_x (g_x + D_xy dy),   dy = -step_y (g_y + D_yx dx)

"simultaneous" solves a system for each player; "xy" solves for dx and gets dy from its
equation; "yx" the other way round; "alternating" is a move of "xy" and then one of
"yx". With exact inner solves all are the same. Schaefer & Anandkumar (2019).
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import PyTree, Scalar

from .._check import check_between
from . import _field, _inner
from ._game import Game, is_zero_sum
from ._method import AbstractGameMethod, two_players


class CGA(AbstractGameMethod):
    """Competitive gradient steps for two players, with a choice of the solving order.

    Args:
        step_x: the first player's step size, a scalar > 0 that may be traced.
        step_y: the second player's; None is the same.
        order: "simultaneous", "xy", "yx", or "alternating" (a map application is then
            two moves).
        linear_solver: a lineax solver for the inner systems; None is LU up to 256
            unknowns of a player, above it CG for a `MinMax` and GMRES for other games.
            Iterative ones start from the direction of the last move.

    Raises:
        ValueError: if a step is not positive, `order` is unknown, or, on solving, there
            are not two players.

    References:
        F. Schaefer and A. Anandkumar (2019), Competitive gradient descent. P.-L. Bacon,
        F. Schaefer, C. Gehring, A. Anandkumar and E. Brunskill (2019), A Lagrangian
        method for inverse problems in reinforcement learning.
    """

    step_x: float | Scalar = 0.1
    step_y: float | Scalar | None = None
    order: Literal["simultaneous", "xy", "yx", "alternating"] = eqx.field(
        static=True, default="simultaneous"
    )
    linear_solver: lx.AbstractLinearSolver | None = None

    def __check_init__(self):
        check_between("CGA", "step_x", self.step_x, 0)
        if self.step_y is not None:
            check_between("CGA", "step_y", self.step_y, 0)
        if self.order not in ("simultaneous", "xy", "yx", "alternating"):
            raise ValueError(
                "CGA: `order` must be 'simultaneous', 'xy', 'yx' or 'alternating', got "
                f"{self.order!r}."
            )

    def start(self, game: Game) -> PyTree:
        """The last directions, zero."""
        two_players(self, game)
        return jtu.tree_map(jnp.zeros_like, game.y0)

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """One move, or two if alternating."""
        step_y = self.step_x if self.step_y is None else self.step_y
        metrics = (
            _inner.constant_like(players[0], self.step_x),
            _inner.constant_like(players[1], step_y),
        )
        orders = ("xy", "yx") if self.order == "alternating" else (self.order,)
        for order in orders:
            memory = directions(
                game, players, metrics, order, self.linear_solver, memory
            )
            players = _field.move(players, 1, memory)
        return players, memory


def directions(
    game: Game,
    players: tuple,
    metrics: tuple,
    order: str,
    solver: lx.AbstractLinearSolver | None,
    start: tuple,
) -> tuple:
    """The directions (dx, dy) of both players for diagonal metrics."""
    gradients, (d_xy, d_yx) = _field.two_players(game, players)
    symmetric = is_zero_sum(game)

    def by_x():
        return _inner.first_player(
            gradients, (d_xy, d_yx), metrics, solver, symmetric, start[0]
        )

    def by_y():
        return _inner.first_player(
            gradients[::-1], (d_yx, d_xy), metrics[::-1], solver, symmetric, start[1]
        )[::-1]

    if order == "simultaneous":
        return by_x()[0], by_y()[1]
    return by_x() if order == "xy" else by_y()
