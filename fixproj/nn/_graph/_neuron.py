r"""The dot products of a layer, one constraint for each, without making their copies.

PJAX's formulation: output (b, o) of Y = X W is a node y = x_b'w_o with copies of its
own of x_b and w_o: B x O x I numbers. But the nearest point of a copy (x, w, y) is

    (x + t w) / (1 - t^2),   (w + t x) / (1 - t^2),

with a scalar t, the root in (-1, 1) of an increasing function of p = x'w, q = |x|^2 +
|w|^2 and y. Every copy stays a combination of its layer's X and W, so four scalars
stand for the two of them,

    x_bo = ll x_b + lr w_o,    w_bo = rl x_b + rr w_o,

and what others ask of the copies are matrix products:

    x_bo'w_bo     = ll rl |x_b|^2 + (ll rr + lr rl) (X W)_bo + lr rr |w_o|^2
    mean_o x_bo   = x_b mean_o(ll) + (lr W')_b / O
    mean_b w_bo   = w_o mean_b(rr) + (X' rl)_o / B.

Projections from copies that agree (alternating and cyclic projections) are exact.
Methods that add and reflect points (Douglas-Rachford) do so with the scalars and with
X, W separately: their copies move along with the frame (X, W), an approximation.

The scalar equation: Elser, "Learning without loss" (2021), section 3.1.
"""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fixproj.projections._bilinear import _distance_to_pole


class Copies(eqx.Module):
    """Copies of the factors of a product, see above; G products side by side.

    A factor that cannot move is not part of the state: it is None.
    """

    left: Float[Array, "G B I"] | None
    right: Float[Array, "G I O"] | None
    ll: Float[Array, "G B O"]
    lr: Float[Array, "G B O"]
    rl: Float[Array, "G B O"]
    rr: Float[Array, "G B O"]

    def frame(self, left: bool, right: bool) -> "Copies":
        """The factors asked for alone, None for all else."""
        nothing: Any = None
        return Copies(
            self.left if left else None,
            self.right if right else None,
            nothing,
            nothing,
            nothing,
            nothing,
        )


class Form:
    """The permutations that make a dot_general a stack of products of two matrices."""

    def __init__(self, operation):
        contract, batch = operation.params["dimension_numbers"]
        shapes = [aval.shape for aval in operation.avals[:2]]
        self.out = operation.out_avals[0].shape
        self.orders, self.kept = [], []
        for shape, inner, outer in zip(shapes, contract, batch, strict=True):
            kept = [i for i in range(len(shape)) if i not in (*inner, *outer)]
            self.kept.append(math.prod(shape[i] for i in kept))
            middle = [kept, list(inner)] if not self.orders else [list(inner), kept]
            self.orders.append([*outer, *middle[0], *middle[1]])
        self.shapes = shapes
        self.groups = math.prod(shapes[0][i] for i in batch[0])
        self.inner = math.prod(shapes[0][i] for i in contract[0])

    def matrix(self, operand: Array, side: int) -> Array:
        """(G, B, I) or (G, I, O)."""
        moved = operand.transpose(self.orders[side])
        sizes = (self.kept[0], self.inner) if side == 0 else (self.inner, self.kept[1])
        return moved.reshape(self.groups, *sizes)

    def operand(self, matrix: Array, side: int) -> Array:
        """The inverse of `matrix`."""
        order = self.orders[side]
        moved = matrix.reshape([self.shapes[side][i] for i in order])
        return moved.transpose(np.argsort(order))

    def product(self, output: Array) -> Array:
        """The output of the dot_general as (G, B, O)."""
        return output.reshape(self.groups, *self.kept)


def agreeing(form: Form, left: Array, right: Array, free) -> Copies:
    """Copies that are all equal to the operands."""
    copies = agreeing_matrices(form.matrix(left, 0), form.matrix(right, 1))
    return dataclasses.replace(
        copies,
        left=copies.left if free[0] else None,
        right=copies.right if free[1] else None,
    )


def agreeing_matrices(x: Array, w: Array) -> Copies:
    """`agreeing` for X and W."""
    one = jnp.ones((*x.shape[:2], w.shape[2]), x.dtype)
    zero = jnp.zeros_like(one)
    return Copies(x, w, one, zero, zero, one)


def _inner_products(copies: Copies, x, w):
    """|x_b|^2, x_b'w_o and |w_o|^2."""
    return (
        jnp.sum(x**2, axis=2, keepdims=True),
        jnp.matmul(x, w),
        jnp.sum(w**2, axis=1, keepdims=True),
    )


