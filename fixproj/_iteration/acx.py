r"""Alternating cyclic extrapolation.

A cycle of order p applies the map p times, from x_0 to x_p, forms the differences

    D1 = x_1 - x_0,   D2 = x_2 - 2 x_1 + x_0,   D3 = x_3 - 3 x_2 + 3 x_1 - x_0,

and extrapolates with s = |<D_p, D_{p-1}>| / |D_p|^2:

    p = 2:  x = x_0 + 2 s D1 + s^2 D2
    p = 3:  x = x_0 + 3 s D1 + 3 s^2 D2 + s^3 D3

On a linear map with eigenvalue 1 - a that multiplies the error by (1 - s a)^p, so s is
a step length in the manner of Barzilai and Borwein; s = 1 gives x_p. Where D_3 is all
rounding, s is taken from D_2 and D_1; where that is, too, s = 1. Lepage-Saucier
(2024), Alternating cyclic extrapolation methods for optimization algorithms, equations
(5) to (8).

With s > 0 an eigenvalue above 1, a < 0, only grows: a saddle of the map is left, never
reached. So when `patience` cycles in turn have brought no smaller residual than the
best one, as many start again from the best point with s = -<D_p, D_{p-1}> / |D_p|^2,
which has the sign of a. After those, s > 0 again until there is a smaller residual.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from .. import _tree
from .._check import check_between, check_positive_int
from .._xla import update_if
from ._extrapolation import ratio
from ._iteration import AbstractIteration


class _State(eqx.Module):
    position: Int[Array, ""]  # among the evaluations of all cycles
    start: PyTree  # x_0 of the cycle; leaves are vectors here
    # x_1 from the first evaluation of a cycle on; before it, x_p of the last cycle, to
    # go back to.
    second: PyTree
    reference: Float[Array, ""]  # residual at the start of the last cycle
    size: Float[Array, ""]  # norm of x_0
    best: Float[Array, ""]  # the smallest residual at the start of a cycle
    best_point: PyTree
    stale: Int[Array, ""]  # cycles since then


class ACX(AbstractIteration):
    """Alternating cyclic extrapolation: step lengths from cycles of 3 and 2 maps.

    Keeps three vectors and takes four inner products a cycle, so its steps cost hardly
    more than the map's, and there is nothing to tune: strong on slow problems with a
    cheap map.

    Args:
        orders: the orders of the cycles, in turn; each is 2 or 3.
        safeguard: an extrapolated point whose residual is more than this many times
            the one at the start of its cycle, or not finite, is given up for the last
            point that the map itself gave.
        patience: after so many cycles without a smaller residual, go back to the best
            point and let step lengths be negative, which leads to fixed points that the
            map itself leaves.

    Raises:
        ValueError: if `orders` is empty or has another entry than 2 or 3, a concrete
            `safeguard` is not > 1, or `patience` is not an integer >= 1.

    References:
        N. Lepage-Saucier (2024), Alternating cyclic extrapolation methods for
        optimization algorithms.
    """

    orders: tuple[int, ...] = eqx.field(static=True, default=(3, 3, 2))
    safeguard: float | Scalar = 100.0
    patience: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        if not self.orders or any(p not in (2, 3) for p in self.orders):
            raise ValueError(
                f"ACX: `orders` must be a tuple of 2s and 3s, got {self.orders!r}."
            )
        check_between("ACX", "safeguard", self.safeguard, 1)
        check_positive_int("ACX", "patience", self.patience)

    def init(self, z: PyTree) -> Any:
        """The start of the first cycle."""
        return _State(
            position=jnp.zeros((), jnp.int32),
            start=_tree.flat(z),
            second=_tree.flat(z),
            reference=jnp.full((), jnp.inf, _tree.norm_dtype(z)),
            size=jnp.zeros((), _tree.norm_dtype(z)),
            best=jnp.full((), jnp.inf, _tree.norm_dtype(z)),
            best_point=_tree.flat(z),
            stale=jnp.zeros((), jnp.int32),
        )

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """One evaluation of a cycle; the last one extrapolates."""
        shape, (z, fz) = z, _tree.flat((z, fz))
        # What an evaluation is: the first of a cycle, one in between, or the last of a
        # cycle of order 2 or 3.
        roles = [
            role for p in self.orders for role in ((0, 2) if p == 2 else (0, 1, 3))
        ]
        role = jnp.asarray(roles, jnp.int32)[state.position]
        position = jax.lax.rem(state.position + 1, jnp.int32(len(roles)))
        infinity = jnp.full_like(state.reference, jnp.inf)

        def begin():
            residual = _tree.two_norm(_tree.subtract(fz, z))
            # Only an extrapolation leaves a finite reference behind.
            limit = _tree.scale_like(self.safeguard, residual) * state.reference
            rejected = ~(residual <= limit) & jnp.isfinite(state.reference)
            return residual, _tree.two_norm(z), rejected

        residual, size, rejected = jax.lax.cond(
            role == 0, begin, lambda: (state.reference, state.size, jnp.array(False))
        )
        improved = (role == 0) & (residual < state.best)
        best = jnp.where(improved, residual, state.best)
        best_point = update_if(improved, lambda _: z, state.best_point)
        stale = jnp.where(improved, 0, state.stale + jnp.int32(role == 0))
        signed = (stale >= self.patience) & (stale < 2 * self.patience)
        back = (role == 0) & (stale == self.patience)
        again = rejected | back
        # From the point returned to, the same cycle starts again, unconditionally.
        reference = jnp.where(again, infinity, residual)
        position = jnp.where(again, state.position, position)

        def enter(carry):
            last, _, second = carry
            first = _tree.where(rejected, second, last)
            first = _tree.where(back, best_point, first)
            return first, z, first

        z_next, start, second = update_if(
            role == 0, enter, (fz, state.start, state.second)
        )
        for order in sorted(set(self.orders)):
            # The last point is the map's value until it is extrapolated.
            def extrapolate(carry, order=order):
                last, second = carry
                points = [start, second, z, last] if order == 3 else [start, z, last]
                return _extrapolate(points, residual, size, signed), last

            z_next, second = update_if(role == order, extrapolate, (z_next, second))
        z_next = _tree.shaped_like(z_next, shape)
        state = _State(
            position, start, second, reference, size, best, best_point, stale
        )
        return z_next, state


def _extrapolate(
    points: list[PyTree], first: Scalar, size: Scalar, signed: Bool[Array, ""]
) -> PyTree:
    """The extrapolated point; `first` is the norm of D1, `size` that of x_0."""
    order = len(points) - 1
    binomial = {2: (1, 2, 1), 3: (1, 3, 3, 1)}[order]
    dtype = _tree.norm_dtype(points[0])

    # Where an evaluation is rounded by at most eps |x| / 2, that is all there is to D2
    # below eps |x|, and to D3 below twice as much, as in y + 1 for a large y. Dividing
    # by it would send x where T(x) = x in floating point.
    rounding = {2: 1.2, 3: 2.4}
    orders = [p for p in rounding if p <= order]

    def products(*x):
        d = _differences(x)
        product = lambda a, b: _tree.real_product(a, b, dtype)
        return tuple(product(d[p], d[q]) for p in orders for q in (p - 1, p))

    found = _tree.folded_sums(products, *points)
    unit = _tree.coarsest_epsilon(points[0]) * (size + order * first)
    step = jnp.ones((), dtype)
    for k, p in enumerate(orders):
        cross, square = found[2 * k : 2 * k + 2]
        tells = square > (rounding[p] * unit) ** 2
        cross = jnp.where(signed, -cross, jnp.abs(cross))
        step = jnp.where(tells, ratio(cross, square, ~tells), step)

    def combine(*x):
        d = _differences(x)
        s = _tree.scale_like(step, x[0])
        # Horner's rule in s.
        total = binomial[order] * d[order]
        for k in range(order - 1, -1, -1):
            total = binomial[k] * d[k] + s * total
        return total

    return jtu.tree_map(combine, *points)


def _differences(x: Sequence[Array]) -> list[Array]:
    """`x_0` and the forward differences of orders 1, 2, ... there."""
    level, leading = list(x), [x[0]]
    while len(level) > 1:
        level = [b - a for a, b in pairwise(level)]
        leading.append(level[0])
    return leading
