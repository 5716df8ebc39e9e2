"""How a map is run: one file for each iteration."""

from ._iteration import AbstractIteration as AbstractIteration
from .anderson import Anderson as Anderson
from .picard import Picard as Picard
