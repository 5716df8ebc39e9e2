r"""Anisotropic total variation of an image: f(x) = w sum |differences of neighbours|.

The dual problem, with c = s w and D the differences of neighbours in both directions,

    min |x - D'u|^2 / 2   over  |u_e| <= c,        prox(x) = x - D'u,

is solved by accelerated projected gradients (Beck and Teboulle, 2009) that restart when
the momentum points uphill. The edges with |u_e| < c join pixels to regions of one
value. Given those it is linear in x and c: on a region S

    z = mean over S of (x - c D' sign(u) on the other edges)

which gives the last digits and all derivatives.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating, broadcast, computing_dtype
from fixproj.projections._function import AbstractFunction, as_step, as_weight


_MAX_STEPS = 20_000


class TV2D(AbstractFunction):
    """Anisotropic total variation of images: the last two axes.

    For the isotropic one use `L2` after a linear map, in a `fixproj.Composite`.

    Args:
        weight: a factor, a scalar or an array that broadcasts to the batch of images.

    Raises:
        TypeError: if `weight` is not real.
        ValueError: if it is negative or not finite (a runtime error when traced).

    References:
        A. Beck and M. Teboulle (2009), Fast gradient-based algorithms for constrained
        total variation image denoising and deblurring problems.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import TV2D
        >>> f = TV2D()
        >>> print(f.prox(jnp.array([[0.0, 0.0], [8.0, 8.0]])))
        [[1. 1.]
         [7. 7.]]
    """

    weight: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0):
        self.weight = as_weight(weight)

    def __call__(self, x: Float[ArrayLike, "... m n"]) -> Float[Array, ""]:
        """Returns the weighted sum of the moduli of all differences."""
        x, weight = self._prepare(x)
        down, across = _differences(x)
        value = jnp.sum(jnp.abs(down), (-2, -1)) + jnp.sum(jnp.abs(across), (-2, -1))
        return jnp.sum(weight * value)

    def prox(
        self, x: Float[ArrayLike, "... m n"], step: Any = 1.0
    ) -> Float[Array, "... m n"]:
        """Returns the minimiser."""
        dtype = as_floating(x, "x").dtype
        x, weight = self._prepare(x)
        if x.size == 0:
            return x.astype(dtype)
        strength = as_step(step, x.dtype) * weight
        images = x.reshape(-1, *x.shape[-2:])
        z = jax.vmap(_denoise)(images, strength.reshape(-1))
        return z.reshape(x.shape).astype(dtype)

    def _prepare(self, x):
        x = as_floating(x, "x")
        if x.ndim < 2:
            raise ValueError(f"`x` must be an image, or several, got shape {x.shape}.")
        dtype = computing_dtype(x)
        batch = x.shape[:-2]
        target = f"the batch shape {batch} of `x`"
        weight = broadcast("weight", self.weight.astype(dtype), batch, target)
        return x.astype(dtype), weight


def _differences(x):
    return jnp.diff(x, axis=-2), jnp.diff(x, axis=-1)


def _adjoint(u):
    """D'u for u = (down, across)."""
    down, across = u
    rows = -jnp.diff(jnp.pad(down, ((1, 1), (0, 0))), axis=0)
    return rows - jnp.diff(jnp.pad(across, ((0, 0), (1, 1))), axis=1)


def _denoise(x, strength):
    offset = lax.stop_gradient(jnp.mean(x))
    x = x - offset
    u = _solve_dual(*lax.stop_gradient((x, strength)))
    approximate = lax.stop_gradient(x) - _adjoint(u)
    c = lax.stop_gradient(strength)
    signs = jax.tree.map(lambda e: jnp.where(jnp.abs(e) >= c, jnp.sign(e), 0), u)
    region = _regions(jax.tree.map(lambda s: s == 0, signs), x.shape)
    pulled = (x - strength * _adjoint(signs)).reshape(-1)
    sums = jax.ops.segment_sum(pulled, region, x.size)
    sizes = jax.ops.segment_sum(jnp.ones_like(pulled), region, x.size)
    exact = (sums / jnp.maximum(sizes, 1))[region].reshape(x.shape)
    # Regions that the dual solution has not settled yet must not decide the value.
    settled = jnp.max(jnp.abs(exact - approximate)) <= 1e-3 * c
    value = jnp.where(settled, exact, approximate + exact - lax.stop_gradient(exact))
    bad = ~jnp.isfinite(jnp.sum(x) + strength)
    return jnp.where(bad, jnp.nan, value + offset)


def _solve_dual(x, c):
    eps = float(jnp.finfo(x.dtype).eps)
    shrink = lambda u: jax.tree.map(lambda e: jnp.clip(e, -c, c), u)
    scale = jnp.max(jnp.abs(x)) + c

    def body(state):
        u, v, age, _, count = state
        gradient = _differences(x - _adjoint(v))
        new = shrink(jax.tree.map(lambda e, g: e + g / 8, v, gradient))
        change = jax.tree.map(jnp.subtract, new, u)
        error = jax.tree.map(jnp.subtract, v, new)
        uphill = sum(map(jnp.vdot, jax.tree.leaves(error), jax.tree.leaves(change))) > 0
        age = jnp.where(uphill, 0, age + 1)
        momentum = age / (age + 3)
        ahead = jax.tree.map(lambda n, d: n + momentum * d, new, change)
        moved = jnp.max(jnp.stack([jnp.max(jnp.abs(e), initial=0) for e in error]))
        return new, ahead, age, moved, count + 1

    def unfinished(state):
        *_, moved, count = state
        return (moved > 4 * eps * scale) & (count < _MAX_STEPS)

    zero = jax.tree.map(jnp.zeros_like, _differences(x))
    start = (zero, zero, jnp.zeros((), x.dtype), jnp.full((), jnp.inf, x.dtype), 0)
    return lax.while_loop(unfinished, body, start)[0]


def _regions(joined, shape):
    """The smallest index of a pixel in the region of every pixel."""
    down, across = joined
    size = shape[0] * shape[1]

    def sweep(state):
        label, _ = state
        grid = label.reshape(shape)
        far = size
        up = jnp.where(down, grid[:-1], far), jnp.where(down, grid[1:], far)
        left = jnp.where(across, grid[:, :-1], far), jnp.where(across, grid[:, 1:], far)
        pad = lambda e, widths: jnp.pad(e, widths, constant_values=far)
        best = jnp.minimum(pad(up[0], ((1, 0), (0, 0))), pad(up[1], ((0, 1), (0, 0))))
        best = jnp.minimum(best, pad(left[0], ((0, 0), (1, 0))))
        best = jnp.minimum(best, pad(left[1], ((0, 0), (0, 1))))
        new = jnp.minimum(grid, best).reshape(-1)
        # Following pointers doubles the reach of every sweep.
        new = new[new]
        return new, jnp.any(new != label)

    start = (jnp.arange(size, dtype=jnp.int32), jnp.array(True))
    return lax.while_loop(lambda state: state[1], sweep, start)[0]
