r"""Anderson acceleration (type II) with limited memory.

With r_k = T(z_k) - z_k, and the last differences as columns of

    R = [r_k - r_{k-1}, ..., r_{k-m+1} - r_{k-m}],    F likewise of T(z_k),

    gamma   = argmin |r_k - R gamma|
    z_{k+1} = T(z_k) - F gamma - (1 - mixing) (r_k - R gamma)

Anderson (1965); Walker & Ni (2011), equations (2.1) to (2.5). The least squares are
solved through the m x m Gram matrix of R, scaled to a unit diagonal, of which a step
renews one row: 2m inner products and one combination of m vectors are all it costs, and
the elimination is a few vector operations on registers (no LAPACK call, which would
stall a loop on an accelerator).
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
    count: Int[Array, ""]  # pairs seen since the last restart
    fz: PyTree
    residual: PyTree
    fz_differences: PyTree  # leaves (memory, *shape): a ring buffer
    residual_differences: PyTree
    gram: Float[Array, "memory memory"]
    best: Float[Array, ""]


class Anderson(AbstractIteration):
    """Anderson acceleration: the next point from a least-squares fit of past residuals.

    Args:
        memory: how many differences are kept (m), at most one for each unknown. The
            state holds `2 * memory + 2` vectors of the size of `z`.
        mixing: how much of the combined residual is added (beta in the literature), a
            scalar > 0; 1 is the undamped choice.
        regularisation: Tikhonov term relative to the scaled Gram matrix; None takes 10
            machine epsilons of the dtype in which inner products are taken.
        safeguard: a point whose residual is more than this many times the best one, or
            not finite, is given up: the memory is cleared, and the iteration goes on
            from the map's value at the point before.

    Raises:
        ValueError: if `memory` is not an integer >= 1, or a concrete `mixing`,
            `regularisation` or `safeguard` is out of range.

    References:
        D. G. Anderson (1965), Iterative procedures for nonlinear integral equations.
        H. F. Walker and P. Ni (2011), Anderson acceleration for fixed-point iterations.
    """

    memory: int = eqx.field(static=True, default=5)
    mixing: float | Scalar = 1.0
    regularisation: float | Scalar | None = None
    safeguard: float | Scalar = 1e3

    def __check_init__(self):
        check_positive_int("Anderson", "memory", self.memory)
        check_between("Anderson", "mixing", self.mixing, 0)
        check_between("Anderson", "safeguard", self.safeguard, 1)
        if self.regularisation is not None:
            check_between("Anderson", "regularisation", self.regularisation, 0)

    def init(self, z: PyTree) -> _State:
        """Empty memory."""
        zeros = jtu.tree_map(jnp.zeros_like, z)
        # More differences than unknowns are dependent: their weights would be noise.
        memory = max(1, min(self.memory, _tree.real_size(z)))
        history = jtu.tree_map(lambda x: jnp.zeros((memory, *x.shape), x.dtype), z)
        dtype = _tree.norm_dtype(z)
        return _State(
            count=jnp.zeros((), jnp.int32),
            fz=zeros,
            residual=zeros,
            fz_differences=history,
            residual_differences=history,
            gram=jnp.zeros((memory, memory), dtype),
            best=jnp.full((), jnp.inf, dtype),
        )

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """One accelerated step."""
        residual = _tree.subtract(fz, z)
        size = _tree.two_norm(residual)
        limit = _tree.scale_like(self.safeguard, size) * state.best
        rejected = ~(size <= limit) & (state.count != _RETREATED)
        given_up = ~jnp.isfinite(size) & (state.count == _RETREATED)
        # The history must stay finite: a weight of zero does not silence a NaN.
        usable = jnp.isfinite(size)
        fz = _tree.where(usable | given_up, fz, state.fz)
        residual = _tree.where(usable, residual, state.residual)
        # The first pair after a restart has no predecessor: what it writes into the
        # ring is overwritten before `count` lets anyone read it.
        memory = state.gram.shape[0]
        count = jnp.maximum(state.count, 0)
        slot = jax.lax.rem(count + (memory - 1), jnp.full_like(count, memory))

        def push(history, new, old):
            return jax.lax.dynamic_update_index_in_dim(history, new - old, slot, 0)

        fz_differences = jtu.tree_map(push, state.fz_differences, fz, state.fz)
        newest = _tree.subtract(residual, state.residual)
        residual_differences = jtu.tree_map(
            lambda history, new: jax.lax.dynamic_update_index_in_dim(
                history, new, slot, 0
            ),
            state.residual_differences,
            newest,
        )
        # Both products in one pass over the history, which is most of a step's cost.
        products = _tree.stacked_inner_products(
            residual_differences, (newest, residual)
        )
        row, target = products[:, 0], products[:, 1]
        here = jnp.arange(memory, dtype=slot.dtype) == slot
        gram = jnp.where(here[None, :], row[:, None], state.gram)
        gram = jnp.where(here[:, None], row[None, :], gram)
        # A difference of residuals that is all rounding would ask for a huge weight.
        noise = rounding_of(fz)
        used = jnp.arange(memory, dtype=count.dtype) < count
        used = used & (jnp.diagonal(gram) > noise**2)
        gamma = _solve_scaled(gram, target, used, count, self._ridge(gram.dtype))

        def combine(f, r, f_differences, r_differences):
            differences = f_differences
            if not _is_one(self.mixing):
                loss = 1 - _tree.scale_like(self.mixing, f)
                f = f - loss * r
                differences = differences - loss * r_differences
            return f - jnp.tensordot(gamma.astype(f.dtype), differences, axes=1)

        z_next = jtu.tree_map(
            combine, fz, residual, fz_differences, residual_differences
        )
        z_next = _tree.where(rejected, state.fz, z_next)
        return z_next, _State(
            count=jnp.where(rejected, _RETREATED, count + 1),
            fz=fz,
            residual=residual,
            fz_differences=fz_differences,
            residual_differences=residual_differences,
            gram=gram,
            best=jnp.where(rejected, jnp.inf, jnp.minimum(size, state.best)),
        )

    def _ridge(self, dtype: Any) -> Any:
        if self.regularisation is None:
            return 10 * float(jnp.finfo(dtype).eps)
        return self.regularisation


def _is_one(x: Any) -> bool:
    return isinstance(x, int | float) and x == 1


def _solve_scaled(gram, target, used, count, ridge):
    """(D G D + ridge I) w = D target, gamma = D w, with D the inverse column norms.

    Columns that are not used get no weight; none from `count` on are.
    """
    memory = gram.shape[0]
    diagonal = jnp.where(used, jnp.diagonal(gram), 1)
    scale = jnp.where(used, 1 / jnp.sqrt(diagonal), 0)
    identity = jnp.eye(memory, dtype=bool)
    matrix = jnp.where(identity, 1 + ridge, gram * scale[:, None] * scale[None, :])
    system = jnp.concatenate([matrix, (target * scale)[:, None]], axis=1)

    def eliminate(j, system):
        # Gauss-Jordan without exchange is stable for a positive definite matrix; the
        # floor is for a pivot that rounding made negative.
        row = jax.lax.dynamic_index_in_dim(system, j, 0, keepdims=False)
        column = jax.lax.dynamic_index_in_dim(system, j, 1, keepdims=True)
        row = row / jnp.maximum(row[j], ridge)
        this = jax.lax.dynamic_index_in_dim(identity, j, 1, keepdims=True)
        return jnp.where(this, row[None, :], system - column * row[None, :])

    # A bound that is not a constant also keeps the compiler from unrolling this, which
    # would take it longer than all the rest of a solve.
    system = jax.lax.fori_loop(0, jnp.minimum(count, memory), eliminate, system)
    return system[:, -1] * scale
