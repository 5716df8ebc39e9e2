r"""Picard iteration and its relaxation.

    z_{k+1} = z_k + relaxation (T(z_k) - z_k)

Picard (1890) for `relaxation = 1`; Krasnoselskii (1955) and Mann (1953) in between:
converges for every nonexpansive T that has a fixed point if 0 < relaxation < 1.
"""

from typing import Any

from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from ._iteration import AbstractIteration


class Picard(AbstractIteration):
    """Repeated application of the map, with relaxation (Krasnoselskii-Mann).

    The next point is `z + relaxation * (T(z) - z)`. The plain iteration
    (`relaxation=1`) converges linearly when `T` is a contraction; a relaxation below 1
    makes it converge for every nonexpansive map that has a fixed point (Krasnoselskii,
    1955; Bauschke & Combettes, 2017, theorem 5.15).

    Args:
        relaxation: a scalar in (0, 2); it is an array leaf and may be traced.

    Raises:
        ValueError: if `relaxation` is a concrete number outside (0, 2).
    """

    relaxation: float | Scalar = 1.0

    def __check_init__(self):
        check_between("Picard", "relaxation", self.relaxation, 0, 2)

    def init(self, z: PyTree) -> Any:
        """No state."""
        return None

    def step(self, z: PyTree, fz: PyTree, state: Any) -> tuple[PyTree, Any]:
        """`z + relaxation * (fz - z)`."""
        if isinstance(self.relaxation, int | float) and self.relaxation == 1:
            return fz, state
        return _tree.add_scaled(z, self.relaxation, _tree.subtract(fz, z)), state
