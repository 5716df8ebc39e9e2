r"""Broyden's first method with limited memory.

With g(z) = T(z) - z and H_k approximating the inverse of its Jacobian, H_0 = -I:

    s_k     = -H_k g(z_k),   z_{k+1} = z_k + s_k,   y_k = g(z_{k+1}) - g(z_k)
    H_{k+1} = H_k + (s_k - H_k y_k) (s_k' H_k) / (s_k' H_k y_k)

Broyden (1965), with the inverse updated by Sherman & Morrison; the updates are kept as
pairs of vectors, and dropped all together when the memory is full (Kelley, 2003,
Solving Nonlinear Equations with Newton's Method, section 4.3).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree, Scalar

from .. import _tree
from .._check import check_between, check_positive_int
from ._extrapolation import rounding_of
from ._iteration import AbstractIteration


# In place of a count: the point to come is one that the iteration went back to.
_RETREATED = -1


class _State(eqx.Module):
    count: Int[Array, ""]  # pairs since the last restart, of points
    residual: PyTree
    step: PyTree
    lefts: PyTree  # leaves (memory, *shape): H = -I + sum_j left_j right_j'
    rights: PyTree
    best: Float[Array, ""]


class Broyden(AbstractIteration):
    """A quasi-Newton method on `T(z) - z`.

    Args:
        memory: how many updates are kept; when they are used up the approximation
            starts again. The state holds `2 * memory + 2` vectors of the size of `z`.
        safeguard: a point whose residual is more than this many times the best one, or
            not finite, is given up: the approximation starts again, from the map's
            value at the point before.

    Raises:
        ValueError: if `memory` is not an integer >= 1, or a concrete `safeguard` is not
            > 1.

    References:
        C. G. Broyden (1965), A class of methods for solving nonlinear simultaneous
        equations.
    """

    memory: int = eqx.field(static=True, default=10)
    safeguard: float | Scalar = 1e3

    def __check_init__(self):
        check_positive_int("Broyden", "memory", self.memory)
        check_between("Broyden", "safeguard", self.safeguard, 1)

    def init(self, z: PyTree) -> Any:
        """The approximation -I."""
        zeros = jtu.tree_map(jnp.zeros_like, z)
        history = jtu.tree_map(lambda x: jnp.zeros((self.memory, *x.shape), x.dtype), z)
        return _State(
            count=jnp.zeros((), jnp.int32),
            residual=zeros,
            step=zeros,
            lefts=history,
            rights=history,
            best=jnp.full((), jnp.inf, _tree.norm_dtype(z)),
        )

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """The quasi-Newton step, after an update by what the last one showed."""
        residual = _tree.subtract(fz, z)
        size = _tree.two_norm(residual)
        retreated = state.count == _RETREATED
        limit = _tree.scale_like(self.safeguard, size) * state.best
        rejected = ~(size <= limit) & ~retreated
        # The history must stay finite: a weight of zero does not silence a NaN.
        usable = jnp.isfinite(size) | retreated
        plain = _tree.add_scaled(_tree.subtract(z, state.step), 1, state.residual)
        residual = _tree.where(usable, residual, state.residual)
        restart = retreated | (state.count > self.memory)
        count = jnp.where(restart, 0, state.count)

        # Before this update H has count - 1 terms.
        used = jnp.arange(self.memory, dtype=count.dtype) < count - 1
        change = _tree.subtract(residual, state.residual)
        moved = _apply(state.lefts, state.rights, used, change)
        right = _apply(state.rights, state.lefts, used, state.step)
        scale = _tree.inner_product(right, change)
        regular = (count > 0) & (jnp.abs(scale) > 0)
        regular = regular & (_tree.two_norm(change) > rounding_of(fz))
        inverse = jnp.where(regular, 1 / jnp.where(regular, scale, 1), 0)
        left = jtu.tree_map(
            lambda s, m: _tree.scale_like(inverse, s) * (s - m), state.step, moved
        )
        slot = jnp.maximum(count - 1, 0)

        def put(history, new):
            return jax.lax.dynamic_update_index_in_dim(history, new, slot, 0)

        lefts = jtu.tree_map(put, state.lefts, left)
        rights = jtu.tree_map(put, state.rights, right)
        used = jnp.arange(self.memory, dtype=count.dtype) < count
        step = jtu.tree_map(jnp.negative, _apply(lefts, rights, used, residual))
        z_next = _tree.where(rejected, plain, _tree.add_scaled(z, 1, step))
        best = jnp.where(rejected, jnp.inf, jnp.minimum(size, state.best))
        count = jnp.where(rejected, _RETREATED, count + 1)
        return z_next, _State(count, residual, step, lefts, rights, best)


def _apply(lefts, rights, used, x):
    """`(-I + sum_j left_j right_j') x` over the terms that are used."""
    weights = _tree.stacked_inner_products(rights, (x,))[:, 0]
    weights = jnp.where(used, weights, 0)
    return jtu.tree_map(
        lambda history, v: jnp.tensordot(weights.astype(v.dtype), history, axes=1) - v,
        lefts,
        x,
    )
