"""Calling a module that may or may not return itself anew."""

from typing import Any


def call(module: Any, *inputs: Any, **options: Any) -> tuple[Any, Any]:
    """Calls a module; what it returns, and the module after the call.

    Args:
        module: any callable.
        inputs: its arguments.
        options: its keyword arguments.

    Returns:
        `(y, module)`: what a module with state returns, and the module as it is where
        it has none.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> layers = [nn.Linear(3, 4).init(0), nn.BatchNorm(4)]
        >>> x = jnp.ones((8, 3))
        >>> for i, layer in enumerate(layers):
        ...     x, layers[i] = nn.call(layer, x)
        >>> x.shape
        (8, 4)
    """
    y = module(*inputs, **options)
    if returns_itself(module, y):
        return y
    return y, module


def returns_itself(module: Any, y: Any) -> bool:
    """Whether what a call returned is an output and the module after it."""
    return type(y) is tuple and len(y) == 2 and type(y[1]) is type(module)
