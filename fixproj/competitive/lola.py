r"""Learning with opponent-learning awareness.

    z_i <- z_i - step d/dz_i l_i(z_i, z_j - lookahead grad_j l_j(z) for j != i)

Each player differentiates through a gradient step that the others are about to take.
Foerster et al. (2018), Learning with opponent-learning awareness, equation (3). The
points where this rests are in general not those where the own gradients vanish.
"""

import jax
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from . import _field
from ._game import Game
from ._method import AbstractGameMethod


class LOLA(AbstractGameMethod):
    """Players who shape what the others learn.

    Args:
        step: the step size, a scalar > 0 that may be traced.
        lookahead: the size of the step that the others are believed to take.

    Raises:
        ValueError: if an argument is not positive.

    References:
        J. Foerster, R. Y. Chen, M. Al-Shedivat, S. Whiteson, P. Abbeel and I. Mordatch
        (2018), Learning with opponent-learning awareness.
    """

    step: float | Scalar = 0.1
    lookahead: float | Scalar = 0.1

    def __check_init__(self):
        check_between("LOLA", "step", self.step, 0)
        check_between("LOLA", "lookahead", self.lookahead, 0)

    def start(self, game: Game) -> PyTree:
        """Nothing is remembered."""
        return None

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """Each player's total gradient through the others' steps."""

        def shaped(i, own):
            z = (*players[:i], own, *players[i + 1 :])
            moved = tuple(
                own
                if j == i
                else _tree.add_scaled(
                    z[j],
                    1,
                    _field.scaled(-self.lookahead, _field.own_gradient(game, j, z)),
                )
                for j in range(len(z))
            )
            return _field.loss(game, i, moved)

        gradients = tuple(
            jax.grad(lambda own, i=i: shaped(i, own))(players[i])
            for i in range(len(players))
        )
        return _field.move(players, 1, _field.scaled(-self.step, gradients)), memory

    def rests_at_zero_gradient(self) -> bool:
        """No: opponents who react change what is best."""
        return False
