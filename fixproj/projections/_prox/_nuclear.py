r"""Nuclear norm: f(X) = w sum of singular values; prox(U S V') = U max(S - s w, 0) V'.

The derivative is that of a spectral function (Lewis and Sendov, 2005), with O = U' dX V
and h(x) = max(x - s w, 0):

    U [ G- o sym(O) + G+ o skew(O) ] V' + (I - U U') dX V diag(h_i / x_i) V'
    G-_ij = (h_i - h_j) / (x_i - x_j),    G+_ij = (h_i + h_j) / (x_i + x_j)

which stays finite where singular values are repeated or zero.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating, broadcast, computing_dtype
from fixproj.projections._function import AbstractFunction, as_step, as_weight


class Nuclear(AbstractFunction):
    """The sum of the singular values of every matrix (the last two axes).

    Args:
        weight: a factor, a scalar or an array that broadcasts to the batch of matrices.

    Raises:
        TypeError: if `weight` is not real.
        ValueError: if it is negative or not finite (a runtime error when traced).

    References:
        J.-F. Cai, E. J. Candes and Z. Shen (2010), A singular value thresholding
        algorithm for matrix completion. A. S. Lewis and H. S. Sendov (2005), Nonsmooth
        analysis of singular values.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Nuclear
        >>> print(Nuclear().prox(jnp.diag(jnp.array([3.0, 0.5]))).round(3) + 0.0)
        [[2. 0.]
         [0. 0.]]
    """

    weight: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0):
        self.weight = as_weight(weight)

    def __call__(self, x: Float[ArrayLike, "... m n"]) -> Float[Array, ""]:
        """Returns the weighted sum of all singular values."""
        x, weight = self._prepare(x)
        return jnp.sum(weight * _sum_of_singular_values(x))

    def prox(
        self, x: Float[ArrayLike, "... m n"], step: Any = 1.0
    ) -> Float[Array, "... m n"]:
        """Returns the matrices with smaller singular values."""
        dtype = as_floating(x, "x").dtype
        x, weight = self._prepare(x)
        threshold = as_step(step, x.dtype) * weight
        if x.shape[-2] < x.shape[-1]:
            z = jnp.swapaxes(_shrink(jnp.swapaxes(x, -1, -2), threshold), -1, -2)
        else:
            z = _shrink(x, threshold)
        return z.astype(dtype)

    def _prepare(self, x):
        x = as_floating(x, "x")
        if x.ndim < 2:
            raise ValueError(f"`x` must be a matrix, or several, got shape {x.shape}.")
        dtype = computing_dtype(x)
        batch = x.shape[:-2]
        target = f"the batch shape {batch} of `x`"
        weight = broadcast("weight", self.weight.astype(dtype), batch, target)
        return x.astype(dtype), weight


def _svd(x):
    return jnp.linalg.svd(x, full_matrices=False)


def _mm(*factors):
    out = factors[0]
    for factor in factors[1:]:
        out = jnp.matmul(out, factor, precision=lax.Precision.HIGHEST)
    return out


@jax.custom_jvp
def _sum_of_singular_values(x: Array) -> Array:
    return jnp.sum(jnp.linalg.svd(x, compute_uv=False), -1)


@_sum_of_singular_values.defjvp
def _sum_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    u, s, vt = _svd(x)
    # On the null space, the subgradient of smallest norm.
    keep = s > float(jnp.finfo(x.dtype).eps) * max(x.shape[-2:]) * s[..., :1]
    polar = _mm(jnp.where(keep[..., None, :], u, 0), vt)
    return jnp.sum(s, -1), jnp.sum(polar * dx, (-2, -1))


@jax.custom_jvp
def _shrink(x: Array, threshold: Array) -> Array:
    u, s, vt = _svd(x)
    h = jnp.maximum(s - threshold[..., None], 0)
    return _mm(u * h[..., None, :], vt)


@_shrink.defjvp
def _shrink_jvp(primals, tangents):
    x, threshold = primals
    dx, dthreshold = tangents
    u, s, vt = _svd(x)
    t = threshold[..., None]
    over = s >= t
    h = jnp.where(over, s - t, 0 * s)
    y = _mm(u * h[..., None, :], vt)
    slope = over.astype(x.dtype)
    si, sj = s[..., :, None], s[..., None, :]
    hi, hj = h[..., :, None], h[..., None, :]
    both = slope[..., :, None] * slope[..., None, :]
    gap, sum_ = si - sj, si + sj
    # Both on the same side of the threshold: exactly 1 or 0, whatever the gap.
    mixed = slope[..., :, None] != slope[..., None, :]
    minus = jnp.where(mixed & (gap != 0), (hi - hj) / jnp.where(gap == 0, 1, gap), both)
    plus = jnp.where(sum_ > 0, (hi + hj) / jnp.where(sum_ > 0, sum_, 1), both)
    ratio = jnp.where(s > 0, h / jnp.where(s > 0, s, 1), slope)
    v, ut = jnp.swapaxes(vt, -1, -2), jnp.swapaxes(u, -1, -2)
    dxv = _mm(dx, v)
    inner = _mm(ut, dxv)
    inner_t = jnp.swapaxes(inner, -1, -2)
    core = minus * (inner + inner_t) / 2 + plus * (inner - inner_t) / 2
    core = core - jnp.expand_dims(slope * dthreshold[..., None], -1) * jnp.eye(
        s.shape[-1], dtype=x.dtype
    )
    outside = (dxv - _mm(u, inner)) * ratio[..., None, :]
    return y, _mm(_mm(u, core) + outside, vt)
