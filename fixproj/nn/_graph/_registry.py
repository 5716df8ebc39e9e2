"""Which primitives are nodes, and how each is projected."""

from collections.abc import Callable
from typing import Any

from jax.extend.core import Primitive


_RULES: dict[str, Callable] = {}


def register_projection(primitive: Primitive | str) -> Callable:
    """Gives a primitive a projection rule; used as a decorator.

    The rule is called as `rule(operation, inputs, output, displacement, weights)` where
    `output` is the value of the operation at `inputs`, and the point to project is
    `(inputs, output + displacement)`. It returns, for each input, its displacement to
    the nearest point (in the metric `weights`) of the graph of the operation, or None
    where `operation.free` says that the input cannot move. It works on displacements
    because they can be far smaller than the points. It runs under `jit`, and once
    abstractly when a model is traced: raising `NotImplementedError(reason)` there, for
    parameters or shapes it cannot do, becomes an `UnsupportedPrimitiveError` that names
    the line. In a weak sweep (`weights.weak`) the inputs are heavy, and what is
    returned is afterwards divided by weights.output / weights.inputs[i].

    Args:
        primitive: a primitive, or its name as printed in a jaxpr.

    Returns:
        A decorator that registers the rule (replacing an older one) and returns it.

    Raises:
        TypeError: if `primitive` is neither.

    Examples:
        >>> from fixproj import nn
        >>> @nn.register_projection("real")
        ... def project_real(operation, inputs, output, displacement, weights):
        ...     share = weights.output / (weights.inputs[0] + weights.output)
        ...     return (share * displacement,)
    """
    if isinstance(primitive, str):
        name = primitive
    elif hasattr(primitive, "name"):
        name = primitive.name
    else:
        raise TypeError(
            "primitive must be a JAX primitive or the name of one, "
            f"got {type(primitive).__name__}."
        )

    def decorate(rule: Callable[..., Any]) -> Callable[..., Any]:
        _RULES[name] = rule
        return rule

    return decorate


def rule_of(name: str) -> Callable | None:
    """The rule registered for a primitive's name, or None."""
    return _RULES.get(name)


def supported() -> list[str]:
    """Names that have a rule, sorted."""
    return sorted(_RULES)
