"""Which methods apply to which problems, and which one is the default."""

from typing import Any

from ._composite import Composite
from ._constrained import SQP, AugmentedLagrangian
from ._map import AbstractMethod
from ._method import (
    ADMM,
    PDHG,
    RAAR,
    RRR,
    AlternatingProjections,
    AveragedProjections,
    CondatVu,
    CyclicDouglasRachford,
    CyclicProjections,
    DavisYin,
    DifferenceMap,
    Direct,
    DouglasRachford,
    Dykstra,
    ForwardBackward,
    Haugazeau,
    InteriorPointProjection,
    LinearizedADMM,
    PeacemanRachford,
)
from ._problem import Constrained, Feasibility, FixedPoint, Root
from ._qp import ConicProgram, InteriorPoint, OperatorSplitting, QuadraticProgram
from .competitive import (
    AbstractGameMethod,
    Game,
    ImplicitEuler,
    LagrangianCGA,
    MinMax,
)


_SETS = (
    AlternatingProjections,
    AveragedProjections,
    CyclicDouglasRachford,
    CyclicProjections,
    DifferenceMap,
    DouglasRachford,
    Dykstra,
    Haugazeau,
    InteriorPointProjection,
    PeacemanRachford,
    RAAR,
    RRR,
)
_TERMS = (
    ADMM,
    CondatVu,
    DavisYin,
    DouglasRachford,
    ForwardBackward,
    LinearizedADMM,
    PDHG,
)
_METHODS = {
    (FixedPoint, Root): (Direct,),
    (Feasibility,): _SETS,
    (Composite,): _TERMS,
    (QuadraticProgram,): (InteriorPoint, OperatorSplitting),
    (ConicProgram,): (OperatorSplitting,),
    (Constrained,): (SQP, AugmentedLagrangian, LagrangianCGA),
    (Game, MinMax): (AbstractGameMethod,),
}


def check_method(problem: Any, method: AbstractMethod) -> None:
    """Checks that a method of this library applies to a problem of this library.

    Raises:
        TypeError: naming both, if it does not.
    """
    ours = [kinds for kinds, methods in _METHODS.items() if isinstance(method, methods)]
    fits = not ours or any(isinstance(problem, kinds) for kinds in ours)
    # A map already: there is nothing for a method to do.
    if isinstance(problem, FixedPoint | Root):
        fits = isinstance(method, Direct)
    if not fits:
        raise TypeError(
            f"solve: `method` {type(method).__name__} does not apply to a "
            f"{type(problem).__name__}."
        )


def default_method(problem: Any) -> AbstractMethod:
    """The default method of a problem.

    Raises:
        TypeError: if it is no problem.
    """
    match problem:
        case FixedPoint() | Root():
            return Direct()
        case Feasibility():
            return DouglasRachford()
        case Composite() if not problem.linear:
            return ForwardBackward()
        case Composite():
            return PDHG() if problem.smooth is None else CondatVu()
        case QuadraticProgram():
            return InteriorPoint()
        case ConicProgram():
            return OperatorSplitting()
        case Constrained():
            return SQP()
        case Game() | MinMax():
            return ImplicitEuler()
    raise TypeError(
        "solve: `problem` must be a problem such as fixproj.FixedPoint or "
        f"fixproj.Feasibility, got {type(problem).__name__}."
    )
