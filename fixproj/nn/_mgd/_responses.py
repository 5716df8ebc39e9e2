"""Which nodes a perturbation can be felt through.

What follows a layer is mostly a function f of its result z, entry by entry. Where f
does not change from z - d to z + d the perturbation d of that node goes nowhere: its
slope is zero, and what is correlated with it is the noise of the others. With a
rectifier that is half of all nodes. The test looks at the layer's own result alone and
takes no derivative; it holds for steps as well.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from fixproj.nn._graph._flatten import Equation, Flat
from fixproj.nn._graph._fuse_elementwise import ELEMENTWISE


_FUNCTIONS = ELEMENTWISE | {"ceil", "floor", "round", "sign", "stop_gradient"}

Response = Callable[[Array, Array], Array]


def response(
    flat: Flat,
    alone: tuple[bool, ...],
    number: int,
    known: dict[int, Array],
    meetings: set[int],
) -> Response:
    """The test for the layer whose result is variable `number`.

    Args:
        flat: the model.
        alone: whether the equation of that index depends on no example.
        number: the layer's result.
        known: the values that depend on no example.
        meetings: places of equations in which parameters meet data.

    Returns:
        A function of a result and a perturbation: 1 where it is felt, 0 where not.
    """
    own, edge = _follow(flat, alone, number, known, meetings)
    if number in edge:
        return lambda result, moved: jnp.ones_like(result)

    def values(result):
        found = {number: result}
        for eqn in own:
            inputs = [found[i] if i in found else known[i] for i in eqn.inputs]
            found[eqn.outputs[0]] = eqn.primitive.bind(*inputs, **eqn.params)
        return [found[i] for i in edge]

    def felt(result, moved):
        pairs = zip(values(result + moved), values(result - moved), strict=True)
        out = jnp.zeros(result.shape, bool)
        for above, below in pairs:
            out = out | (above != below)
        return out.astype(result.dtype)

    return felt


def _follow(flat, alone, number, known, meetings) -> tuple[list[Equation], list[int]]:
    """The equations of f, and the variables at which it ends."""
    shape = flat.avals[number].shape
    inside, own, edge = {number}, [], []
    for index, eqn in enumerate(flat.equations):
        if alone[index]:
            continue
        of_it = [i for i in eqn.inputs if i in inside]
        if not of_it:
            continue
        scalar = (
            eqn.primitive.name in _FUNCTIONS
            and index not in meetings
            and flat.avals[eqn.outputs[0]].shape == shape
            and all(i in inside or i in known for i in eqn.inputs)
        )
        if scalar:
            own.append(eqn)
            inside.add(eqn.outputs[0])
        else:
            edge += [i for i in of_it if i not in edge]
    if flat.output in inside and flat.output not in edge:
        edge.append(flat.output)
    return own, edge
