r"""Polymatrix competitive gradient descent, for any number of players.

    (I + step J_o) d = -step v,    J_o the Jacobian of v without its diagonal blocks

Ma, Letcher, Schaefer, Shi & Anandkumar (2021), equation (7). For two players this is
competitive gradient descent.
"""

import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import PyTree, Scalar

from .._check import check_between
from . import _field, _inner
from ._game import Game
from ._method import AbstractGameMethod


class PCGD(AbstractGameMethod):
    """Polymatrix competitive gradient descent.

    Args:
        step: the step size, a scalar > 0 that may be traced.
        linear_solver: a lineax solver; None is LU up to 256 unknowns of all players
            together, and GMRES above.

    Raises:
        ValueError: if `step` is not positive.

    References:
        J. Ma, A. Letcher, F. Schaefer, Y. Shi and A. Anandkumar (2021), Polymatrix
        competitive gradient descent.
    """

    step: float | Scalar = 0.2
    linear_solver: lx.AbstractLinearSolver | None = None

    def __check_init__(self):
        check_between("PCGD", "step", self.step, 0)

    def start(self, game: Game) -> PyTree:
        """The last direction, zero."""
        return jtu.tree_map(jnp.zeros_like, game.y0)

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """One system in the unknowns of all players."""
        effects = [_field.cross_product(game, i, players) for i in range(len(players))]

        def product(u):
            effect = tuple(e(u) for e in effects) if len(effects) > 1 else u
            scale = self.step if len(effects) > 1 else 0
            return _field.move(u, scale, effect)

        right = _field.scaled(-self.step, _field.field(game, players))
        chosen = _inner.solve(product, right, self.linear_solver, False, memory)
        return _field.move(players, 1, chosen), chosen
