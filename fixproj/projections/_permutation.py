"""Permutation matrices; P(X) maximises <P, X>, an assignment problem.

|P - X|^2 = n - 2 <P, X> + |X|^2. Solved by the Hungarian method of `optax`: H. W. Kuhn,
"The Hungarian method for the assignment problem" (1955).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating
from fixproj.projections._set import AbstractSet


class Permutation(AbstractSet):
    """The matrices with one entry 1 in every row and column, and zeros elsewhere.

    A point lies along the last two axes. Not convex. The derivative is zero, as the set
    is finite.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Permutation
        >>> print(Permutation().project(jnp.array([[0.9, 0.8], [0.7, 0.1]])))
        [[0. 1.]
         [1. 0.]]
    """

    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Float[ArrayLike, "*batch n n"]) -> Float[Array, "*batch n n"]:
        """Returns a nearest permutation matrix.

        Args:
            x: the point or points, square in the last two axes.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN or an infinity
            gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` is not square in its last two axes.
        """
        x = as_floating(x, "x")
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            raise ValueError(
                f"`x` must be square in its last two axes, but has shape {x.shape}."
            )
        flat = jax.lax.stop_gradient(x).reshape(-1, *x.shape[-2:])
        return jax.vmap(_assign)(flat).reshape(x.shape)


def _assign(x):
    n = x.shape[-1]
    good = jnp.all(jnp.isfinite(x))
    # The solver works in the default dtype, and a NaN would keep it busy for ever.
    cost = jnp.where(good, -x, 0).astype(float)
    rows, columns = optax.assignment.hungarian_algorithm(cost)
    chosen = jnp.zeros(n, columns.dtype).at[rows].set(columns)
    places = jnp.arange(n, dtype=columns.dtype)
    y = (chosen[:, None] == places[None, :]).astype(x.dtype)
    return jnp.where(good, y, jnp.nan)
