"""A set, and the same set in the words of cvxpy."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fixproj import projections as proj


@dataclass
class Case:
    """A set in R^4, and the same set in the words of cvxpy."""

    name: str
    build: Callable[..., proj.AbstractSet]
    constraints: Callable[..., list]
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    # Left out of the quick suite where a test compiles much.
    slow: bool = False
    # A solver of conic programs finds the value to more digits than the point.
    oracle_tolerance: float = 1e-6
    # Whether halfway to the point nearest to zero a derivative exists.
    has_inside: bool = False
    # Whether every parameter is a leaf of that name.
    has_leaves: bool = True

    def set(self):
        return self.build(**self.parameters)

    @property
    def is_elementwise(self):
        return self.set().axis is None


def array(*values):
    return np.array(values)
