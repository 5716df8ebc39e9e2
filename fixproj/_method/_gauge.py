"""A parameter that adapts itself while its map is iterated.

Kept in the governing variable, so that the map remains a map: a count of steps and the
logarithm of a positive number, scaled so that they have no weight in the residual. It
is revised after 10, 20, 40, ... steps, by a factor of at most 10: ever more rarely,
so that the method comes to be the one with a constant parameter, with its convergence.
No derivative goes through it: the fixed point is the same for every value.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ._curvature import WEIGHT


_FIRST = 10
_FACTOR = 10.0
# Of the logarithm: factors of 1e-10 to 1e10.
_RANGE = 23.0


class Gauge(eqx.Module):
    """A positive parameter.

    Attributes:
        first: its value at the start.
        fixed: whether it stays there.
    """

    first: Scalar
    fixed: bool = eqx.field(static=True)

    def init(self) -> Float[Array, "2"] | tuple[()]:
        """What is remembered from step to step: the count and the logarithm."""
        return () if self.fixed else jnp.zeros(2, self.first.dtype)

    def read(self, memory) -> Scalar:
        """The value."""
        if self.fixed:
            return self.first
        exponent = jax.lax.stop_gradient(memory)[1] / WEIGHT
        exponent = jnp.clip(exponent, -_RANGE, _RANGE)
        return self.first * jnp.exp(exponent)

    def revise(self, memory, factor: Callable[[], Scalar]):
        """By which factor the value changes now, and what to remember."""
        if self.fixed:
            return jnp.ones((), self.first.dtype), ()
        memory = jax.lax.stop_gradient(memory)
        count = jnp.round(memory[0] / WEIGHT) + 1
        doublings = jnp.round(jnp.log2(jnp.maximum(count, _FIRST) / _FIRST))
        due = jnp.abs(count / _FIRST - jnp.exp2(doublings)) < 0.5 / _FIRST

        def change():
            wanted = jax.lax.stop_gradient(factor()).astype(count.dtype)
            # Zero where what the parameter balances has not moved: as far as allowed.
            sane = jnp.isfinite(wanted) & (wanted >= 0)
            return jnp.where(sane, jnp.clip(wanted, 1 / _FACTOR, _FACTOR), 1)

        found = jax.lax.cond(due, change, lambda: jnp.ones_like(count))
        new = jnp.stack([count * WEIGHT, memory[1] + jnp.log(found) * WEIGHT])
        return self.read(new) / self.read(memory), new
