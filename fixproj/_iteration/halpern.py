r"""Halpern iteration, with restarts.

    z_{k+1} = z_0 / (k + 2) + (k + 1) / (k + 2) T(z_k)

Halpern (1967); for nonexpansive T the residual is at most 2 |z_0 - z*| / (k + 1), which
no method of this kind improves on (Lieder, 2021, theorem 2.1). Taking the current point
as a new z_0 whenever the residual has shrunk enough makes the rate linear on sharp
problems (Lu & Yang, 2024, for the linear programs of PDHG).
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree, Scalar

from .. import _tree
from .._check import check_between
from ._iteration import AbstractIteration


class _State(eqx.Module):
    count: Int[Array, ""]  # steps since the anchor
    anchor: PyTree
    reference: Float[Array, ""]  # the residual at the anchor


class Halpern(AbstractIteration):
    """Steps towards `T(z)` that are pulled back to an anchor, ever less.

    The safest choice for a nonexpansive map that is not a contraction: the residual of
    the last iterate, not of an average, has a guaranteed bound.

    Args:
        restart: the current point becomes the anchor once the residual is this fraction
            of the anchor's, a scalar in (0, 1); None never restarts.

    Raises:
        ValueError: if a concrete `restart` is outside (0, 1).

    References:
        B. Halpern (1967), Fixed points of nonexpanding maps. F. Lieder (2021), On the
        convergence rate of the Halpern-iteration.
    """

    restart: float | Scalar | None = 0.2

    def __check_init__(self):
        if self.restart is not None:
            check_between("Halpern", "restart", self.restart, 0, 1)

    def init(self, z: PyTree) -> Any:
        """The start is the first anchor."""
        infinity = jnp.full((), jnp.inf, _tree.norm_dtype(z))
        return _State(jnp.zeros((), jnp.int32), z, infinity)

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """The mean of the anchor and `fz`, with weights 1 to k + 1."""
        size = _tree.two_norm(_tree.subtract(fz, z))
        is_new = state.count == 0
        if self.restart is not None:
            fraction = _tree.scale_like(self.restart, size)
            is_new = is_new | (size <= fraction * state.reference)
        count = jnp.where(is_new, 0, state.count)
        anchor = _tree.where(is_new, z, state.anchor)
        reference = jnp.where(is_new, size, state.reference)
        weight = 1 / (count + 2).astype(size.dtype)
        z_next = jtu.tree_map(
            lambda f, a: f + _tree.scale_like(weight, f) * (a - f), fz, anchor
        )
        return z_next, _State(count + 1, anchor, reference)
