"""Sets, and the projections onto them."""

from fixproj.projections._affine import Affine as Affine
from fixproj.projections._affine_images import (
    LinearPreimage as LinearPreimage,
    Scaled as Scaled,
    Translated as Translated,
)
from fixproj.projections._bilinear import Bilinear as Bilinear
from fixproj.projections._box import Box as Box
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
from fixproj.projections._exponential_cone import ExponentialCone as ExponentialCone
from fixproj.projections._fourier_magnitude import FourierMagnitude as FourierMagnitude
from fixproj.projections._graphs import (
    MaxGraph as MaxGraph,
    SumGraph as SumGraph,
    SumReluGraph as SumReluGraph,
)
from fixproj.projections._halfspace import Halfspace as Halfspace
from fixproj.projections._intersection import Intersection as Intersection
from fixproj.projections._l2_ball import L2Ball as L2Ball
from fixproj.projections._low_rank import LowRank as LowRank
from fixproj.projections._matrix_product import MatrixProduct as MatrixProduct
from fixproj.projections._power_cone import PowerCone as PowerCone
from fixproj.projections._product import (
    Consensus as Consensus,
    Product as Product,
    Stacked as Stacked,
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
from fixproj.projections._spectraplex import Spectraplex as Spectraplex
from fixproj.projections._stiefel import (
    Orthogonal as Orthogonal,
    Rotation as Rotation,
    Stiefel as Stiefel,
)
from fixproj.projections._toeplitz import Hankel as Hankel, Toeplitz as Toeplitz
