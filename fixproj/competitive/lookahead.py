r"""Lookahead: a few moves of another method, and a part of the way there.

    z <- z + share (T^moves(z) - z)

Zhang, Lucas, Hinton & Ba (2019); for games Chavdarova et al. (2021), Taming GANs with
lookahead-minmax.
"""

import equinox as eqx
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between, check_positive_int
from ._game import Game
from ._method import AbstractGameMethod
from .gradient import AlternatingGradient


class Lookahead(AbstractGameMethod):
    """Average the start and the end of a few moves of another method.

    Args:
        method: the method that moves.
        moves: how many moves, at least 1.
        share: how far to go towards their end, a scalar > 0 that may be traced.

    Raises:
        ValueError: if `moves` or `share` is out of range.
        TypeError: if `method` is no method for games.

    References:
        T. Chavdarova, M. Pagliardini, S. U. Stich, F. Fleuret and M. Jaggi (2021),
        Taming GANs with lookahead-minmax.
    """

    method: AbstractGameMethod = AlternatingGradient()
    moves: int = eqx.field(static=True, default=5)
    share: float | Scalar = 0.5

    def __check_init__(self):
        if not isinstance(self.method, AbstractGameMethod):
            raise TypeError(
                f"Lookahead: `method` must be a method for games, got {self.method!r}."
            )
        check_positive_int("Lookahead", "moves", self.moves)
        check_between("Lookahead", "share", self.share, 0)

    def start(self, game: Game) -> PyTree:
        """What the other method remembers."""
        return self.method.start(game)

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """`moves` moves of the other method."""
        ahead = players
        for _ in range(self.moves):
            ahead, memory = self.method.move(game, ahead, memory)
        difference = _tree.subtract(ahead, players)
        return _tree.add_scaled(players, self.share, difference), memory

    def rests_at_zero_gradient(self) -> bool:
        """As the other method does."""
        return self.method.rests_at_zero_gradient()
