r"""Anderson acceleration (types II and I) with limited memory.

With r_k = T(z_k) - z_k, and the last differences as columns of

    R = [r_k - r_{k-1}, ..., r_{k-m+1} - r_{k-m}],    F likewise of T(z_k),

    gamma   = argmin |r_k - R gamma|
    z_{k+1} = T(z_k) - F gamma - (1 - mixing) (r_k - R gamma)

Anderson (1965); Walker & Ni (2011), equations (2.1) to (2.5). The least squares are
solved through the m x m Gram matrix of R, scaled to a unit diagonal, of which a step
renews one row: m inner products and one combination of m vectors are all it costs, and
the elimination is a few vector operations on registers (no LAPACK call, which would
stall a loop on an accelerator).

Type I approximates the Jacobian of T(z) - z instead of its inverse. With S = F - R, the
differences of the points,

    gamma solves  S' (r_k - R gamma) = 0

Fang & Saad (2009), section 3; Zhang, O'Donoghue & Boyd (2020) make it globally
convergent by a safeguard. For a symmetric linear map it is the method of conjugate
gradients where type II is that of minimal residuals.
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree, Scalar

from .. import _tree
from .._check import check_between, check_positive_int
from .._xla import stored, update_if
from ._extrapolation import is_translation, rounding_error, rounding_of
from ._iteration import AbstractIteration


# In place of a count: the point to come is one that the iteration went back to.
_RETREATED = -1


class _State(eqx.Module):
    count: Int[Array, ""]  # pairs seen since the last restart
    fz: PyTree  # leaves are vectors here
    residual: PyTree
    # Leaves (memory, size), ring buffers: R, and F for type II or S for type I.
    residual_differences: PyTree
    point_differences: PyTree
    gram: Float[Array, "memory memory"]  # R'R, or -S'R for type I
    # Squares of the lengths of the columns of R and, for type I, of S.
    lengths: tuple[Float[Array, " memory"], ...]
    target: Float[Array, " memory"]  # R'r_k, or -S'r_k for type I
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
        period: every how many steps to extrapolate. The plain steps in between (from 2
            on) renew the differences, cost less, and make the method more robust.
        kind: "II" minimises the residual; "I" is a quasi-Newton method on the residual
            (orthogonal to the differences of the points), at 3 products with the
            history a step in place of 2.

    Raises:
        ValueError: if `memory` or `period` is not an integer >= 1, `kind` is neither
            "I" nor "II", or a concrete `mixing`, `regularisation` or `safeguard` is
            out of range.

    References:
        D. G. Anderson (1965), Iterative procedures for nonlinear integral equations.
        H. F. Walker and P. Ni (2011), Anderson acceleration for fixed-point iterations.
        H. Fang and Y. Saad (2009), Two classes of multisecant methods for nonlinear
        acceleration.
        P. P. Pratapa, P. Suryanarayana and J. E. Pask (2016), Anderson acceleration of
        the Jacobi iterative method: an efficient alternative to Krylov methods for
        large, sparse linear systems (the plain steps in between).
        J. Zhang, B. O'Donoghue and S. Boyd (2020), Globally convergent type-I Anderson
        acceleration for nonsmooth fixed-point iterations.
    """

    memory: int = eqx.field(static=True, default=10)
    mixing: float | Scalar = 1.0
    regularisation: float | Scalar | None = None
    safeguard: float | Scalar = 1e3
    period: int = eqx.field(static=True, default=2)
    kind: Literal["II", "I"] = eqx.field(static=True, default="II")

    def __check_init__(self):
        if self.kind not in ("I", "II"):
            raise ValueError(
                f'Anderson: `kind` must be "I" or "II", got {self.kind!r}.'
            )
        check_positive_int("Anderson", "memory", self.memory)
        check_positive_int("Anderson", "period", self.period)
        check_between("Anderson", "mixing", self.mixing, 0)
        check_between("Anderson", "safeguard", self.safeguard, 1)
        if self.regularisation is not None:
            check_between("Anderson", "regularisation", self.regularisation, 0)

    def init(self, z: PyTree) -> _State:
        """Empty memory."""
        zeros = jtu.tree_map(jnp.zeros_like, _tree.flat(z))
        # More differences than unknowns are dependent: their weights would be noise.
        memory = max(1, min(self.memory, _tree.real_size(z)))
        history = jtu.tree_map(lambda x: jnp.zeros((memory, x.size), x.dtype), z)
        dtype = _tree.norm_dtype(z)
        length = jnp.zeros((memory,), dtype)
        return _State(
            count=jnp.zeros((), jnp.int32),
            fz=zeros,
            residual=zeros,
            residual_differences=history,
            point_differences=history,
            gram=jnp.zeros((memory, memory), dtype),
            lengths=(length,) if self.kind == "II" else (length, length),
            target=length,
            best=jnp.full((), jnp.inf, dtype),
        )

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """One accelerated step."""
        shape, (z, fz) = z, _tree.flat((z, fz))
        residual = _tree.subtract(fz, z)
        size = _tree.two_norm(residual)
        limit = _tree.scale_like(self.safeguard, size) * state.best
        rejected = ~(size <= limit) & (state.count != _RETREATED)
        usable = jnp.isfinite(size)
        # The first pair after a restart has no predecessor: what it writes into the
        # ring is overwritten before `count` lets anyone read it.
        memory = state.gram.shape[0]
        count = jnp.maximum(state.count, 0)
        slot = jax.lax.rem(count + (memory - 1), jnp.full_like(count, memory))
        z_plain = fz if _is_one(self.mixing) else self._mixed_point(fz, residual)
        z_plain = stored(_tree.where(rejected, state.fz, z_plain), count)
        r_new = stored(_tree.subtract(residual, state.residual), count)

        def push(carry):
            def put(history, new):
                return jax.lax.dynamic_update_index_in_dim(history, new, slot, 0)

            r_history, x_history, last_fz, _ = carry
            x_new = _tree.subtract(fz, last_fz)
            if self.kind == "I":
                x_new = _tree.subtract(x_new, r_new)
            r_history = jtu.tree_map(put, r_history, r_new)
            return r_history, jtu.tree_map(put, x_history, x_new), fz, residual

        # The history must stay finite: a weight of zero does not silence a NaN.
        r_history, x_history, last_fz, last_residual = update_if(
            usable,
            push,
            (
                state.residual_differences,
                state.point_differences,
                state.fz,
                state.residual,
            ),
        )
        here = jnp.arange(memory, dtype=slot.dtype) == slot
        if self.kind == "II":
            row = column = _tree.stacked_inner_products(r_history, (r_new,))[:, 0]
            new_lengths = (row,)
            new_target = _tree.inner_product(r_new, residual)
        else:
            x_new = jtu.tree_map(
                lambda h: jax.lax.dynamic_index_in_dim(h, slot, 0, keepdims=False),
                x_history,
            )
            column = -_tree.stacked_inner_products(x_history, (r_new,))[:, 0]
            products = _tree.stacked_inner_products(r_history, (x_new, r_new))
            row, r_squares = -products[:, 0], products[:, 1]
            x_square = _tree.inner_product(x_new, x_new)
            new_lengths = (r_squares, jnp.broadcast_to(x_square, (memory,)))
            new_target = -_tree.inner_product(x_new, residual)
        gram = jnp.where(here[None, :], column[:, None], state.gram)
        gram = jnp.where(here[:, None], row[None, :], gram)
        lengths = tuple(
            jnp.where(here, new, old)
            for new, old in zip(new_lengths, state.lengths, strict=True)
        )
        # r_k is r_{k-1} and the newest difference, so the products with the other
        # columns are known.
        target = jnp.where(here, new_target, state.target + column)

        def extrapolate(z_plain):
            # A difference of residuals that is all rounding asks for a huge weight.
            noise = rounding_error(fz) ** 2
            used = jnp.arange(memory, dtype=count.dtype) < count
            used = used & (lengths[0] > noise)
            used = used & ~is_translation(jnp.sqrt(lengths[0]), size, rounding_of(fz))
            ridge = self._ridge(gram.dtype)
            if self.kind == "II":
                gamma = _solve_scaled(
                    gram, target, used, lengths[0], count, ridge, noise
                )
            else:
                used = used & (lengths[1] > 0)
                gamma = _solve_pivoted(gram, target, used, lengths, count, ridge)

            def combine(p, x_differences, r_differences):
                # z + mixing r, and the same of the differences.
                weights = gamma.astype(p.dtype)
                correction = _tree.combination(weights, x_differences)
                if self.kind == "I":
                    more = _tree.combination(weights, r_differences)
                    correction = correction + self._mixed(more)
                elif not _is_one(self.mixing):
                    more = _tree.combination(weights, r_differences)
                    correction = correction + self._mixed(more) - more
                return p - correction

            return jtu.tree_map(combine, z_plain, x_history, r_history)

        due = jax.lax.rem(count + 1, jnp.full_like(count, self.period)) == 0
        z_next = update_if(due & ~rejected, extrapolate, z_plain)
        z_next = _tree.shaped_like(z_next, shape)
        return z_next, _State(
            count=jnp.where(rejected, _RETREATED, count + 1),
            fz=last_fz,
            residual=last_residual,
            residual_differences=r_history,
            point_differences=x_history,
            gram=gram,
            lengths=lengths,
            target=target,
            best=jnp.where(rejected, jnp.inf, jnp.minimum(size, state.best)),
        )

    def _mixed_point(self, fz: PyTree, residual: PyTree) -> PyTree:
        return jtu.tree_map(lambda f, r: f - r + self._mixed(r), fz, residual)

    def _mixed(self, x: Array) -> Array:
        return x if _is_one(self.mixing) else _tree.scale_like(self.mixing, x) * x

    def _ridge(self, dtype: Any) -> Any:
        if self.regularisation is None:
            return 10 * float(jnp.finfo(dtype).eps)
        return self.regularisation


