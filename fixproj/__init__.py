"""Fixed-point and feasibility problems, and derivatives through their solutions."""

from . import (
    competitive as competitive,
    implicit as implicit,
    nn as nn,
    projections as projections,
)
from ._batch import solve_batch as solve_batch
from ._chunks import solve_in_chunks as solve_in_chunks
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
    Squarem as Squarem,
    Steffensen as Steffensen,
)
from ._map import AbstractMap as AbstractMap, AbstractMethod as AbstractMethod
from ._method import (
    AlternatingProjections as AlternatingProjections,
    DouglasRachford as DouglasRachford,
)
from ._problem import (
    Constrained as Constrained,
    Feasibility as Feasibility,
    FixedPoint as FixedPoint,
    Root as Root,
)
from ._solution import RESULTS as RESULTS, Solution as Solution
from ._solve import solve as solve
from ._tree import max_norm as max_norm, rms_norm as rms_norm, two_norm as two_norm


__version__ = "0.1.0"
