r"""Gradient descent-ascent, the baseline.

    simultaneous:   z_i <- z_i - step grad_i l_i(z)       for all i at once
    alternating:    the same one after the other, each seeing the moves before

The first diverges on bilinear games for every step, the second circles. Korpelevich
(1976); Gidel et al. (2019), Negative momentum for improved game dynamics.
"""

import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .._check import check_between
from . import _field
from ._game import Game
from ._method import AbstractGameMethod


class SimultaneousGradient(AbstractGameMethod):
    """Every player takes a gradient step at the same time.

    Args:
        step: the step size, a scalar > 0 that may be traced.

    Raises:
        ValueError: if `step` is not positive.
    """

    step: float | Scalar = 0.1

    def __check_init__(self):
        check_between("SimultaneousGradient", "step", self.step, 0)

    def start(self, game: Game) -> PyTree:
        """Nothing is remembered."""
        return None

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """Z - step v(z)."""
        step = _field.scaled(-self.step, _field.field(game, players))
        return _field.move(players, 1, step), memory


class AlternatingGradient(AbstractGameMethod):
    """The players take gradient steps in turn.

    Args:
        step: the step size, a scalar > 0 that may be traced.

    Raises:
        ValueError: if `step` is not positive.
    """

    step: float | Scalar = 0.1

    def __check_init__(self):
        check_between("AlternatingGradient", "step", self.step, 0)

    def start(self, game: Game) -> PyTree:
        """Nothing is remembered."""
        return None

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """One step for each player."""
        for i in range(len(players)):
            gradient = _field.scaled(-self.step, _field.own_gradient(game, i, players))
            moved = jtu.tree_map(lambda x, g: x + g, players[i], gradient)
            players = (*players[:i], moved, *players[i + 1 :])
        return players, memory
