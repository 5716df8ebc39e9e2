"""Constrained minimisation: one file for each method."""

from ._kkt import Multipliers as Multipliers
from .augmented_lagrangian import AugmentedLagrangian as AugmentedLagrangian
from .sqp import SQP as SQP
