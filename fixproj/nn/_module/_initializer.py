"""`Initializer`: the value of a field that is not known yet."""

import inspect
from collections.abc import Callable
from typing import Any


class Initializer:
    """A leaf that `Module.init` replaces by a value.

    Args:
        fn: `fn(key)` gives the value. With more parameters, `fn(key, x)`, it is also
            given what the module is called with, as arrays of which only shape and
            dtype are known; then `init` needs an example: `model.init(key, x)`.

    Raises:
        TypeError: if `fn` is not a function of at least one argument.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from fixproj import nn
        >>> class Linear(nn.Module):
        ...     w: nn.Parameter
        ...     def __init__(self, features):
        ...         self.w = nn.Initializer(
        ...             lambda key, x: jax.random.normal(key, (x.shape[-1], features))
        ...         )
        ...     def __call__(self, x):
        ...         return x @ self.w
        >>> Linear(3).init(jax.random.key(0), jnp.ones((8, 5))).w.shape
        (5, 3)
    """

    __slots__ = ("fn", "needs_input")
    fn: Callable[..., Any]
    needs_input: bool

    def __init__(self, fn: Callable[..., Any]):
        if not callable(fn):
            raise TypeError(
                f"Initializer: fn must be a function of a key, got {type(fn).__name__}."
            )
        self.fn = fn
        self.needs_input = _needs_input(fn)

    def __repr__(self):
        return "Initializer"


def _needs_input(fn) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.default is p.empty
    ]
    star = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if not positional and not star:
        raise TypeError("Initializer: fn must take a key.")
    return len(positional) > 1 or star
