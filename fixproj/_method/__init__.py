"""How a problem becomes a map: one file for each method."""

from .admm import ADMM as ADMM
from .alternating_projections import AlternatingProjections as AlternatingProjections
from .condat_vu import CondatVu as CondatVu
from .davis_yin import DavisYin as DavisYin
from .direct import Direct as Direct
from .douglas_rachford import DouglasRachford as DouglasRachford
from .forward_backward import ForwardBackward as ForwardBackward
from .linearized_admm import LinearizedADMM as LinearizedADMM
from .pdhg import PDHG as PDHG
