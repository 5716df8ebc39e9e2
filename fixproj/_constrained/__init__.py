"""Constrained minimisation: one file for each method."""

from ._kkt import Multipliers as Multipliers
from .sqp import SQP as SQP
