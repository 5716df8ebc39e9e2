"""Fixed-point problems that every iteration is run on, in tests and in benchmarks.

The fifteen of FixedPointTestProblems.jl (those of SpeedMapping.jl's comparison),
examples of FixedPointAcceleration.jl and NLsolve.jl, and a few more. Only definitions
and constants were taken from there. Data that the originals draw with a generator of
their own are rebuilt (`StableRandom`). Data that they read from files
(`proportional_hazards`) or draw unseeded (`ancestry`) are drawn anew from the same
design, so published counts of these two do not apply. None of the fifteen is left
out.

Counts of plain iteration agree with those known for the same definitions at a residual
of 1e-7 in the 2-norm (`simple_vector`: 1e-10).

>>> from tests.fixed_point_problems import by_name
>>> fn, y0, args = by_name("simple_vector").make("float32")
"""

from . import (
    ancestry,
    bratu,
    cavity,
    chandrasekhar,
    correlation,
    economics,
    equilibrium,
    hazards,
    kepler,
    lasso,
    linear,
    mixtures,
    poisson,
    simple,
    tensor,
)
from ._problem import Problem as Problem


_FAMILIES = (
    mixtures,
    economics,
    hazards,
    correlation,
    linear,
    tensor,
    ancestry,
    bratu,
    poisson,
    cavity,
    simple,
    kepler,
    equilibrium,
    lasso,
    chandrasekhar,
)

PROBLEMS: list[Problem] = [p for family in _FAMILIES for p in family.PROBLEMS]


def by_name(name: str) -> Problem:
    """The problem of that name."""
    for problem in PROBLEMS:
        if problem.name == name:
            return problem
    known = ", ".join(p.name for p in PROBLEMS)
    raise ValueError(f"no problem named {name!r}; there are: {known}")