def value(copies: Copies, x: Array, w: Array) -> Array:
    """The inner product of every pair of copies, (G, B, O)."""
    xx, p, ww = _inner_products(copies, x, w)
    mixed = copies.ll * copies.rr + copies.lr * copies.rl
    return copies.ll * copies.rl * xx + mixed * p + copies.lr * copies.rr * ww


def mean_left(copies: Copies, x: Array, w: Array) -> Array:
    """The mean of the copies of each x_b."""
    share = jnp.mean(copies.ll, axis=2, keepdims=True)
    return x * share + jnp.matmul(copies.lr, w.swapaxes(1, 2)) / w.shape[2]


def mean_right(copies: Copies, x: Array, w: Array) -> Array:
    """The mean of the copies of each w_o."""
    share = jnp.mean(copies.rr, axis=1, keepdims=True)
    return w * share + jnp.matmul(x.swapaxes(1, 2), copies.rl) / x.shape[1]


def project(
    copies: Copies,
    x: Array,
    w: Array,
    wanted: Array,
    free: tuple[bool, bool],
    output_weight: Any,
    newton: int | None,
) -> Copies:
    """Projects every pair of copies, with its product wanted at `wanted`.

    Args:
        copies: the copies.
        x: their X.
        w: their W.
        wanted: the values, (G, B, O).
        free: which factor may move.
        output_weight: weight of the product in the metric, 1 for each copy.
        newton: if given, that many Newton steps from t = 0 (PJAX's, which may end
            short of the root or beyond it); None solves the equation safely.
    """
    ll, lr, rl, rr = copies.ll, copies.lr, copies.rl, copies.rr
    xx, p, ww = _inner_products(copies, x, w)
    inner = ll * rl * xx + (ll * rr + lr * rl) * p + lr * rr * ww
    left = ll**2 * xx + 2 * ll * lr * p + lr**2 * ww
    right = rl**2 * xx + 2 * rl * rr * p + rr**2 * ww
    if not all(free):
        # An affine set: the one that moves does so along the other.
        other = left if free[1] else right
        t = (wanted - inner) / (1 / jnp.asarray(output_weight, x.dtype) + other)
        if free[1]:
            return Copies(None, copies.right, ll, lr, rl + t * ll, rr + t * lr)
        return Copies(copies.left, None, ll + t * rl, lr + t * rr, rl, rr)
    if newton is None:
        t = nearest_multiplier(inner, left + right, wanted, output_weight)
    else:
        t = newton_multiplier(inner, left + right, wanted, newton)
    scale = 1 / (1 - t**2)
    return Copies(
        copies.left,
        copies.right,
        (ll + t * rl) * scale,
        (lr + t * rr) * scale,
        (rl + t * ll) * scale,
        (rr + t * lr) * scale,
    )


def newton_multiplier(p: Array, q: Array, y: Array, steps: int) -> Array:
    """Newton's iteration for t from 0, without a safeguard."""

    def step(_, t):
        room = 1 - t**2
        bulk = (1 + t**2) * p + t * q
        value = bulk / room**2 - y + t
        slope = (2 * t * p + q) / room**2 + 4 * t * bulk / room**3 + 1
        return t - value / slope

    return jax.lax.fori_loop(0, steps, step, jnp.zeros_like(p), unroll=True)


def nearest_multiplier(p: Array, q: Array, y: Array, output_weight: Any) -> Array:
    """The root t, by a bracketed Newton iteration from a bound beside the pole."""
    plus, minus = jnp.maximum(q + 2 * p, 0) / 4, jnp.maximum(q - 2 * p, 0) / 4
    # The problem is symmetric under w -> -w, y -> -y; take the nearer of the poles.
    flip = plus - minus > y
    near, far = jnp.where(flip, minus, plus), jnp.where(flip, plus, minus)
    bend = jnp.ones_like(p) / jnp.asarray(output_weight, p.dtype)
    distance, _ = _distance_to_pole(near, far, jnp.where(flip, -y, y), bend)
    # Where both vectors vanish no direction is better than another: they stay.
    distance = jnp.clip(distance, jnp.finfo(p.dtype).eps, 1)
    t = jnp.where(flip, distance - 1, 1 - distance)
    return jnp.where(near > 0, t, jnp.clip(t, -0.5, 0.5))
