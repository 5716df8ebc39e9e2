"""Calling an optax transformation on a list of arrays."""

from typing import Any

import equinox as eqx
import jax
import optax
from jaxtyping import Array, PyTree


def check_optimiser(name: str, optimiser: Any) -> None:
    """Raises TypeError unless it has optax's `init` and `update`."""
    if not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        raise TypeError(
            f"{name} must be an optax gradient transformation such as "
            f"optax.adam(1e-3), got {type(optimiser).__name__}."
        )


def descend(
    optimiser: optax.GradientTransformation,
    directions: list[Array],
    state: PyTree,
    leaves: list[Array],
) -> tuple[list[Array], PyTree]:
    """One step of the optimiser along what it takes for a gradient."""
    # optax counts steps in integers and mixes them with floats, which is an error where
    # the user has set strict promotion.
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimiser.update(directions, state, leaves)
        return eqx.apply_updates(leaves, updates), state
