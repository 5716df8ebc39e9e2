"""How a problem becomes a map: one file for each method."""

from .admm import ADMM as ADMM
from .alternating_projections import AlternatingProjections as AlternatingProjections
from .averaged_projections import AveragedProjections as AveragedProjections
from .condat_vu import CondatVu as CondatVu
from .cyclic_douglas_rachford import CyclicDouglasRachford as CyclicDouglasRachford
from .cyclic_projections import CyclicProjections as CyclicProjections
from .davis_yin import DavisYin as DavisYin
from .difference_map import DifferenceMap as DifferenceMap
from .direct import Direct as Direct
from .douglas_rachford import DouglasRachford as DouglasRachford
from .dykstra import Dykstra as Dykstra
from .forward_backward import ForwardBackward as ForwardBackward
from .haugazeau import Haugazeau as Haugazeau
from .interior_point_projection import (
    InteriorPointProjection as InteriorPointProjection,
)
from .linearized_admm import LinearizedADMM as LinearizedADMM
from .pdhg import PDHG as PDHG
from .peaceman_rachford import PeacemanRachford as PeacemanRachford
from .raar import RAAR as RAAR
from .rrr import RRR as RRR
