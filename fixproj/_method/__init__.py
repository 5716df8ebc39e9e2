"""How a problem becomes a map: one file for each method."""

from .alternating_projections import AlternatingProjections as AlternatingProjections
from .direct import Direct as Direct
from .douglas_rachford import DouglasRachford as DouglasRachford
