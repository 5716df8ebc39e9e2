"""Sets and the projections onto them; functions and their proximal operators."""

from fixproj.projections._affine import Affine as Affine
from fixproj.projections._box import Box as Box
from fixproj.projections._cross_entropy import CrossEntropy as CrossEntropy
from fixproj.projections._halfspace import Halfspace as Halfspace
from fixproj.projections._l2_ball import L2Ball as L2Ball
from fixproj.projections._matrix_product import MatrixProduct as MatrixProduct
from fixproj.projections._prox import (
    KL as KL,
    L0 as L0,
    L1 as L1,
    L2 as L2,
    MCP as MCP,
    SCAD as SCAD,
    TV1D as TV1D,
    TV2D as TV2D,
    AbstractFunction as AbstractFunction,
    ElasticNet as ElasticNet,
    Entropy as Entropy,
    GroupLasso as GroupLasso,
    Hinge as Hinge,
    Huber as Huber,
    Indicator as Indicator,
    LeastSquares as LeastSquares,
    Linear as Linear,
    LogBarrier as LogBarrier,
    Logistic as Logistic,
    Max as Max,
    Nuclear as Nuclear,
    Quadratic as Quadratic,
    SquaredL2 as SquaredL2,
    SumOfLargest as SumOfLargest,
    WeightedL1 as WeightedL1,
    Zero as Zero,
    conjugate as conjugate,
    moreau_envelope as moreau_envelope,
    precompose as precompose,
    regularize as regularize,
    scale as scale,
    separable as separable,
    tilt as tilt,
    translate as translate,
)
from fixproj.projections._relu import ReluGraph as ReluGraph
from fixproj.projections._set import AbstractSet as AbstractSet
from fixproj.projections._simplex import Simplex as Simplex
