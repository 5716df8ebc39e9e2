"""What accelerations share: when a difference, or a point, is not to be trusted."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree, Scalar

from .. import _tree


def is_worse(
    residual: PyTree, reference: Scalar, factor: float | Scalar
) -> Bool[Array, ""]:
    """Whether a residual is not finite, or `factor` times larger than a reference."""
    size = _tree.two_norm(residual)
    return ~(size <= _tree.scale_like(factor, size) * reference)


def rounding_of(z: PyTree) -> Scalar:
    """A norm below which a difference of vectors like `z` may be rounding alone.

    Dividing by such a difference sends an iterate so far away that T(z) = z in floating
    point, as y + 1 = y for y = 1e17.
    """
    return 4 * _tree.coarsest_epsilon(z) * _tree.two_norm(z)


def rounding_error(z: PyTree) -> Scalar:
    """The norm of the errors of rounding `z` to nearest: eps |z| / sqrt(12).

    In the mean square. A difference may be smaller and still tell something; if it is
    divided by, this has to be allowed for.
    """
    return _tree.coarsest_epsilon(z) / 12**0.5 * _tree.two_norm(z)


def ratio(
    numerator: Scalar, denominator: Scalar, is_rounding: Bool[Array, ""]
) -> Scalar:
    """`numerator / denominator`, and 1 where that is no number or means nothing."""
    usable = (denominator > 0) & ~is_rounding
    return jnp.where(usable, numerator / jnp.where(usable, denominator, 1), 1)


def is_translation(higher: Scalar, first: Scalar, rounding: Scalar) -> Bool[Array, ""]:
    """Whether a higher difference is all rounding though the first is far above it.

    Close to a fixed point both are small, and a crude step length does no harm.
    """
    return (higher <= rounding) & (first > 30 * rounding)
