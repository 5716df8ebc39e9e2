"""A jaxpr without calls: every jit, custom_jvp, remat, ... replaced by its body."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.extend import core as jec

from fixproj.nn._graph._source import describe_source


_CALLS = {
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "checkpoint",
    "remat",
    "remat2",
}


@dataclasses.dataclass(frozen=True)
class Equation:
    """One primitive application between numbered variables."""

    primitive: jec.Primitive
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    source: str


@dataclasses.dataclass
class Flat:
    """A flattened jaxpr.

    Attributes:
        equations: in the order of evaluation.
        inputs: variables of the jaxpr's arguments.
        output: variable of its only result.
        constants: value of each constant variable.
        avals: shape and dtype of every variable.
    """

    equations: list[Equation]
    inputs: list[int]
    output: int
    constants: dict[int, Any]
    avals: dict[int, jax.ShapeDtypeStruct]


def flatten(closed: jec.ClosedJaxpr) -> Flat:
    """Inlines all calls and numbers the variables."""
    flat = Flat([], [], -1, {}, {})

    def fresh(aval) -> int:
        number = len(flat.avals)
        flat.avals[number] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        return number

    def constant(value, aval) -> int:
        number = fresh(aval)
        flat.constants[number] = value
        return number

    def inline(jaxpr, consts, arguments, chain):
        names = {}
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            names[var] = constant(value, var.aval)
        names.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom):
            if isinstance(atom, jec.Literal):
                aval: Any = atom.aval
                return constant(np.asarray(atom.val, aval.dtype), aval)
            return names[atom]

        for eqn in jaxpr.eqns:
            inputs = tuple(read(atom) for atom in eqn.invars)
            link = (eqn.source_info.traceback, _file_of(jaxpr))
            body = _body(eqn)
            if body is None:
                outputs = tuple(fresh(var.aval) for var in eqn.outvars)
                source = describe_source([*chain, link])
                flat.equations.append(
                    Equation(eqn.primitive, eqn.params, inputs, outputs, source)
                )
            else:
                outputs = inline(body.jaxpr, body.consts, inputs, [*chain, link])
            for var, number in zip(eqn.outvars, outputs, strict=True):
                names[var] = number
        return tuple(read(atom) for atom in jaxpr.outvars)

    flat.inputs = [fresh(var.aval) for var in closed.jaxpr.invars]
    (flat.output,) = inline(closed.jaxpr, closed.consts, flat.inputs, [])
    return flat


def _body(eqn) -> jec.ClosedJaxpr | None:
    if eqn.primitive.name not in _CALLS:
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        body = eqn.params.get(key)
        if body is not None:
            closed = isinstance(body, jec.ClosedJaxpr)
            return body if closed else jec.ClosedJaxpr(body, ())
    return None


def _file_of(jaxpr) -> str:
    """The file of the function that a jaxpr was made from; "" where not recorded."""
    return getattr(jaxpr.debug_info, "func_filename", None) or ""
