r"""Aitken's delta-squared process, restarted: Steffensen's method, entry by entry.

    x' = x_0 - (x_1 - x_0)^2 / (x_2 - 2 x_1 + x_0),    x_1 = T(x_0), x_2 = T(x_1)

Aitken (1926); Steffensen (1933). Converges quadratically for a smooth scalar map with
T'(x*) != 1, contraction or not.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Int, PyTree

from ._iteration import AbstractIteration


class _State(eqx.Module):
    position: Int[Array, ""]
    start: PyTree
    plain: PyTree


class Steffensen(AbstractIteration):
    """Newton-like convergence for scalar fixed points without a derivative.

    Every entry of `z` is extrapolated by itself, so this is for scalar problems and for
    arrays of independent ones; entries that depend on each other want
    [`fixproj.Anderson`][]. Where the formula divides by rounding alone, or gives a
    point at which the map is not finite, the plain iterate is kept.

    References:
        A. C. Aitken (1926), On Bernoulli's numerical solution of algebraic equations.
        J. F. Steffensen (1933), Remarks on iteration.
    """

    def init(self, z: PyTree) -> Any:
        """The start of the first cycle."""
        return _State(jnp.zeros((), jnp.int32), z, z)

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """One of the two evaluations of a cycle."""

        def begin():
            # Only after an extrapolation can the plain point differ from `z`.
            z_next = jtu.tree_map(
                lambda f, p: jnp.where(jnp.isfinite(f), f, p), fz, state.plain
            )
            return z_next, _State(jnp.int32(1), z, state.plain)

        def extrapolate():
            def entry(x0, x1, x2):
                first, second = x1 - x0, x2 - 2 * x1 + x0
                # A difference that is all rounding would send the entry far away.
                least = 4 * float(jnp.finfo(x2.dtype).eps) * jnp.abs(x2)
                usable = jnp.abs(second) > least
                shift = first * first / jnp.where(usable, second, 1)
                return jnp.where(usable, x0 - shift, x2)

            z_next = jtu.tree_map(entry, state.start, z, fz)
            return z_next, _State(jnp.int32(0), state.start, fz)

        return jax.lax.switch(state.position, [begin, extrapolate])