def _is_one(x: Any) -> bool:
    return isinstance(x, int | float) and x == 1


def _scaled(gram, target, used, row_squares, column_squares):
    """The system with rows and columns of length 1; what is not used is cut out."""
    memory = gram.shape[0]
    rows = jnp.where(used, 1 / jnp.sqrt(jnp.where(used, row_squares, 1)), 0)
    columns = jnp.where(used, 1 / jnp.sqrt(jnp.where(used, column_squares, 1)), 0)
    matrix = gram * rows[:, None] * columns[None, :]
    both = used[:, None] & used[None, :]
    matrix = jnp.where(both, matrix, jnp.eye(memory, dtype=gram.dtype))
    return matrix, jnp.where(used, target * rows, 0), columns


def _solve_scaled(gram, target, used, squares, count, ridge, noise):
    """(D (G + noise I) D + ridge I) w = D target, gamma = D w.

    D has the inverse column norms. `noise`, the square of a column's rounding errors,
    is what these add to the mean square of a combination for each unit of weight.
    Columns that are not used get no weight; none from `count` on are.
    """
    matrix, target, scale = _scaled(gram, target, used, squares, squares)
    memory = gram.shape[0]
    identity = jnp.eye(memory, dtype=bool)
    diagonal = 1 + ridge + noise * scale**2
    matrix = jnp.where(identity, diagonal[None, :], matrix)
    system = jnp.concatenate([matrix, target[:, None]], axis=1)

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


