"""Sets, and the projections onto them."""

from fixproj.projections._affine import Affine as Affine
from fixproj.projections._box import Box as Box
from fixproj.projections._box_hyperplane import BoxHyperplane as BoxHyperplane
from fixproj.projections._capped_simplex import CappedSimplex as CappedSimplex
from fixproj.projections._cross_entropy import CrossEntropy as CrossEntropy
from fixproj.projections._ellipsoid import Ellipsoid as Ellipsoid
from fixproj.projections._grid import Grid as Grid
from fixproj.projections._group_ball import GroupBall as GroupBall
from fixproj.projections._halfspace import Halfspace as Halfspace
from fixproj.projections._hyperplane import Hyperplane as Hyperplane
from fixproj.projections._hyperslab import Hyperslab as Hyperslab
from fixproj.projections._kl_transport import (
    KLBirkhoffPolytope as KLBirkhoffPolytope,
    KLTransportPolytope as KLTransportPolytope,
)
from fixproj.projections._l1_ball import L1Ball as L1Ball
from fixproj.projections._l1_sphere import L1Sphere as L1Sphere
from fixproj.projections._l2_ball import L2Ball as L2Ball
from fixproj.projections._l2_sphere import L2Sphere as L2Sphere
from fixproj.projections._linf_ball import LinfBall as LinfBall
from fixproj.projections._matrix_product import MatrixProduct as MatrixProduct
from fixproj.projections._monotone import Monotone as Monotone
from fixproj.projections._nonnegative import NonNegative as NonNegative
from fixproj.projections._norm_epigraph import NormEpigraph as NormEpigraph
from fixproj.projections._one_hot import OneHot as OneHot
from fixproj.projections._permutation import Permutation as Permutation
from fixproj.projections._polyhedron import Polyhedron as Polyhedron
from fixproj.projections._relu import ReluGraph as ReluGraph
from fixproj.projections._set import AbstractSet as AbstractSet
from fixproj.projections._simplex import Simplex as Simplex
from fixproj.projections._sparse import Sparse as Sparse
from fixproj.projections._sparse_simplex import SparseSimplex as SparseSimplex
from fixproj.projections._subspace import Subspace as Subspace
from fixproj.projections._support import Support as Support
from fixproj.projections._transport import (
    BirkhoffPolytope as BirkhoffPolytope,
    TransportPolytope as TransportPolytope,
)
from fixproj.projections._weighted_l1_ball import WeightedL1Ball as WeightedL1Ball
