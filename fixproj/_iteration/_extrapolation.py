"""What the cyclic extrapolations share: when an extrapolated point is given up."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree, Scalar

from .. import _tree


def is_worse(
    residual: PyTree, reference: Scalar, factor: float | Scalar
) -> Bool[Array, ""]:
    """Whether a residual is not finite, or `factor` times larger than a reference."""
    size = _tree.two_norm(residual)
    return ~(size <= _tree.scale_like(factor, size) * reference)


def ratio(numerator: Scalar, denominator: Scalar) -> Scalar:
    """`numerator / denominator`, and 1 where the denominator is zero."""
    safe = jnp.where(denominator > 0, denominator, 1)
    return jnp.where(denominator > 0, numerator / safe, 1)