def _solve_pivoted(gram, target, used, lengths, count, ridge):
    """The same for type I, whose matrix is neither symmetric nor definite.

    Gauss-Jordan elimination with the largest pivot of each column.
    """
    matrix, target, scale = _scaled(gram, target, used, lengths[1], lengths[0])
    memory = gram.shape[0]
    identity = jnp.eye(memory, dtype=bool)
    matrix = jnp.where(identity, matrix + ridge, matrix)
    system = jnp.concatenate([matrix, target[:, None]], axis=1)
    live = jnp.arange(memory, dtype=count.dtype) < count

    def eliminate(j, carry):
        system, solution, free = carry
        column = jax.lax.dynamic_index_in_dim(system, j, 1, keepdims=False)
        size = jnp.where(free, jnp.abs(column), -1)
        chosen = jnp.argmax(size)
        row = jax.lax.dynamic_index_in_dim(system, chosen, 0, keepdims=False)
        pivot = row[j]
        # A direction in which nothing is known gets no weight.
        usable = jnp.abs(pivot) > ridge
        row = jnp.where(usable, row / jnp.where(usable, pivot, 1), 0)
        this = jnp.arange(memory, dtype=chosen.dtype) == chosen
        rest = system - column[:, None] * row[None, :]
        system = jnp.where(this[:, None] & usable, row[None, :], rest)
        here = jnp.arange(memory, dtype=jnp.int32) == j
        solution = jnp.where(
            here, jnp.where(usable, chosen.astype(jnp.int32), memory), solution
        )
        return system, solution, free & ~(this & usable)

    places = jnp.full((memory,), memory, jnp.int32)
    system, places, _ = jax.lax.fori_loop(
        0, jnp.minimum(count, memory), eliminate, (system, places, live)
    )
    solved = places < memory
    weights = jnp.where(solved, system[jnp.minimum(places, memory - 1), -1], 0)
    return weights * scale
