"""Integers that must lie within a table."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from fixproj._check import is_traced
from fixproj.nn._module._errors import LayerError


def checked_ids(layer: Any, ids: Any, count: int) -> Array:
    """The ids, after a check that they are integers from 0 to count - 1.

    Raises:
        LayerError: if they are not; traced values raise when they are run.
    """
    if not hasattr(ids, "dtype") or not jnp.issubdtype(ids.dtype, jnp.integer):
        got = getattr(ids, "dtype", type(ids).__name__)
        raise LayerError(f"expected integers below {count}, got {got}.", layer)
    message = f"expected integers from 0 to {count - 1}"
    bad = jnp.any((ids < 0) | (ids >= count))
    if is_traced(bad):
        return eqx.error_if(ids, bad, f"{type(layer).__name__}: {message}.")
    if bool(bad):
        raise LayerError(f"{message}, got {ids.min()} to {ids.max()}.", layer)
    return jnp.asarray(ids)
