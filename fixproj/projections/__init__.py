"""Sets and the projections onto them; functions and their proximal operators."""

from fixproj.projections._affine import Affine as Affine
from fixproj.projections._affine_images import (
    LinearPreimage as LinearPreimage,
    Scaled as Scaled,
    Translated as Translated,
)
from fixproj.projections._bilinear import Bilinear as Bilinear
from fixproj.projections._box import Box as Box
from fixproj.projections._box_hyperplane import BoxHyperplane as BoxHyperplane
from fixproj.projections._capped_simplex import CappedSimplex as CappedSimplex
from fixproj.projections._cone import (
    AbstractCone as AbstractCone,
    DualCone as DualCone,
    FreeCone as FreeCone,
    PolarCone as PolarCone,
    ZeroCone as ZeroCone,
)
from fixproj.projections._correlation import CorrelationMatrices as CorrelationMatrices
from fixproj.projections._cross_entropy import CrossEntropy as CrossEntropy
from fixproj.projections._elementwise import Elementwise as Elementwise
from fixproj.projections._ellipsoid import Ellipsoid as Ellipsoid
from fixproj.projections._exponential_cone import ExponentialCone as ExponentialCone
from fixproj.projections._family import Family as Family
from fixproj.projections._fourier_magnitude import FourierMagnitude as FourierMagnitude
from fixproj.projections._graphs import (
    MaxGraph as MaxGraph,
    SumGraph as SumGraph,
    SumReluGraph as SumReluGraph,
)
from fixproj.projections._grid import Grid as Grid
from fixproj.projections._group_ball import GroupBall as GroupBall
from fixproj.projections._halfspace import Halfspace as Halfspace
from fixproj.projections._hyperplane import Hyperplane as Hyperplane
from fixproj.projections._hyperslab import Hyperslab as Hyperslab
from fixproj.projections._intersection import Intersection as Intersection
from fixproj.projections._kl_transport import (
    KLBirkhoffPolytope as KLBirkhoffPolytope,
    KLTransportPolytope as KLTransportPolytope,
)
from fixproj.projections._l1_ball import L1Ball as L1Ball
from fixproj.projections._l1_sphere import L1Sphere as L1Sphere
from fixproj.projections._l2_ball import L2Ball as L2Ball
from fixproj.projections._l2_sphere import L2Sphere as L2Sphere
from fixproj.projections._linf_ball import LinfBall as LinfBall
from fixproj.projections._low_rank import LowRank as LowRank
from fixproj.projections._matrix_product import MatrixProduct as MatrixProduct
from fixproj.projections._monotone import Monotone as Monotone
from fixproj.projections._newton_schulz_psd_cone import (
    NewtonSchulzPSDCone as NewtonSchulzPSDCone,
)
from fixproj.projections._nonnegative import NonNegative as NonNegative
from fixproj.projections._norm_epigraph import NormEpigraph as NormEpigraph
from fixproj.projections._one_hot import OneHot as OneHot
from fixproj.projections._permutation import Permutation as Permutation
from fixproj.projections._polyhedron import Polyhedron as Polyhedron
from fixproj.projections._power_cone import PowerCone as PowerCone
from fixproj.projections._product import (
    Consensus as Consensus,
    Product as Product,
    Stacked as Stacked,
)
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
from fixproj.projections._psd_cone import PSDCone as PSDCone
from fixproj.projections._quantize import Quantize as Quantize
from fixproj.projections._relu import ReluGraph as ReluGraph
from fixproj.projections._second_order_cone import (
    RotatedSecondOrderCone as RotatedSecondOrderCone,
    SecondOrderCone as SecondOrderCone,
)
from fixproj.projections._set import AbstractSet as AbstractSet
from fixproj.projections._simplex import Simplex as Simplex
from fixproj.projections._singular_balls import (
    NuclearBall as NuclearBall,
    SpectralBall as SpectralBall,
)
from fixproj.projections._sparse import Sparse as Sparse
from fixproj.projections._sparse_simplex import SparseSimplex as SparseSimplex
from fixproj.projections._spectraplex import Spectraplex as Spectraplex
from fixproj.projections._stiefel import (
    Orthogonal as Orthogonal,
    Rotation as Rotation,
    Stiefel as Stiefel,
)
from fixproj.projections._subspace import Subspace as Subspace
from fixproj.projections._support import Support as Support
from fixproj.projections._toeplitz import Hankel as Hankel, Toeplitz as Toeplitz
from fixproj.projections._total_variation_ball import (
    TotalVariationBall as TotalVariationBall,
)
from fixproj.projections._transport import (
    BirkhoffPolytope as BirkhoffPolytope,
    TransportPolytope as TransportPolytope,
)
from fixproj.projections._weighted_l1_ball import WeightedL1Ball as WeightedL1Ball
