r"""Alternating cyclic extrapolation.

A cycle of order p applies the map p times, from x_0 to x_p, forms the differences

    D1 = x_1 - x_0,   D2 = x_2 - 2 x_1 + x_0,   D3 = x_3 - 3 x_2 + 3 x_1 - x_0,

and extrapolates with s = |<D_p, D_{p-1}>| / |D_p|^2:

    p = 2:  x = x_0 + 2 s D1 + s^2 D2
    p = 3:  x = x_0 + 3 s D1 + 3 s^2 D2 + s^3 D3

On a linear map with eigenvalue 1 - a that multiplies the error by (1 - s a)^p, so s is
a step length in the manner of Barzilai and Borwein; s = 1 gives x_p. Lepage-Saucier
(2024), Alternating cyclic extrapolation methods for optimization algorithms, equations
(5) to (8).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree, Scalar

from .. import _tree
from .._check import check_between
from ._extrapolation import is_translation, is_worse, ratio, rounding_of
from ._iteration import AbstractIteration


class _State(eqx.Module):
    position: Int[Array, ""]  # among the evaluations of all cycles
    start: PyTree  # x_0 of the cycle
    second: PyTree  # x_1
    plain: PyTree  # x_p of the last cycle, to go back to
    reference: Float[Array, ""]  # residual at the start of the last cycle


class ACX(AbstractIteration):
    """Alternating cyclic extrapolation: step lengths from cycles of 3 and 2 maps.

    Keeps three vectors and takes two inner products a cycle, so its steps cost hardly
    more than the map's, and there is nothing to tune: strong on slow problems with a
    cheap map.

    Args:
        orders: the orders of the cycles, in turn; each is 2 or 3.
        safeguard: an extrapolated point whose residual is more than this many times
            the one at the start of its cycle, or not finite, is given up for the last
            point that the map itself gave.

    Raises:
        ValueError: if `orders` is empty or has another entry than 2 or 3, or a concrete
            `safeguard` is not > 1.

    References:
        N. Lepage-Saucier (2024), Alternating cyclic extrapolation methods for
        optimization algorithms.
    """

    orders: tuple[int, ...] = eqx.field(static=True, default=(3, 3, 2))
    safeguard: float | Scalar = 100.0

    def __check_init__(self):
        if not self.orders or any(p not in (2, 3) for p in self.orders):
            raise ValueError(
                f"ACX: `orders` must be a tuple of 2s and 3s, got {self.orders!r}."
            )
        check_between("ACX", "safeguard", self.safeguard, 1)

    def init(self, z: PyTree) -> Any:
        """The start of the first cycle."""
        return _State(
            position=jnp.zeros((), jnp.int32),
            start=z,
            second=z,
            plain=z,
            reference=jnp.full((), jnp.inf, _tree.norm_dtype(z)),
        )

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """One evaluation of a cycle; the last one extrapolates."""
        # What an evaluation is: the first of a cycle, one in between, or the last of a
        # cycle of order 2 or 3.
        roles = [
            role for p in self.orders for role in ((0, 2) if p == 2 else (0, 1, 3))
        ]
        role = jnp.asarray(roles, jnp.int32)[state.position]
        position = jax.lax.rem(state.position + 1, jnp.int32(len(roles)))
        first = jax.lax.rem(state.position, jnp.int32(len(roles)))

        def begin():
            residual = _tree.subtract(fz, z)
            # Only an extrapolation leaves a finite reference behind.
            rejected = is_worse(residual, state.reference, self.safeguard)
            rejected = rejected & jnp.isfinite(state.reference)
            # From the plain point the same cycle starts again, unconditionally.
            size = jnp.where(rejected, jnp.inf, _tree.two_norm(residual))
            z_next = _tree.where(rejected, state.plain, fz)
            again = jnp.where(rejected, first, position)
            return z_next, _State(again, z, fz, state.plain, size)

        def go_on():
            return fz, _State(
                position, state.start, state.second, state.plain, state.reference
            )

        def extrapolate(order):
            def last():
                points = [state.start, z, fz]
                if order == 3:
                    points = [state.start, state.second, z, fz]
                z_next = _extrapolate(points)
                return z_next, _State(
                    position, state.start, state.second, fz, state.reference
                )

            return last

        branches = [begin, go_on, extrapolate(2), extrapolate(3)]
        return jax.lax.switch(role, branches)


def _extrapolate(points: list[PyTree]) -> PyTree:
    order = len(points) - 1
    differences = [points]
    for _ in range(order):
        last = differences[-1]
        differences.append(
            [_tree.subtract(b, a) for a, b in zip(last[:-1], last[1:], strict=True)]
        )
    # The leading entries are the forward differences at the start of the cycle.
    d = [level[0] for level in differences]
    step = ratio(
        jnp.abs(_tree.inner_product(d[order], d[order - 1])),
        _tree.inner_product(d[order], d[order]),
        is_translation(
            _tree.two_norm(d[order]), _tree.two_norm(d[1]), rounding_of(points[-1])
        ),
    )
    binomial = {2: (1, 2, 1), 3: (1, 3, 3, 1)}[order]

    def combine(*terms):
        s = _tree.scale_like(step, terms[0])
        # Horner's rule in s.
        total = binomial[order] * terms[order]
        for k in range(order - 1, -1, -1):
            total = binomial[k] * terms[k] + s * total
        return total

    return jtu.tree_map(combine, *d)
