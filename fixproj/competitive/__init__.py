"""Games and saddle points, and constrained problems seen as such."""

from ._game import Game as Game, MinMax as MinMax
from ._method import AbstractGameMethod as AbstractGameMethod, GameState as GameState
from .acgd import ACGD as ACGD
from .adjusted import (
    ConsensusGradient as ConsensusGradient,
    SymplecticGradient as SymplecticGradient,
)
from .cga import CGA as CGA
from .cgd import CGD as CGD
from .extragradient import (
    Extragradient as Extragradient,
    OptimisticGradient as OptimisticGradient,
)
from .gradient import (
    AlternatingGradient as AlternatingGradient,
    SimultaneousGradient as SimultaneousGradient,
)
from .implicit_euler import ImplicitEuler as ImplicitEuler
from .lagrangian_cga import LagrangianCGA as LagrangianCGA
from .lola import LOLA as LOLA
from .lookahead import Lookahead as Lookahead
from .mirror import CompetitiveMirrorDescent as CompetitiveMirrorDescent
from .optimiser import Optax as Optax
from .pcgd import PCGD as PCGD
from .stackelberg import Stackelberg as Stackelberg
