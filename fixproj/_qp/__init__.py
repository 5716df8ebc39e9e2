"""Quadratic and conic programs: their forms, methods and derivatives."""

from ._conic import ConicProgram as ConicProgram
from ._cvxpy import from_cvxpy as from_cvxpy
from ._interior_point import InteriorPoint as InteriorPoint
from ._problem import QuadraticProgram as QuadraticProgram
from ._solve import solve_program as solve_program
from ._splitting import OperatorSplitting as OperatorSplitting
from ._state import ProgramState as ProgramState
