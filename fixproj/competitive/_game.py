"""Games: several players, each of whom minimises a loss that depends on all."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._problem import real_arrays


class Game(eqx.Module):
    """Find players none of whom can lower the own loss by a small move.

    Args:
        losses: one function of `(players, args)` for each player, that returns the
            real scalar which this player minimises; `players` is a tuple like `y0`.
        y0: the start: a tuple with one pytree of real arrays for each player.
        args: passed on to every loss: any pytree, PRNG keys included.
        maximise: the indices of the players who maximise theirs instead.

    Raises:
        TypeError: if a loss is not callable, or a leaf of `y0` is not real.
        ValueError: if there is not one loss for each player, `maximise` names one who
            is not there, or, on solving, a loss does not return a scalar.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> from fixproj import competitive
        >>> def profit(i):  # of a firm that sells q[i] at the price 10 - sum(q)
        ...     return lambda q, cost: q[i] * (10.0 - q[0] - q[1] - cost)
        >>> game = competitive.Game(
        ...     [profit(0), profit(1)], (0.0, 0.0), args=1.0, maximise=[0, 1]
        ... )
        >>> first, second = fp.solve(game).value
        >>> print(f"{first:.3f} {second:.3f}")
        3.000 3.000
    """

    losses: tuple[Callable[[tuple, Any], Any], ...]
    y0: tuple[PyTree, ...]
    args: Any

    def __init__(
        self,
        losses: Sequence[Callable[[tuple, Any], Any]],
        y0: Sequence[PyTree],
        args: Any = None,
        *,
        maximise: Sequence[int] = (),
    ):
        for name, value in (("losses", losses), ("y0", y0)):
            if not isinstance(value, list | tuple):
                raise TypeError(
                    f"Game: `{name}` must be a tuple with one entry for each player, "
                    f"got {type(value).__name__}."
                )
        if len(losses) != len(y0) or len(losses) == 0:
            raise ValueError(
                "Game: there must be one loss for each player, got "
                f"{len(losses)} losses and {len(y0)} players in `y0`."
            )
        for i, loss in enumerate(losses):
            if not callable(loss):
                raise TypeError(
                    f"Game: `losses[{i}]` must be a function of (players, args), got "
                    f"{type(loss).__name__}."
                )
        if isinstance(maximise, str) or any(
            not isinstance(i, int) or not 0 <= i < len(losses) for i in maximise
        ):
            raise ValueError(
                "Game: `maximise` must hold indices of players, from 0 to "
                f"{len(losses) - 1}, got {maximise!r}."
            )
        self.losses = tuple(
            _Negative(loss) if i in maximise else loss for i, loss in enumerate(losses)
        )
        self.y0 = tuple(real_arrays(tuple(y0), "Game: `y0`"))
        self.args = args


class MinMax(eqx.Module):
    """Find a saddle point: `x` minimises `f(x, y, args)`, `y` maximises it.

    Args:
        f: a function of `(x, y, args)` that returns a real scalar.
        x0: the start of the minimising player, a pytree of real arrays.
        y0: the start of the maximising player, a pytree of real arrays.
        args: passed on to `f`.

    Raises:
        TypeError: if `f` is not callable, or a leaf of a start is not real.
        ValueError: on solving, if `f` does not return a scalar.

    Examples:
        >>> import fixproj as fp
        >>> from fixproj import competitive
        >>> problem = competitive.MinMax(lambda x, y, args: (x - 1) * (y + 2), 5.0, 5.0)
        >>> x, y = fp.solve(problem).value
        >>> print(f"{x:.3f} {y:.3f}")
        1.000 -2.000
    """

    f: Callable[[PyTree, PyTree, Any], Any]
    x0: PyTree
    y0: PyTree
    args: Any

    def __init__(
        self,
        f: Callable[[PyTree, PyTree, Any], Any],
        x0: PyTree,
        y0: PyTree,
        args: Any = None,
    ):
        if not callable(f):
            raise TypeError(
                f"MinMax: `f` must be a function of (x, y, args), got "
                f"{type(f).__name__}."
            )
        self.f = f
        self.x0 = real_arrays(x0, "MinMax: `x0`")
        self.y0 = real_arrays(y0, "MinMax: `y0`")
        self.args = args

    def game(self) -> Game:
        """The same as a game of two players."""
        return Game(
            (_Loss(self.f, 1), _Loss(self.f, -1)), (self.x0, self.y0), self.args
        )


class _Negative(eqx.Module):
    loss: Callable

    def __call__(self, players, args):
        return -jnp.asarray(self.loss(players, args))


class _Loss(eqx.Module):
    f: Callable
    sign: int = eqx.field(static=True)

    def __call__(self, players, args):
        value = self.f(*players, args)
        return value if self.sign > 0 else -jnp.asarray(value)


def is_zero_sum(game: Game) -> bool:
    """Whether the game came from a `MinMax`."""
    return all(isinstance(loss, _Loss) for loss in game.losses)


def as_game(problem: Game | MinMax) -> Game:
    """The game, with losses that have been looked at."""
    game = problem.game() if isinstance(problem, MinMax) else problem
    for i, loss in enumerate(game.losses):
        name = "MinMax: `f`" if isinstance(problem, MinMax) else f"Game: `losses[{i}]`"
        value = jax.eval_shape(
            lambda y0, loss=loss: jnp.asarray(loss(y0, game.args)), game.y0
        )
        if value.size != 1:
            raise ValueError(
                f"{name} must return a scalar, got the shape {value.shape}."
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(f"{name} must return a real float, got {value.dtype}.")
    return game
