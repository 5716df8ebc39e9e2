"""What of a pytree is perturbed: every inexact array, a complex one as two reals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree


class Perturbable(NamedTuple):
    """The perturbed part of a pytree.

    Attributes:
        leaves: real arrays; a complex array of shape (...) is one of shape (2, ...).
        rebuild: real arrays to the whole pytree.
        as_gradient: real arrays to the pytree of a gradient as `jax.grad` returns it,
            with zeros for the arrays that are not perturbed.
    """

    leaves: list[Array]
    rebuild: Callable[[list[Any]], PyTree]
    as_gradient: Callable[[list[Any]], PyTree]


def perturbable(params: PyTree) -> Perturbable:
    """Takes a pytree apart.

    Raises:
        TypeError: if it has no inexact array.
    """
    everything, structure = jtu.tree_flatten(params)
    moving = [i for i, leaf in enumerate(everything) if _is_inexact(leaf)]
    if not moving:
        raise TypeError(
            "params has no floating-point or complex array to perturb; its leaves are "
            f"{[type(leaf).__name__ for leaf in everything]}."
        )
    arrays = [jnp.asarray(everything[i]) for i in moving]
    if sum(array.size for array in arrays) == 0:
        raise ValueError("params has no entries to perturb: all its arrays are empty.")

    def put(values, others):
        new = list(others)
        for i, value in zip(moving, values, strict=True):
            new[i] = value
        return jtu.tree_unflatten(structure, new)

    def rebuild(leaves):
        return put(
            [_join(p, a, 1) for p, a in zip(leaves, arrays, strict=True)], everything
        )

    def as_gradient(leaves):
        zeros = [_zero(leaf) for leaf in everything]
        return put(
            [_join(p, a, -1) for p, a in zip(leaves, arrays, strict=True)], zeros
        )

    leaves = [jnp.stack([a.real, a.imag]) if jnp.iscomplexobj(a) else a for a in arrays]
    return Perturbable(leaves, rebuild, as_gradient)


def _is_inexact(leaf) -> bool:
    if isinstance(leaf, float | complex):
        return True
    return isinstance(leaf, jax.Array | np.ndarray | np.generic) and jnp.issubdtype(
        leaf.dtype, jnp.inexact
    )


def _join(part, array, sign):
    if not jnp.iscomplexobj(array):
        return part
    # numpy stays numpy: a device's driver is handed host arrays.
    if isinstance(part, np.ndarray):
        return part[0] + (1j * sign) * part[1]
    return jax.lax.complex(part[0], sign * part[1])


def _zero(leaf):
    if not isinstance(leaf, jax.Array | np.ndarray):
        return None
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.zeros(leaf.shape, jax.dtypes.float0)
    return jnp.zeros_like(leaf)
