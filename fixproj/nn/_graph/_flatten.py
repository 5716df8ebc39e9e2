"""A jaxpr without calls: every jit, custom_jvp, remat, scan, ... replaced by its body.

A scan becomes as many copies of its body as it has steps: all of them are in memory
anyway, as every step's activations are. Of a cond all branches are evaluated, and one
is selected: what is projected cannot depend on values. Sorting is a decision, the
order, and a wire that follows it.
"""

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
            if eqn.primitive.name == "scan":
                outputs = unroll(eqn, inputs, [*chain, link])
            elif eqn.primitive.name == "cond":
                outputs = branch(eqn, inputs, [*chain, link])
            elif eqn.primitive.name in ("sort", "top_k"):
                outputs = order(eqn, inputs, [*chain, link])
            elif body is None:
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

    def small(fn, chain, *numbers):
        """The equations of a function that only moves numbers."""
        avals = [flat.avals[i] for i in numbers]
        made = jax.make_jaxpr(fn)(*avals)
        (number,) = inline(made.jaxpr, made.consts, numbers, chain)
        return number

    def unroll(eqn, inputs, chain):
        body, length = eqn.params["jaxpr"], eqn.params["length"]
        consts, carried = eqn.params["num_consts"], eqn.params["num_carry"]
        fixed = inputs[:consts]
        carry, over = inputs[consts : consts + carried], inputs[consts + carried :]
        steps = range(length)
        rows: list[tuple[int, ...]] = []
        for t in reversed(steps) if eqn.params["reverse"] else steps:

            def row(x, t=t):
                return jax.lax.index_in_dim(x, t, keepdims=False)

            now = tuple(small(row, chain, i) for i in over)
            results = inline(body.jaxpr, body.consts, (*fixed, *carry, *now), chain)
            carry = results[:carried]
            rows.append(results[carried:])
        if eqn.params["reverse"]:
            rows.reverse()
        if not rows:
            shapes = [var.aval for var in eqn.outvars[carried:]]
            stacked = [constant(np.zeros(a.shape, a.dtype), a) for a in shapes]
        else:
            stacked = [
                small(lambda *y: jax.numpy.stack(y), chain, *ys)
                for ys in zip(*rows, strict=True)
            ]
        return (*carry, *stacked)

    def branch(eqn, inputs, chain):
        index, *operands = inputs
        results = [
            inline(body.jaxpr, body.consts, operands, chain)
            for body in eqn.params["branches"]
        ]
        return tuple(
            small(jax.lax.select_n, chain, index, *cases)
            for cases in zip(*results, strict=True)
        )

    def order(eqn, inputs, chain):
        kinds, entered = [var.aval for var in eqn.outvars], inputs
        axis = eqn.params.get("dimension", eqn.params.get("axis", -1))
        if eqn.primitive.name == "sort":
            places = np.indices(kinds[0].shape, np.int32)[axis]
            aval = jax.ShapeDtypeStruct(places.shape, np.int32)
            kinds.append(aval)
            entered = (*inputs, constant(places, aval))
        outputs = tuple(fresh(kind) for kind in kinds)
        source = describe_source(chain)
        flat.equations.append(
            Equation(eqn.primitive, eqn.params, entered, outputs, source)
        )

        def follow(x, places):
            return jax.numpy.take_along_axis(x, places, axis)

        values = [small(follow, chain, i, outputs[-1]) for i in inputs]
        return (*values, *outputs[len(values) : len(eqn.outvars)])

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
