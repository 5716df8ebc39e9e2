"""Euclidean norms that neither overflow nor have NaN derivatives.

With m = max |x_i|, the norm is m |x / m|: the scaled vector has entries in [-1, 1].
As the value does not depend on m, m takes no part in differentiation.
"""

import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float


def direction_and_norm(
    x: Float[Array, "..."], axis: int | tuple[int, ...] | None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Splits each vector into its direction and its Euclidean length.

    Args:
        x: the vectors.
        axis: the axis or axes along which a vector lies; `None` for all of them.

    Returns:
        The direction, of the shape of `x`, and the norm, with length 1 along `axis`.
        Both are zero, with finite derivatives, for the zero vector.
    """
    largest = stop_gradient(jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0))
    # XLA may divide by multiplying with the reciprocal, which for the largest numbers
    # is subnormal and flushed to zero, unless they are made smaller first.
    shrink = jnp.where(largest > 1, 0.25, 1).astype(x.dtype)
    scaled = (x * shrink) / jnp.where(largest == 0, 1, largest * shrink)
    square = jnp.sum(scaled**2, axis=axis, keepdims=True)
    # The root of zero has an infinite derivative, so it is never taken.
    root = jnp.sqrt(jnp.where(square == 0, 1, square))
    return scaled / root, largest * root
