"""Functions with proximal operators, one file each, and their calculus."""

from fixproj.projections._function import AbstractFunction as AbstractFunction
from fixproj.projections._prox._calculus import (
    as_function as as_function,
    conjugate as conjugate,
    moreau_envelope as moreau_envelope,
    precompose as precompose,
    regularize as regularize,
    scale as scale,
    separable as separable,
    tilt as tilt,
    translate as translate,
)
from fixproj.projections._prox._elastic_net import ElasticNet as ElasticNet
from fixproj.projections._prox._entropy import Entropy as Entropy
from fixproj.projections._prox._group_lasso import GroupLasso as GroupLasso
from fixproj.projections._prox._hinge import Hinge as Hinge
from fixproj.projections._prox._huber import Huber as Huber
from fixproj.projections._prox._indicator import Indicator as Indicator
from fixproj.projections._prox._kl import KL as KL
from fixproj.projections._prox._l0 import L0 as L0
from fixproj.projections._prox._l1 import L1 as L1
from fixproj.projections._prox._l2 import L2 as L2
from fixproj.projections._prox._least_squares import LeastSquares as LeastSquares
from fixproj.projections._prox._linear import Linear as Linear
from fixproj.projections._prox._log_barrier import LogBarrier as LogBarrier
from fixproj.projections._prox._logistic import Logistic as Logistic
from fixproj.projections._prox._max import Max as Max
from fixproj.projections._prox._mcp import MCP as MCP
from fixproj.projections._prox._nuclear import Nuclear as Nuclear
from fixproj.projections._prox._quadratic import Quadratic as Quadratic
from fixproj.projections._prox._scad import SCAD as SCAD
from fixproj.projections._prox._squared_l2 import SquaredL2 as SquaredL2
from fixproj.projections._prox._sum_of_largest import SumOfLargest as SumOfLargest
from fixproj.projections._prox._tv1d import TV1D as TV1D
from fixproj.projections._prox._tv2d import TV2D as TV2D
from fixproj.projections._prox._weighted_l1 import WeightedL1 as WeightedL1
from fixproj.projections._prox._zero import Zero as Zero
