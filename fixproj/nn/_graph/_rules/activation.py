"""Smooth and piecewise scalar functions, alone or fused from several primitives."""

import math

from fixproj.nn._graph._registry import register_projection
from fixproj.nn._graph._rules._scalar import scalar_displacement


# Functions of one array, entry by entry; those with two inputs have a constant one.
UNARY = (
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cbrt",
    "clamp",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "integer_pow",
    "log",
    "log1p",
    "logistic",
    "min",
    "pow",
    "rsqrt",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tanh",
)
_KINKS = {"abs": (0.0,)}
# Whatever the value wanted, the nearest x with it is within a period.
_PERIODS = {"cos": 2 * math.pi, "sin": 2 * math.pi}


def project_scalar(operation, inputs, output, displacement, weights):
    """{y = f(x)}, entry by entry, all other inputs constant."""
    (position,) = [i for i, free in enumerate(operation.free) if free]
    x = inputs[position]
    if x.shape != displacement.shape:
        raise NotImplementedError("an operand that is broadcast by a scalar function")

    def function(x):
        values = [*inputs[:position], x, *inputs[position + 1 :]]
        return operation.evaluate(values)[0]

    kinks = operation.params.get("kinks", _KINKS.get(operation.name, ()))
    moved = scalar_displacement(
        function,
        x,
        displacement,
        weights.inputs[position],
        weights.output,
        kinks,
        weights.weak,
        _PERIODS.get(operation.name, math.inf),
    )
    return tuple(moved if i == position else None for i in range(len(inputs)))


for _name in ("elementwise", *UNARY):
    if _name not in ("min", "pow"):
        register_projection(_name)(project_scalar)


@register_projection("pow")
def project_power(operation, inputs, output, displacement, weights):
    """{y = x^p} or {y = b^x}, p or b constant."""
    if all(operation.free):
        raise NotImplementedError(
            "base and exponent both depend on trainable parameters"
        )
    return project_scalar(operation, inputs, output, displacement, weights)
