"""What `fit` and `evaluate` accept as data, as arrays; and what they refuse."""

import itertools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from fixproj.nn._graph import batched, split


def is_pair_of_arrays(data: Any) -> bool:
    """Whether data is `(x, y)` rather than an iterable of batches."""
    return (
        isinstance(data, tuple | list)
        and len(data) == 2
        and all(hasattr(part, "shape") and hasattr(part, "dtype") for part in data)
    )


def as_pair(data: Any, name: str) -> tuple[Array, Array]:
    """Inputs and labels as JAX arrays of one non-zero length.

    NumPy's floats become the default float dtype; JAX arrays stay as they are.

    Args:
        data: inputs and labels, the examples along the first axis of both.
        name: what messages call the pair.

    Returns:
        The two arrays.

    Raises:
        ValueError: if it is no pair, a part has no leading axis or is empty, or the
            lengths differ.
        TypeError: if a part cannot become an array.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(f"{name} must be a pair (x, y), got {type(data).__name__}.")
    x, y = (_as_array(part, f"{name}[{i}]") for i, part in enumerate(data))
    for part, what in ((x, "x"), (y, "y")):
        if part.ndim == 0:
            raise ValueError(f"{name}: {what} must have examples along its first axis.")
    if x.shape[0] != y.shape[0]:
        raise ValueError(
            f"{name}: x and y must have the same length, got {x.shape[0]} and "
            f"{y.shape[0]}."
        )
    if x.shape[0] == 0:
        raise ValueError(f"{name} is empty: x has shape {x.shape}.")
    return x, y


def batches_of(data: Iterable[Any]) -> Iterable[tuple[Array, Array]]:
    """The batches of an iterable, checked one by one."""
    for i, batch in enumerate(data):
        yield as_pair(batch, f"batch {i} of data")


class Peeked:
    """An iterable of batches whose first one was looked at, without losing it.

    It is run through once for that and the first pass, as some shuffle anew each time.

    Attributes:
        first: the first batch, None if there is none.
    """

    def __init__(self, data: Iterable[Any]):
        self._data = data
        self._started: Any = iter(data)
        self.first = next(self._started, None)

    def __iter__(self):
        started, self._started = self._started, None
        if started is None:
            return iter(self._data)
        return started if self.first is None else itertools.chain([self.first], started)


def check_classes(model: PyTree, x: Array, y: Array, name: str) -> None:
    """Raises ValueError if integer labels are not classes of the model's output.

    Out-of-range classes would otherwise be rows without a label, silently.
    """
    if not jnp.issubdtype(y.dtype, jnp.integer) or y.size == 0:
        return
    call = batched(model, x)
    leaves, _, rebuild = split(model)
    out = jax.eval_shape(lambda leaves, x: call(rebuild(leaves), x), leaves, x)
    low, high = int(jnp.min(y)), int(jnp.max(y))
    if y.shape == out.shape[:-1] and not 0 <= low <= high < out.shape[-1]:
        raise ValueError(
            f"{name}: the model has {out.shape[-1]} output classes, so integer labels "
            f"must lie in 0..{out.shape[-1] - 1}; got labels from {low} to {high}."
        )


def _as_array(value: Any, name: str) -> Array:
    if isinstance(value, jax.Array):
        return value
    try:
        array = np.asarray(value)
        if np.issubdtype(array.dtype, np.floating):
            return jnp.asarray(array, jnp.result_type(float))
        return jnp.asarray(array)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be an array, got {type(value).__name__}: {error}."
        ) from error
