"""Sets, and the projections onto them."""

from fixproj.projections._affine import Affine as Affine
from fixproj.projections._box import Box as Box
from fixproj.projections._cross_entropy import CrossEntropy as CrossEntropy
from fixproj.projections._halfspace import Halfspace as Halfspace
from fixproj.projections._l2_ball import L2Ball as L2Ball
from fixproj.projections._matrix_product import MatrixProduct as MatrixProduct
from fixproj.projections._relu import ReluGraph as ReluGraph
from fixproj.projections._set import AbstractSet as AbstractSet
from fixproj.projections._simplex import Simplex as Simplex
