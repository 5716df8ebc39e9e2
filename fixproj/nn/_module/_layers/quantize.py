"""Activations with few values, and the straight-through gradient."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.nn._module._layers._shapes import check_size
from fixproj.nn._module._module import Module


class Sign(Module):
    """+1 where x >= 0, else -1; the gradient is that of clipping to [-1, 1].

    References:
        Courbariaux et al., "Binarized neural networks", 2016.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.Sign()(jnp.array([-2.0, 0.0, 0.5]))
        Array([-1.,  1.,  1.], dtype=float32)
    """

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The signs."""
        ones = jnp.ones_like(x)
        return _straight_through(x, jnp.where(x >= 0, ones, -ones), -1.0, 1.0)


class Quantize(Module):
    """The nearest of evenly spaced levels; the gradient is that of clipping.

    Args:
        levels: how many, at least 2.
        low: the lowest.
        high: the highest.

    Raises:
        TypeError: if `levels` is no positive integer.
        ValueError: if `levels` is 1, or not `low < high`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.Quantize(3)(jnp.array([-2.0, 0.4, 0.6]))
        Array([-1.,  0.,  1.], dtype=float32)
    """

    levels: int
    low: float
    high: float

    def __init__(self, levels: int, low: float = -1.0, high: float = 1.0):
        check_size("Quantize", "levels", levels)
        if levels < 2:
            raise ValueError(f"Quantize: levels must be at least 2, got {levels}.")
        if not low < high:
            raise ValueError(f"Quantize: low must be below high, got {low} and {high}.")
        self.levels, self.low, self.high = levels, float(low), float(high)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The levels."""
        step = (self.high - self.low) / (self.levels - 1)
        place = jnp.round((jnp.clip(x, self.low, self.high) - self.low) / step)
        return _straight_through(x, place * step + self.low, self.low, self.high)


def _straight_through(x, value, low, high):
    soft = jnp.clip(x, low, high)
    return soft + jax.lax.stop_gradient(value - soft)
