"""Any JAX model as a graph of nodes (primitives with a projection) and wires."""

from fixproj.nn._graph._calling import batched as batched, split as split
from fixproj.nn._graph._errors import (
    UnsupportedPrimitiveError as UnsupportedPrimitiveError,
)
from fixproj.nn._graph._operation import Operation as Operation, Weights as Weights
from fixproj.nn._graph._plot import plot_graph as plot_graph
from fixproj.nn._graph._registry import register_projection as register_projection
from fixproj.nn._graph._rules import (
    contraction as contraction,
    elementwise as elementwise,
)
from fixproj.nn._graph._sweep import (
    Metric as Metric,
    propagate as propagate,
    reconcile as reconcile,
)
from fixproj.nn._graph._trace import Trace as Trace, trace as trace
