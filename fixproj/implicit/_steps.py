r"""Derivatives through a few steps of the map, taken from the fixed point on.

    y_0 = z,   y_{i+1} = (1 - damping) y_i + damping T(y_i, theta),   dz := dy_k

With M = (1 - damping) I + damping dT/dz this is the truncated Neumann series

    dz = damping (I + M + ... + M^{k-1}) dT/dtheta dtheta

whose error is that of the exact derivative times M^k.
"""

import functools as ft
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .. import _tree


@jax.custom_jvp
def with_derivative_of(z: PyTree, y: PyTree) -> PyTree:
    """The value of `z`, with the derivative of `y`."""
    del y
    return z


@with_derivative_of.defjvp
def _with_derivative_of_jvp(primals, tangents):
    return with_derivative_of(*primals), tangents[1]


def step(
    apply: Callable[[PyTree], PyTree], y: PyTree, damping: float | Scalar
) -> PyTree:
    """One step of the damped map."""
    ty = jtu.tree_map(lambda f, x: f.astype(x.dtype), apply(y), y)
    if isinstance(damping, int | float) and damping == 1:
        return ty
    return _tree.add_scaled(y, damping, _tree.subtract(ty, y))


def unrolled(
    apply: Callable[[PyTree], PyTree],
    z: PyTree,
    steps: int,
    damping: float | Scalar = 1.0,
    checkpoints: int | None = None,
) -> PyTree:
    """`y_k` after `steps` steps, remembering about `2 sqrt(steps)` of them."""

    def body(y, _):
        return step(apply, y, damping), None

    def run(y, length):
        return jax.lax.scan(body, y, None, length=length)[0]

    segments = max(1, round(steps**0.5)) if checkpoints is None else checkpoints
    length = steps // min(segments, steps)
    segment = jax.checkpoint(ft.partial(run, length=length))
    z, _ = jax.lax.scan(
        lambda y, _: (segment(y), None), z, None, length=steps // length
    )
    return run(z, steps % length) if steps % length else z


def steps_to_forget(
    apply: Callable[[PyTree], PyTree], z: PyTree, rtol: float | Scalar, most: int
) -> tuple[Scalar, Scalar]:
    """How many steps until the Jacobian has shrunk a vector to `rtol` of its size.

    Returns:
        The number, and whether it is less than `most` and no power was infinite.
    """
    flat, unravel = _tree.ravel_real(z)
    _, jacobian = jax.linearize(
        lambda flat: _tree.ravel_real(apply(unravel(flat)))[0], flat
    )
    position = jnp.arange(flat.size, dtype=flat.dtype)
    v = jnp.sin(1 + position * position)
    allowed = _tree.scale_like(rtol, v) * _tree.two_norm(v)

    def keep_on(carry):
        v, k = carry
        size = _tree.two_norm(v)
        return (size > allowed) & jnp.isfinite(size) & (k < most)

    v, k = jax.lax.while_loop(
        keep_on, lambda c: (jacobian(c[0]), c[1] + 1), (v, jnp.zeros((), jnp.int32))
    )
    return k, _tree.two_norm(v) <= allowed
