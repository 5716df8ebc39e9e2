"""The interface of a function with a proximal operator, and what its members share.

prox_{s f}(x) = argmin_z  s f(z) + |z - x|^2 / 2
"""

import abc
import functools as ft
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._check import (
    as_floating,
    as_parameter,
    broadcast,
    computing_dtype,
    is_concrete,
    require,
)
from fixproj.projections._weights import check_weight


class AbstractFunction(eqx.Module):
    """A function, possibly with infinite values, and its proximal operator.

    The value is one number: where `x` holds a batch of points, the sum over them.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import AbstractFunction
        >>> class Half(AbstractFunction):
        ...     def __call__(self, x):
        ...         return jnp.sum(x**2) / 2
        ...
        ...     def prox(self, x, step=1.0):
        ...         return x / (1 + step)
        >>> print(Half().prox(jnp.array([2.0, 4.0]), 1.0))
        [1. 2.]
    """

    @abc.abstractmethod
    def __call__(self, x: Any) -> Float[Array, ""]:
        """Returns the value at `x`, a scalar; infinity outside of the domain.

        Args:
            x: the point or points.
        """

    @abc.abstractmethod
    def prox(self, x: Any, step: Any = 1.0) -> Any:
        """Returns the minimiser of `step * f(z) + |z - x|^2 / 2` over z.

        Args:
            x: the point or points.
            step: a positive scalar. A traced one that is not positive gives NaNs.

        Returns:
            The minimiser, with the shapes and dtypes of `x`.
        """


def as_step(step: ArrayLike, dtype: Any) -> Float[Array, ""]:
    """The step as a scalar array; an error, or NaN if it is traced, unless positive."""
    if jnp.shape(step) != ():
        raise ValueError(f"`step` must be a scalar, but has shape {jnp.shape(step)}.")
    check_weight("step", step)
    array = jnp.asarray(step).astype(dtype)
    return array if is_concrete(step) else jnp.where(array > 0, array, jnp.nan)


def as_weight(value: ArrayLike, name: str = "weight") -> Float[Array, "..."]:
    """A parameter that is finite and not negative."""
    return require(
        as_parameter(value, name),
        lambda w: (w >= 0) & jnp.isfinite(w),
        as_parameter(value, name),
        message=f"`{name}` must be finite and not negative.",
    )


def as_positive(value: ArrayLike, name: str) -> Float[Array, "..."]:
    """A parameter that is finite and positive."""
    return require(
        as_parameter(value, name),
        lambda w: (w > 0) & jnp.isfinite(w),
        as_parameter(value, name),
        message=f"`{name}` must be finite and positive.",
    )


def as_signs(value: ArrayLike, name: str) -> Float[Array, "..."]:
    """Labels of two classes."""
    return require(
        as_parameter(value, name),
        lambda t: jnp.abs(t) == 1,
        as_parameter(value, name),
        message=f"`{name}` must be -1 or 1.",
    )


def prox_each(
    x: PyTree, step: ArrayLike, function: Callable, **parameters: Array
) -> PyTree:
    """`function(x, step, *parameters)`, entry by entry, for every leaf of `x`."""

    def one(leaf):
        leaf = as_floating(leaf, "x")
        dtype = computing_dtype(leaf)
        spread = _spread(leaf, dtype, parameters)
        z = function(leaf.astype(dtype), as_step(step, dtype), *spread)
        return z.astype(leaf.dtype)

    return jax.tree.map(one, x)


def total(x: PyTree, function: Callable, **parameters: Array) -> Float[Array, ""]:
    """The sum of `function(x, *parameters)` over the entries of all leaves of `x`."""
    leaves = [as_floating(leaf, "x") for leaf in jax.tree.leaves(x)]
    dtype = computing_dtype(*leaves)
    sums = [
        jnp.sum(function(leaf.astype(dtype), *_spread(leaf, dtype, parameters)))
        for leaf in leaves
    ]
    return ft.reduce(jnp.add, sums, jnp.zeros((), dtype))


def _spread(leaf, dtype, parameters):
    target = f"the shape {leaf.shape} of `x`"
    return [
        broadcast(name, value.astype(dtype), leaf.shape, target)
        for name, value in parameters.items()
    ]


def soft_threshold(x: Array, threshold: Array) -> Array:
    """sign(x) max(|x| - threshold, 0); on the threshold the derivative of outside."""
    # 0 * (...) passes a NaN on.
    inside = 0 * x + 0 * threshold
    shrunk = jnp.where(x <= -threshold, x + threshold, inside)
    return jnp.where(x >= threshold, x - threshold, shrunk)
