r"""Implicit Euler steps along the players' gradient flow, of growing size.

    (I / t + J) d = -v,    z <- z + d,    1 / t = |J| share / step

A linearised resolvent of v, the step of the flow dz/dt = -v that is stable for every t
if the game is monotone (J + J' positive semidefinite: bilinear and convex-concave
games). The share, at first 1, is at most |v(z)| / |v(z_0)| (switched evolution
relaxation). It falls by 4 with every move for which |v(z + d) + d / t|, the error of
the linearisation, is small beside |v(z)|, and a move for which it is not is taken back
and the share raised. So the end is Newton's method, and the beginning follows the flow
to an equilibrium that attracts it. Mulder & Van Leer (1985); Kelley & Keyes (1998),
Convergence analysis of pseudo-transient continuation.
"""

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PyTree, Scalar

from .. import _tree
from .._check import check_between
from . import _field, _inner
from ._game import Game
from ._method import AbstractGameMethod


class _Memory(eqx.Module):
    first: Float[Array, ""]  # the norm of v at the start
    share: Float[Array, ""]


class ImplicitEuler(AbstractGameMethod):
    """The default for games: pseudo-transient continuation.

    Every player minds the whole Jacobian of the game, also the own second derivatives,
    so no step size has to be tuned, and convergence is quadratic in the end.

    Args:
        step: the first step in units of `1 / |J|`, a scalar > 0 that may be traced.
        linear_solver: a lineax solver; None is LU up to 256 unknowns of all players
            together, and GMRES above.

    Raises:
        ValueError: if `step` is not positive.

    References:
        C. T. Kelley and D. E. Keyes (1998), Convergence analysis of pseudo-transient
        continuation.
    """

    step: float | Scalar = 1.0
    linear_solver: lx.AbstractLinearSolver | None = None

    def __check_init__(self):
        check_between("ImplicitEuler", "step", self.step, 0)

    def start(self, game: Game) -> PyTree:
        """The norm of v at the start."""
        size = _tree.two_norm(_field.field(game, game.y0))
        return _Memory(size, jnp.ones_like(size))

    def move(self, game: Game, players: tuple, memory: PyTree) -> tuple[tuple, PyTree]:
        """One system in the unknowns of all players."""
        v = _field.field(game, players)
        size = _tree.two_norm(v)
        product = _field.jacobian_product(game, players)
        dense = _tree.real_size(players) <= _inner.DENSE_LIMIT
        epsilon = _tree.coarsest_epsilon(players)
        if dense and self.linear_solver is None:
            matrix = _field.jacobian(game, players)
            stiffness = jnp.max(jnp.sum(jnp.abs(matrix), axis=1), initial=0)
        else:
            stiffness = _tree.two_norm(product(v)) / jnp.where(size > 0, size, 1)
        share = memory.share
        relative = share / _tree.scale_like(self.step, share)
        # A solution that is one of many makes J singular: a little is always added.
        floor = jnp.where(stiffness > 0, epsilon**0.5 * stiffness, 1)
        shift = jnp.maximum(relative * stiffness, floor)
        if dense and self.linear_solver is None:
            flat, unravel = _tree.ravel_real(v)
            system = matrix + shift * jnp.eye(flat.size, dtype=flat.dtype)
            direction = unravel(jnp.linalg.solve(system, flat))
        else:
            shifted = lambda u: _tree.add_scaled(product(u), shift, u)
            zero = _field.scaled(0, v)
            direction = _inner.solve(shifted, v, self.linear_solver, False, zero)
        ahead = _field.move(players, -1, direction)
        v_ahead = _field.field(game, ahead)
        error = _tree.two_norm(_field.move(v_ahead, -shift, direction))
        good = (error <= 0.7 * size) & jnp.isfinite(error) | ~(size > 0)
        factor = jnp.where(error <= 0.3 * size, 0.25, 1.0)
        reached = _tree.two_norm(v_ahead) / jnp.where(memory.first > 0, memory.first, 1)
        # Raised without bound, so that a point that is not left is never taken for one
        # of rest.
        share = jnp.where(good, jnp.minimum(factor * share, reached), 4 * share)
        # What is not finite must show, not be stepped back from for ever.
        good = good | ~jnp.isfinite(size)
        return _tree.where(good, ahead, players), _Memory(memory.first, share)
