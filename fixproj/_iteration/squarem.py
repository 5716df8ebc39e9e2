r"""Squared extrapolation.

    r = T(x) - x,   v = T(T(x)) - T(x) - r,   a = |r| / |v|
    x' = x + 2 a r + a^2 v,     next x = T(x')

Varadhan & Roland (2008), Simple and globally convergent methods for accelerating the
convergence of any EM algorithm, scheme S3, equation (9); the last application of the
map stabilises.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree, Scalar

from .. import _tree
from .._check import check_between
from ._extrapolation import is_translation, is_worse, ratio, rounding_of
from ._iteration import AbstractIteration


class _State(eqx.Module):
    position: Int[Array, ""]
    start: PyTree
    plain: PyTree
    reference: Float[Array, ""]


class Squarem(AbstractIteration):
    """SQUAREM: extrapolation from two applications of the map, then one to stabilise.

    Args:
        safeguard: an extrapolated point whose residual is more than this many times
            the one at the start of its cycle, or not finite, is given up for the last
            point that the map itself gave.

    Raises:
        ValueError: if a concrete `safeguard` is not > 1.

    References:
        R. Varadhan and C. Roland (2008), Simple and globally convergent methods for
        accelerating the convergence of any EM algorithm.
    """

    safeguard: float | Scalar = 100.0

    def __check_init__(self):
        check_between("Squarem", "safeguard", self.safeguard, 1)

    def init(self, z: PyTree) -> Any:
        """The start of the first cycle."""
        infinity = jnp.full((), jnp.inf, _tree.norm_dtype(z))
        return _State(jnp.zeros((), jnp.int32), z, z, infinity)

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """One of the three evaluations of a cycle."""

        def begin():
            size = _tree.two_norm(_tree.subtract(fz, z))
            return fz, _State(jnp.int32(1), z, fz, size)

        def extrapolate():
            r = _tree.subtract(z, state.start)
            v = _tree.subtract(_tree.subtract(fz, z), r)
            first, second = _tree.two_norm(r), _tree.two_norm(v)
            meaningless = is_translation(second, first, rounding_of(fz))
            step = ratio(first, second, meaningless)

            def combine(x, r, v):
                a = _tree.scale_like(step, x)
                return x + a * (2 * r + a * v)

            z_next = jtu.tree_map(combine, state.start, r, v)
            return z_next, _State(jnp.int32(2), state.start, fz, state.reference)

        def stabilise():
            residual = _tree.subtract(fz, z)
            rejected = is_worse(residual, state.reference, self.safeguard)
            z_next = _tree.where(rejected, state.plain, fz)
            return z_next, _State(
                jnp.int32(0), state.start, state.plain, state.reference
            )

        return jax.lax.switch(state.position, [begin, extrapolate, stabilise])
