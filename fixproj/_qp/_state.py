"""What solves of programs share."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class ProgramState(eqx.Module):
    """A primal and dual point, from which a solve of a program can start.

    Attributes:
        x: `(n,)`.
        y: `(m,)`, the multipliers of the rows of `A`.
    """

    x: Float[Array, " n"]
    y: Float[Array, " m"]


def default_rtol(dtype: Any) -> float:
    """The square root of the machine epsilon, for residuals before the polish."""
    return float(jnp.finfo(dtype).eps) ** 0.5


def is_convex(P: Float[Array, "n n"]) -> Array:
    """Whether `P`, scaled to unit diagonal and shifted by rounding, factorises."""
    diagonal = jnp.diagonal(P)
    largest = jnp.max(jnp.abs(P), initial=0)
    epsilon = float(jnp.finfo(P.dtype).eps)
    # A zero on the diagonal allows nothing else in its row.
    least = jnp.where(largest > 0, largest, 1) * epsilon
    scale = 1 / jnp.sqrt(jnp.maximum(diagonal, least))
    shifted = P * scale[:, None] * scale[None, :]
    shifted = shifted + epsilon**0.5 * jnp.eye(P.shape[0], dtype=P.dtype)
    factor = jax.lax.linalg.cholesky(shifted)
    return jnp.all(jnp.isfinite(factor)) & jnp.all(diagonal >= -1e2 * least)


def direction(wanted: Array, ray: Float[Array, " k"]) -> Float[Array, " k"]:
    """A certificate of unit size where there is one, else zero."""
    size = jnp.max(jnp.abs(ray), initial=0)
    return jnp.where(wanted, ray / jnp.where(size > 0, size, 1), jnp.zeros_like(ray))
