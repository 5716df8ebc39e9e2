r"""Primal-dual hybrid gradients (Chambolle-Pock), for min g(x) + sum h_i(K_i x).

    x+ = prox_{t g}(x - t K'u)
    u+ = prox_{s h*}(u + s K (2 x+ - x))

Converges for convex functions where t s |K|^2 <= 1. Restarts are an iteration:
`fixproj.Halpern()` restarts, and `fixproj.Anderson()` needs far fewer steps.
"""

import jax.numpy as jnp
from jaxtyping import Scalar

from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _curvature, _splitting
from ._gauge import Gauge
from .condat_vu import PrimalDualMap


class PDHG(AbstractMethod):
    """Proximal steps on the primal and on the dual; any linear maps, nothing smooth.

    The default for a [`fixproj.Composite`][] with a linear but no smooth part.

    Args:
        primal_weight: w > 0: the steps are t = 1 / (w |K|) and s = w / |K|, with |K|
            from the power method. None starts with 1 and adapts it towards the size of
            the dual solution over the distance of the primal one from the start, at
            steps 10, 20, 40, ...

    The restarts that make the rate linear on sharp problems are those of an iteration:
    `iteration=fixproj.Halpern()`, or `fixproj.Anderson()`.

    Raises:
        ValueError: if `primal_weight` is not positive, or the problem has a
            smooth part.

    References:
        A. Chambolle and T. Pock (2011), A first-order primal-dual algorithm for convex
        problems with applications to imaging. D. Applegate et al. (2021), Practical
        large-scale linear programming using primal-dual hybrid gradient. H. Lu and
        J. Yang (2024), Restarted Halpern PDHG for linear programming.
    """

    primal_weight: float | Scalar | None = None

    def __check_init__(self):
        _splitting.check_step("PDHG", "primal_weight", self.primal_weight)

    def make_map(self, problem: Composite) -> AbstractMap:
        """The primal-dual step."""
        _splitting.require_composite("PDHG", problem)
        if problem.smooth is not None:
            raise ValueError("PDHG cannot treat `smooth`; use fixproj.CondatVu.")
        norm = _curvature.coupling(problem)
        given = 1.0 if self.primal_weight is None else self.primal_weight
        weight = Gauge(
            jnp.asarray(given).astype(norm.dtype), self.primal_weight is not None
        )
        bend = _curvature.curvature(problem)
        return PrimalDualMap(problem, bend, weight, norm, None)
