r"""Competitive mirror descent.

The competitive gradient step in the metric of a Bregman potential, and the point that
the potential's geometry makes of it:

    (I + A J_o) d = -A v,                 A = step (Hessian of the potential)^-1
    euclidean:         A = step I                        z <- z + d
    positive orthant:  A = step diag(z)                  z <- z exp(d / z)
    simplex:           A = step (diag(z) - z z' / sum z) z <- sum(z) softmax(...)

with the entropy as potential on the last two. Schaefer, Anandkumar & Owhadi (2020),
Competitive mirror descent, algorithm 1. For n players J_o is as in PCGD.
"""

from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from . import _field, _inner
from ._game import Game
from ._method import AbstractGameMethod


Geometry = Literal["euclidean", "positive", "simplex"]


class CompetitiveMirrorDescent(AbstractGameMethod):
    """Competitive gradient descent for players who live in an orthant or a simplex.

    Args:
        geometry: one for all players, or a tuple with one for each: "euclidean",
            "positive" (all entries stay positive), or "simplex" (the last axis of every
            array stays positive with the sum it has at the start).
        step: the step size, a scalar > 0 that may be traced.
        linear_solver: a lineax solver; None is LU up to 256 unknowns of all players
            together, and GMRES above.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> from fixproj import competitive
        >>> payoff = jnp.array([[1.0, -1.0], [-2.0, 2.0]])
        >>> problem = competitive.MinMax(
        ...     lambda x, y, args: x @ payoff @ y,
        ...     jnp.array([0.5, 0.5]),
        ...     jnp.array([0.6, 0.4]),
        ... )
        >>> x, y = fp.solve(problem, competitive.CompetitiveMirrorDescent()).value
        >>> print(f"{x[0]:.3f} {y[0]:.3f}")
        0.667 0.500

    References:
        F. Schaefer, A. Anandkumar and H. Owhadi (2020), Competitive mirror descent.
    """

    geometry: Geometry | Sequence[Geometry] = eqx.field(
        static=True, default="simplex", converter=lambda g: _as_static(g)
    )
    step: float | Scalar = 1.0
    linear_solver: lx.AbstractLinearSolver | None = None

    def __check_init__(self):
        check_between("CompetitiveMirrorDescent", "step", self.step, 0)
        names = [self.geometry] if isinstance(self.geometry, str) else self.geometry
        for name in names:
            if name not in ("euclidean", "positive", "simplex"):
                raise ValueError(
                    "CompetitiveMirrorDescent: `geometry` must be 'euclidean', "
                    f"'positive' or 'simplex', got {name!r}."
                )

    def start(self, game: Game) -> PyTree:
        """The last direction, zero."""
        if not isinstance(self.geometry, str) and len(self.geometry) != len(game.y0):
            raise ValueError(
                "CompetitiveMirrorDescent: `geometry` must have one entry for each of "
                f"the {len(game.y0)} players, got {len(self.geometry)}."
            )
        return jtu.tree_map(jnp.zeros_like, game.y0)

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """One system in the unknowns of all players."""
        names = self.geometry
        names = (names,) * len(players) if isinstance(names, str) else names
        effects = [_field.cross_product(game, i, players) for i in range(len(players))]

        def metric(direction):
            return tuple(
                jtu.tree_map(lambda x, d, n=name: self._metric(n, x, d), player, part)
                for name, player, part in zip(names, players, direction, strict=True)
            )

        def product(u):
            if len(effects) == 1:
                return u
            return _field.move(u, 1, metric(tuple(effect(u) for effect in effects)))

        right = _field.scaled(-1, metric(_field.field(game, players)))
        chosen = _inner.solve(product, right, self.linear_solver, False, memory)
        moved = tuple(
            jtu.tree_map(lambda x, d, n=name: _retract(n, x, d), player, part)
            for name, player, part in zip(names, players, chosen, strict=True)
        )
        return moved, chosen

    def _metric(self, name, x, d):
        d = _tree.scale_like(self.step, d) * d
        if name == "euclidean":
            return d
        if name == "positive":
            return x * d
        mean = jnp.sum(x * d, -1, keepdims=True) / jnp.sum(x, -1, keepdims=True)
        return x * (d - mean)

    def rests_at_zero_gradient(self) -> bool:
        """No: a constraint may hold a player."""
        return False


def _retract(name, x, d):
    if name == "euclidean":
        return x + d
    # An entry that underflowed to zero stays there.
    rate = jnp.where(x > 0, d / jnp.where(x > 0, x, 1), 0)
    if name == "positive":
        return x * jnp.exp(rate)
    grown = x * jnp.exp(rate - jnp.max(rate, -1, keepdims=True))
    total = jnp.sum(x, -1, keepdims=True)
    return grown * (total / jnp.sum(grown, -1, keepdims=True))


def _as_static(geometry: Any) -> Any:
    return geometry if isinstance(geometry, str) else tuple(geometry)
