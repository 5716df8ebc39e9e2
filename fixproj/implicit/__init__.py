"""Derivatives through fixed points."""

from ._adjoint import AbstractAdjoint as AbstractAdjoint
from ._implicit import Implicit as Implicit
from ._two_phase import TwoPhase as TwoPhase
