"""Penalties on the parameters of a model."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fixproj.nn._module._filter import trainable


def l1(model: PyTree, weight: float = 0.01) -> Array:
    """Weight * sum |p| over the parameters that are not frozen.

    Args:
        model: a model, or a tree of parameters.
        weight: the factor.

    Returns:
        A scalar.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> float(nn.regularisers.l1({"w": jnp.array([1.0, -2.0])}, 1.0))
        3.0
    """
    return _penalty(model, weight, jnp.abs)


def l2(model: PyTree, weight: float = 0.01) -> Array:
    """Weight * sum p^2 over the parameters that are not frozen.

    Args:
        model: a model, or a tree of parameters.
        weight: the factor.

    Returns:
        A scalar.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> float(nn.regularisers.l2({"w": jnp.array([1.0, -2.0])}, 1.0))
        5.0
    """
    return _penalty(model, weight, jax.lax.square)


def l1_l2(model: PyTree, l1_weight: float = 0.01, l2_weight: float = 0.01) -> Array:
    """The sum of `l1` and `l2`.

    Args:
        model: a model, or a tree of parameters.
        l1_weight: the factor of the first.
        l2_weight: the factor of the second.

    Returns:
        A scalar.
    """
    return l1(model, l1_weight) + l2(model, l2_weight)


def _penalty(model, weight, fn):
    sums = [jnp.sum(fn(leaf)) for leaf in jax.tree.leaves(trainable(model))]
    if not sums:
        raise ValueError("The model has no parameters to penalise.")
    widest = max((s.dtype for s in sums), key=lambda dtype: jnp.finfo(dtype).bits)
    return weight * jnp.sum(jnp.stack([s.astype(widest) for s in sums]))
