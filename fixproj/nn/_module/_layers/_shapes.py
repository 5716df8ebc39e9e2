"""What layers share: feature counts, the last axis, initial values."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fixproj.nn._module._errors import LayerError


lecun_normal = jax.nn.initializers.lecun_normal()


def default_float():
    """The dtype of new parameters: float32, or float64 while x64 is on."""
    return jnp.result_type(float)


def in_and_out(owner: str, features: tuple) -> tuple[int | None, int]:
    """`(out,)` or `(in, out)` as a pair, None where it is to be inferred.

    Raises:
        TypeError: if there are not one or two positive integers.
    """
    if len(features) not in (1, 2) or not all(_is_size(n) for n in features):
        raise TypeError(
            f"{owner}: expected features_out, or features_in and features_out, as "
            f"positive integers; got {', '.join(map(repr, features)) or 'nothing'}."
        )
    return (None, features[0]) if len(features) == 1 else features


def check_size(owner: str, name: str, value: Any) -> None:
    """A TypeError unless `value` is a positive integer."""
    if not _is_size(value):
        raise TypeError(f"{owner}: {name} must be a positive integer, got {value!r}.")


def window(owner: str, name: str, value: int | Sequence[int], ndim: int | None = None):
    """An integer or a sequence of positive ones as a tuple; `ndim` of them.

    Raises:
        TypeError: if it is none, or has another length.
    """
    if _is_size(value):
        value = (value,) * (ndim or 1)  # pyright: ignore
    if (
        not isinstance(value, Sequence)
        or not all(_is_size(n) for n in value)
        or (ndim is not None and len(value) != ndim)
    ):
        length = "" if ndim is None else f" of length {ndim}"
        raise TypeError(
            f"{owner}: {name} must be a positive integer or a sequence{length} of "
            f"them, got {value!r}."
        )
    return tuple(value)


def check_input(layer: Any, x: Any, features: int | None, min_ndim: int = 1) -> None:
    """A LayerError unless `x` is a floating-point array with that last axis."""
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise LayerError(f"expected an array, got {type(x).__name__}.", layer)
    last = "features" if features is None else str(features)
    leading = "..., " + "_, " * (min_ndim - 1)
    if x.ndim < min_ndim or (features is not None and x.shape[-1] != features):
        raise LayerError(
            f"expected an input of shape ({leading}{last}), got {x.shape}.", layer
        )
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise LayerError(
            f"expected a floating-point input, got {x.dtype}; convert it first.", layer
        )


def trailing(vector: Array, ndim: int) -> Array:
    """A vector over the last of `ndim` axes."""
    return vector.reshape((1,) * (ndim - vector.ndim) + vector.shape)


def _is_size(n) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n > 0
