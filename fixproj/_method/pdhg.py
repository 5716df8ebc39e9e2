r"""Primal-dual hybrid gradients (Chambolle-Pock), for min g(x) + sum h_i(K_i x).

    x+ = prox_{t g}(x - t K'u)
    u+ = prox_{s h*}(u + s K (2 x+ - x))

Converges for convex functions where t s |K|^2 <= 1. Restarts are an iteration:
`fixproj.Halpern()` restarts, and `fixproj.Anderson()` needs far fewer steps.
"""

from jaxtyping import Scalar

from .._check import check_between
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _splitting
from .condat_vu import primal_dual_map


class PDHG(AbstractMethod):
    """Proximal steps on the primal and on the dual; any linear maps, nothing smooth.

    The default for a [`fixproj.Composite`][] with a linear but no smooth part.

    Args:
        primal_weight: w > 0: the steps are t = 1 / (w |K|) and s = w / |K|, with |K|
            from the power method. Good values are the size of the dual solution over
            that of the primal one.

    Raises:
        ValueError: if `primal_weight` is not positive, or the problem has a
            smooth part.

    References:
        A. Chambolle and T. Pock (2011), A first-order primal-dual algorithm for convex
        problems with applications to imaging.
    """

    primal_weight: float | Scalar = 1.0

    def __check_init__(self):
        check_between("PDHG", "primal_weight", self.primal_weight, 0)

    def make_map(self, problem: Composite) -> AbstractMap:
        """The primal-dual step."""
        _splitting.require_composite("PDHG", problem)
        if problem.smooth is not None:
            raise ValueError("PDHG cannot treat `smooth`; use fixproj.CondatVu.")
        step = _splitting.inverse(_splitting.coupling(problem))
        return primal_dual_map(
            problem, step / self.primal_weight, step * self.primal_weight
        )
