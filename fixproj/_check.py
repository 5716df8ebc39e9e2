"""Validation of arguments that is shared by the whole package."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp


def is_traced(x: Any) -> bool:
    """Whether the value of `x` is not known yet (it is inside jit, grad or vmap)."""
    return isinstance(x, jax.core.Tracer)


def check_between(
    owner: str, name: str, value: Any, low: float, high: float | None = None
) -> None:
    """A ValueError unless `value` is a scalar with `low < value < high`.

    Only the shape and dtype of a traced value can be checked.
    """
    try:
        is_real = jnp.shape(value) == () and jnp.issubdtype(
            jnp.result_type(value), jnp.floating
        )
    except TypeError:
        is_real = False
    if not is_real and not (isinstance(value, int) and not isinstance(value, bool)):
        raise ValueError(f"{owner}: `{name}` must be a real scalar, got {value!r}.")
    if is_traced(value):
        return
    number = float(value)
    if not low < number or (high is not None and not number < high):
        bounds = f"> {low}" if high is None else f"strictly between {low} and {high}"
        raise ValueError(f"{owner}: `{name}` must be {bounds}, got {number}.")


def check_positive_int(owner: str, name: str, value: Any) -> None:
    """A ValueError unless `value` is a Python integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{owner}: `{name}` must be an integer >= 1, got {value!r}.")
