r"""Matrices of bounded rank: {X : rank X <= r}; P(X) = U diag(s_1..s_r, 0..) V^H.

C. Eckart and G. Young, "The approximation of one matrix by another of lower rank"
(1936). The derivative between a kept and a dropped singular value has the weights
s_i / (s_i - s_j) and s_i / (s_i + s_j): it grows without bound as the two approach.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact

from fixproj.projections._set import AbstractSet
from fixproj.projections._spectral import (
    adjoint,
    as_matrices,
    compose,
    singular_value_derivative,
    widened,
)


class LowRank(AbstractSet):
    """The matrices whose rank is at most a number.

    The set is not convex. Where the singular values at the cut are equal the nearest
    point is not unique, and one of them is returned; the derivative there leaves out
    the rotation between the two, and is finite.

    Args:
        rank: the largest rank, an integer >= 0.

    Raises:
        TypeError: if `rank` is not an integer.
        ValueError: if it is negative.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import LowRank
        >>> print(LowRank(1).project(jnp.diag(jnp.array([1.0, 3.0]))).round(4))
        [[0. 0.]
         [0. 3.]]
    """

    rank: int = eqx.field(static=True)
    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def __init__(self, rank: int):
        if isinstance(rank, bool) or not isinstance(rank, int):
            raise TypeError(f"`rank` must be an integer, but was {rank!r}.")
        if rank < 0:
            raise ValueError(f"`rank` must not be negative, but was {rank}.")
        self.rank = rank

    def project(self, x: Inexact[ArrayLike, "... m n"]) -> Inexact[Array, "... m n"]:
        """Returns a nearest matrix of that rank.

        Args:
            x: the matrix or matrices, in the last two axes, real or complex.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if `x` has fewer than two axes.
        """
        x = as_matrices(x)
        if min(x.shape[-2:]) <= self.rank:
            return x
        return _project(self.rank, widened(x)).astype(x.dtype)


def _parts(rank, x):
    u, values, vh = jnp.linalg.svd(x, full_matrices=False)
    kept = jnp.broadcast_to(jnp.arange(values.shape[-1]) < rank, values.shape)
    # 0 * s keeps a NaN in sight.
    return u, values, adjoint(vh), kept, jnp.where(kept, values, 0 * values)


def _project_primal(rank, x):
    u, _, v, _, mapped = _parts(rank, x)
    return compose(u, mapped, v)


_project = jax.custom_jvp(_project_primal, nondiff_argnums=(0,))


@_project.defjvp
def _project_jvp(rank, primals, tangents):
    (x,), (dx,) = primals, tangents
    u, values, v, kept, mapped = _parts(rank, x)
    gap = values[..., :, None] - values[..., None, :]
    rise = mapped[..., :, None] - mapped[..., None, :]
    same = kept[..., :, None] == kept[..., None, :]
    both = (kept[..., :, None] & kept[..., None, :]).astype(values.dtype)
    mixed = jnp.where(gap == 0, 0, rise / jnp.where(gap == 0, 1, gap))
    change = singular_value_derivative(
        u,
        values,
        v,
        mapped,
        jnp.where(same, both, mixed),
        kept.astype(values.dtype),
        dx,
        lambda d: jnp.where(kept, d, 0),
    )
    return compose(u, mapped, v), change
