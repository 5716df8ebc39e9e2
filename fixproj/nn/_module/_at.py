"""Surgery: a model with other values in some places."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import PyTree

from fixproj.nn._module._nothing import is_nothing


class at:  # noqa: N801 - reads as a preposition
    """A place in a model, to look at or to change.

    Args:
        model: any pytree.
        where: `where(model)` is the place: a leaf, a module, or a tuple of places.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).init(0)
        >>> first = nn.at(model, lambda m: m.layers[0].bias)
        >>> first.set(jnp.ones(3)).layers[0].bias
        Array([1., 1., 1.], dtype=float32)
        >>> last = nn.at(model, lambda m: m.layers[1])
        >>> last.apply(lambda m: m.freeze()).layers[1].frozen
        True
    """

    def __init__(self, model: PyTree, where: Callable[[Any], Any]):
        self._model, self._where = model, where

    def get(self) -> Any:
        """What is there."""
        return self._where(self._model)

    def set(self, value: Any) -> Any:
        """The model with this value there; for several places, a tuple of values.

        Raises:
            ValueError: if the place is none of the model's.
        """
        return eqx.tree_at(self._where, self._model, value, is_leaf=_is_empty)

    def apply(self, fn: Callable[[Any], Any]) -> Any:
        """The model with `fn` applied to what is there."""
        return eqx.tree_at(self._where, self._model, replace_fn=fn, is_leaf=_is_empty)


def _is_empty(x) -> bool:
    return x is None or is_nothing(x)
