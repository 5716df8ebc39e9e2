r"""Adaptive competitive gradient descent.

Competitive gradient descent whose metrics are those of RMSProp, for each player

    s = decay s + (1 - decay) g^2,   w = decay w + (1 - decay),
    A = step / (sqrt(s / w) + epsilon)

where w, which tends to 1, removes the bias of a start at zero. Schaefer, Zheng &
Anandkumar (2020), Implicit competitive regularization in GANs, algorithm 2.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Float, PyTree, Scalar

from .. import _tree
from .._check import check_between
from . import _field
from ._game import Game
from ._method import AbstractGameMethod, two_players
from .cga import directions


class _Memory(eqx.Module):
    squares: tuple
    weight: Float[Array, ""]
    directions: tuple


class ACGD(AbstractGameMethod):
    """Adaptive competitive gradient descent for two players, as used for GANs.

    Args:
        step: the first player's step size, a scalar > 0 that may be traced.
        decay: of the mean of squared gradients, a scalar in (0, 1).
        epsilon: what is added to its root, a scalar > 0.
        linear_solver: a lineax solver; None as for [`fixproj.competitive.CGA`][].
        step_y: the second player's step size; None is the same.

    Raises:
        ValueError: if an argument is out of range, or, on solving, there are not two
            players.

    References:
        F. Schaefer, H. Zheng and A. Anandkumar (2020), Implicit competitive
        regularization in GANs.
    """

    step: float | Scalar = 1e-3
    decay: float | Scalar = 0.99
    epsilon: float | Scalar = 1e-5
    linear_solver: lx.AbstractLinearSolver | None = None
    step_y: float | Scalar | None = None

    def __check_init__(self):
        check_between("ACGD", "step", self.step, 0)
        if self.step_y is not None:
            check_between("ACGD", "step_y", self.step_y, 0)
        check_between("ACGD", "decay", self.decay, 0, 1)
        check_between("ACGD", "epsilon", self.epsilon, 0)

    def start(self, game: Game) -> Any:
        """No squares seen."""
        two_players(self, game)
        zeros = jtu.tree_map(jnp.zeros_like, game.y0)
        return _Memory(zeros, jnp.zeros((), _tree.norm_dtype(game.y0)), zeros)

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """The squares are brought up to date, then the system is solved."""
        gradients = _field.field(game, players)

        def mean(s, g):
            decay = _tree.scale_like(self.decay, s)
            return decay * s + (1 - decay) * g * g

        def metric(step, s):
            mean_square = s / _tree.scale_like(weight, s)
            epsilon = _tree.scale_like(self.epsilon, s)
            return _tree.scale_like(step, s) / (jnp.sqrt(mean_square) + epsilon)

        squares = jtu.tree_map(mean, memory.squares, gradients)
        weight = mean(memory.weight, jnp.ones_like(memory.weight))
        steps = (self.step, self.step if self.step_y is None else self.step_y)
        metrics = tuple(
            jtu.tree_map(partial(metric, step), part)
            for step, part in zip(steps, squares, strict=True)
        )
        small, large = (_tree.real_size(p) for p in players)
        chosen = directions(
            game,
            players,
            metrics,
            "xy" if small <= large else "yx",
            self.linear_solver,
            memory.directions,
        )
        return _field.move(players, 1, chosen), _Memory(squares, weight, chosen)
