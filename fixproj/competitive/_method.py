"""What all methods for games share: the map of a rule for the players' next move."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import PyTree

from .. import _tree
from .._map import AbstractMap, AbstractMethod
from . import _field
from ._game import Game, MinMax, as_game


class GameState(eqx.Module):
    """The governing variable of a game: the players, and what a method remembers."""

    players: tuple
    memory: PyTree


class AbstractGameMethod(AbstractMethod):
    """A rule by which players move.

    One move is `method.make_map(game).apply(z)`. Its `args` are those of that `game`,
    so stochastic losses get a new key or batch by making the map anew:

    ```python
    @jax.jit
    def step(z, key):
        return method.make_map(competitive.Game(losses, y0, key)).apply(z)
    ```
    """

    @abc.abstractmethod
    def start(self, game: Game) -> PyTree:
        """What is remembered before the first move: arrays, or None."""

    @abc.abstractmethod
    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """The players after a move, and what is remembered of it."""

    def rests_at_zero_gradient(self) -> bool:
        """Whether the players rest exactly where every own gradient is zero."""
        return True

    def make_map(self, problem: Game | MinMax) -> AbstractMap:
        """The map that moves the players once."""
        if not isinstance(problem, Game | MinMax):
            raise TypeError(
                f"{type(self).__name__}: `problem` must be a competitive.Game or "
                f"competitive.MinMax, got {type(problem).__name__}."
            )
        return _Map(as_game(problem), self)


class _Map(AbstractMap):
    game: Game
    method: AbstractGameMethod

    def init(self) -> GameState:
        return GameState(self.game.y0, self.method.start(self.game))

    def apply(self, z: GameState) -> GameState:
        return GameState(*self.method.move(self.game, z.players, z.memory))

    def core(self, z: GameState) -> PyTree:
        return z.players if self.method.rests_at_zero_gradient() else z

    def equation(self) -> Callable[[PyTree], PyTree]:
        if not self.method.rests_at_zero_gradient():
            return self.apply
        return _Equation(self.game)

    def readout(self, z: PyTree) -> tuple:
        return z.players if isinstance(z, GameState) else z

    def violation(self, value: PyTree) -> None:
        return None


class _Equation(eqx.Module):
    """z - v(z), the plainest map that rests at an equilibrium."""

    game: Game

    def __call__(self, players: tuple) -> tuple:
        return _tree.subtract(players, _field.field(self.game, players))


def two_players(method: Any, game: Game) -> None:
    """A ValueError unless there are two players."""
    if len(game.y0) != 2:
        raise ValueError(
            f"{type(method).__name__} is for two players, got {len(game.y0)}. "
            "competitive.PCGD is for any number."
        )
