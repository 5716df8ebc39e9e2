"""How a map is run: one file for each iteration."""

from ._iteration import AbstractIteration as AbstractIteration
from .acx import ACX as ACX
from .anderson import Anderson as Anderson
from .broyden import Broyden as Broyden
from .halpern import Halpern as Halpern
from .picard import Picard as Picard
from .restarts import Restarts as Restarts
from .squarem import Squarem as Squarem
from .steffensen import Steffensen as Steffensen
