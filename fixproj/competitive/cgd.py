r"""Competitive gradient descent.

    dx = -step (g_x + D_xy dy),   dy = -step (g_y + D_yx dx)

the Nash equilibrium of the bilinear approximation of both losses with quadratic
regularisation. Schaefer & Anandkumar (2019), algorithm 1.
"""

import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from . import _field, _inner
from ._game import Game
from ._method import AbstractGameMethod, two_players
from .cga import directions


class CGD(AbstractGameMethod):
    """Competitive gradient descent for two players.

    Each player moves as if the other knew of the move: a linear system in the mixed
    second derivatives, of which only products are taken for more than 256 unknowns.
    Converges on bilinear games for every step size.

    Args:
        step: the step size, a scalar > 0 that may be traced.
        linear_solver: a lineax solver; None as for [`fixproj.competitive.CGA`][].

    Raises:
        ValueError: if `step` is not positive, or, on solving, there are not two
            players.

    Examples:
        >>> import fixproj as fp
        >>> from fixproj import competitive
        >>> problem = competitive.MinMax(lambda x, y, a: a * x * y, 1.0, 1.0, args=3.0)
        >>> x, y = fp.solve(problem, competitive.CGD(step=2.0)).value
        >>> print(f"{abs(x):.3f} {abs(y):.3f}")
        0.000 0.000

    References:
        F. Schaefer and A. Anandkumar (2019), Competitive gradient descent.
    """

    step: float | Scalar = 0.2
    linear_solver: lx.AbstractLinearSolver | None = None

    def __check_init__(self):
        check_between("CGD", "step", self.step, 0)

    def start(self, game: Game) -> PyTree:
        """The last directions, zero."""
        two_players(self, game)
        return jtu.tree_map(jnp.zeros_like, game.y0)

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """One system is solved, for the player with fewer unknowns."""
        metrics = tuple(_inner.constant_like(p, self.step) for p in players)
        small, large = (_tree.real_size(p) for p in players)
        order = "xy" if small <= large else "yx"
        memory = directions(game, players, metrics, order, self.linear_solver, memory)
        return _field.move(players, 1, memory), memory
