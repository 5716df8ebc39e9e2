"""Derivatives through fixed points."""

from ._adjoint import AbstractAdjoint as AbstractAdjoint
from ._custom import (
    custom_fixed_point as custom_fixed_point,
    custom_root as custom_root,
)
from ._implicit import Implicit as Implicit
from ._jacobian_free import JacobianFree as JacobianFree
from ._two_phase import TwoPhase as TwoPhase
from ._unroll import Unroll as Unroll
