"""What solves of programs share."""

from typing import Any

import equinox as eqx
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


def direction(wanted: Array, ray: Float[Array, " k"]) -> Float[Array, " k"]:
    """A certificate of unit size where there is one, else zero."""
    size = jnp.max(jnp.abs(ray), initial=0)
    return jnp.where(wanted, ray / jnp.where(size > 0, size, 1), jnp.zeros_like(ray))
