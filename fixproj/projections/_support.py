"""Support: {x : x_i = 0 outside a mask}; P(x) = mask * x."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from fixproj.projections._check import as_axis, as_floating, broadcast, position
from fixproj.projections._largest import as_count
from fixproj.projections._set import AbstractSet


class Support(AbstractSet):
    """The points that are zero outside a region.

    For an unknown region of known size take [`fixproj.projections.Sparse`][].

    Args:
        mask: booleans, true inside the region, of a shape that broadcasts to `x` (all
            of `x` is then one point); or the number of entries, counted from the first
            along `axis`, that may differ from zero.
        axis: the axis of `x` along which a point lies; only with a number.

    Raises:
        TypeError: if the mask is neither boolean nor an integer.
        ValueError: if the number is less than 1, or `axis` is given with a mask.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Support
        >>> print(Support(2).project(jnp.array([1.0, 2.0, 3.0])))
        [1. 2. 0.]
        >>> print(Support([True, False, True]).project(jnp.array([1.0, 2.0, 3.0])))
        [1. 0. 3.]
    """

    mask: Bool[Array, "..."] | int
    axis: int | None = eqx.field(static=True)

    def __init__(self, mask: ArrayLike | int, axis: int | None = None):
        if isinstance(mask, int) and not isinstance(mask, bool):
            self.mask = as_count(mask, "mask")
            self.axis = as_axis(-1 if axis is None else axis)
            return
        array = jnp.asarray(mask)
        if array.dtype != jnp.bool_:
            raise TypeError(
                f"`mask` must be boolean or one integer, but has dtype {array.dtype}."
            )
        if axis is not None:
            raise ValueError("`axis` goes with a number of entries, not with a mask.")
        self.mask = array
        self.axis = None

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point.

        Args:
            x: the point or points.

        Returns:
            An array of the shape and dtype of `x`. A NaN stays one.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if the mask does not broadcast to the shape of `x`.
        """
        x = as_floating(x, "x")
        if self.axis is None:
            mask = jnp.asarray(self.mask)
            mask = broadcast("mask", mask, x.shape, f"the shape {x.shape} of `x`")
        else:
            axis = position(self.axis, x)
            shape = [1] * x.ndim
            shape[axis] = x.shape[axis]
            mask = (jnp.arange(x.shape[axis]) < self.mask).reshape(shape)
        return jnp.where(mask | jnp.isnan(x), x, 0)
