"""Dropout with a key of its own."""

from typing import Self

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Float

from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._kinds import Rng
from fixproj.nn._module._module import Module


class Dropout(Module):
    """Sets entries to zero at random and scales the others up.

    Returns `(y, layer)`: the layer holds its key and is returned with the next one. In
    evaluation mode, or frozen, both are as they were.

    Args:
        rate: probability of a zero.

    Raises:
        ValueError: if the rate is not between 0 and 1.

    References:
        Srivastava et al., "Dropout", 2014.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> layer = nn.Dropout(0.5).init(0)
        >>> y, layer = layer(jnp.ones(1000))
        >>> float(y.max()), bool(abs(y.mean() - 1) < 0.1)
        (2.0, True)
    """

    rng: Rng
    rate: float

    def __init__(self, rate: float):
        if isinstance(rate, bool) or not 0 <= rate <= 1:
            raise ValueError(f"Dropout: rate must be between 0 and 1, got {rate!r}.")
        self.rate = float(rate)
        self.rng = Initializer(lambda key: key)

    def __call__(self, x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Self]:
        """The thinned array and the layer with the next key."""
        if not self.training or self.frozen:
            return x, self
        now, after = jr.split(self.rng)
        return eqx.nn.Dropout(self.rate)(x, key=now), self.replace(rng=after)
