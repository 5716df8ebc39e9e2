"""Quadratic and conic programs: their forms, methods and derivatives."""

from ._interior_point import InteriorPoint as InteriorPoint
from ._problem import QuadraticProgram as QuadraticProgram
from ._solve import ProgramState as ProgramState, solve_program as solve_program
