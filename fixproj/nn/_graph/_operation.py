"""One step of a traced model: what it computes and how it is projected."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax

from fixproj.nn._graph._curvature import Curvature


class Weights(NamedTuple):
    """Metric weights of a node's graph: one per input, and one of the output.

    `weak` says that the displacement is small and the inputs are heavy, so that one
    linearised step, cheaply preconditioned, may stand for the projection. `curvature`
    is then what is known of the inputs of a product from past minibatches, if anything.
    """

    inputs: tuple[Any, ...]
    output: Any
    weak: bool = False
    curvature: Curvature | None = None


@dataclasses.dataclass(frozen=True)
class Operation:
    """An equation of the flattened model.

    Attributes:
        name: the primitive's name; a fused layer is "affine".
        kind: "known" (nothing trainable goes in: evaluated as it is), "wire"
            (structural and linear) or "node" (has a projection rule).
        inputs: numbers of the variables that go in.
        outputs: numbers of the variables that come out; a node has one.
        free: for each input, whether it depends on a trainable leaf and so may move.
        params: the primitive's parameters.
        evaluate: the values of the inputs to the list of values of the outputs.
        avals: shape and dtype of each input.
        out_avals: shape and dtype of each output.
        source: file and line of the user's source, or why it is not known.
        rows: of a contraction, which input holds the examples (0 or 1).
    """

    name: str
    kind: Literal["known", "wire", "node"]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    free: tuple[bool, ...]
    params: dict[str, Any]
    evaluate: Callable[[Sequence[Any]], list[Any]]
    avals: tuple[jax.ShapeDtypeStruct, ...]
    out_avals: tuple[jax.ShapeDtypeStruct, ...]
    source: str
    rows: int = 0

    def __str__(self):
        def show(aval):
            return f"{aval.dtype.name}{list(aval.shape)}"

        ins = ", ".join(map(show, self.avals))
        outs = ", ".join(map(show, self.out_avals))
        return f"{self.kind:5} {self.name}({ins}) -> {outs}"
