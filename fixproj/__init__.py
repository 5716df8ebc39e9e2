"""Fixed-point and feasibility problems, and derivatives through their solutions."""

import importlib as _importlib
import typing as _typing

from . import (
    competitive as competitive,
    implicit as implicit,
    projections as projections,
    puzzles as puzzles,
)
from ._batch import solve_batch as solve_batch
from ._checkpoint import Checkpoint as Checkpoint, CheckpointError as CheckpointError
from ._chunks import solve_in_chunks as solve_in_chunks
from ._composite import Composite as Composite
from ._constrained import (
    SQP as SQP,
    AugmentedLagrangian as AugmentedLagrangian,
    Multipliers as Multipliers,
)
from ._iteration import (
    ACX as ACX,
    AbstractIteration as AbstractIteration,
    Anderson as Anderson,
    Broyden as Broyden,
    Halpern as Halpern,
    Picard as Picard,
    Restarts as Restarts,
    Squarem as Squarem,
    Steffensen as Steffensen,
)
from ._map import AbstractMap as AbstractMap, AbstractMethod as AbstractMethod
from ._method import (
    ADMM as ADMM,
    PDHG as PDHG,
    RAAR as RAAR,
    RRR as RRR,
    AlternatingProjections as AlternatingProjections,
    AveragedProjections as AveragedProjections,
    CondatVu as CondatVu,
    CyclicDouglasRachford as CyclicDouglasRachford,
    CyclicProjections as CyclicProjections,
    DavisYin as DavisYin,
    DifferenceMap as DifferenceMap,
    DouglasRachford as DouglasRachford,
    Dykstra as Dykstra,
    ForwardBackward as ForwardBackward,
    Haugazeau as Haugazeau,
    InteriorPointProjection as InteriorPointProjection,
    LinearizedADMM as LinearizedADMM,
    PeacemanRachford as PeacemanRachford,
)
from ._nearest_point import nearest_point as nearest_point
from ._problem import (
    Constrained as Constrained,
    Feasibility as Feasibility,
    FixedPoint as FixedPoint,
    Root as Root,
)
from ._qp import (
    ConicProgram as ConicProgram,
    InteriorPoint as InteriorPoint,
    OperatorSplitting as OperatorSplitting,
    QuadraticProgram as QuadraticProgram,
    from_cvxpy as from_cvxpy,
)
from ._solution import RESULTS as RESULTS, Solution as Solution
from ._solve import solve as solve
from ._tree import max_norm as max_norm, rms_norm as rms_norm, two_norm as two_norm


if _typing.TYPE_CHECKING:
    from . import nn as nn

__version__ = "0.1.0"


def __getattr__(name: str) -> _typing.Any:
    # Networks are a good part of the time that an import takes, and solving needs none.
    if name == "nn":
        return _importlib.import_module(".nn", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "nn"])
