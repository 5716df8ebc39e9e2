r"""Nearest point of an intersection, by Dykstra's algorithm as a fixed point.

With one correction p_i per set, a cycle starts from x = x0 - sum p and does for each i

    u = x + p_i,   x = P_i(u),   p_i = u - x.

It maps the corrections to corrections; at a fixed point x0 - sum p is the nearest
point, as p_i is normal to C_i there. J. P.
Boyle and R. L. Dykstra, "A method for finding
projections onto the intersection of convex sets in Hilbert spaces" (1986); the cycle is
coordinate ascent on the dual, so it may be extrapolated like any fixed point.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from fixproj.projections._check import as_inexact
from fixproj.projections._set import AbstractSet


class Intersection(AbstractSet):
    """The points that lie in each of several closed convex sets.

    `project` runs Dykstra's algorithm, accelerated by Anderson's method, in one
    compiled loop; derivatives with respect to the point and all parameters of the sets
    are those of the implicit function theorem. All of a point is projected at once: put
    `jax.vmap` around for a batch whose points converge at different speeds.

    Where the sets do not intersect, or touch in a way that has no multipliers, the
    iteration does not converge, which is a run-time error.

    Args:
        *sets: the sets, at least one.
        rtol: relative tolerance of the corrections; `None` for eps^(3/4), which is
            6.4e-6 in float32 and 1.8e-12 in float64.
        max_steps: largest number of cycles.

    Raises:
        TypeError: if an argument is not a set.
        ValueError: if there are none.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Box, Halfspace, Intersection
        >>> corner = Intersection(Box(0.0, 1.0), Halfspace(jnp.ones(2), 1.0))
        >>> print(corner.project(jnp.array([2.0, 1.5])).round(2))
        [0.75 0.25]
    """

    sets: tuple[AbstractSet, ...]
    rtol: float | Scalar | None
    max_steps: int = eqx.field(static=True)
    axis: ClassVar[None] = None

    def __init__(
        self,
        *sets: AbstractSet,
        rtol: float | Scalar | None = None,
        max_steps: int = 10_000,
    ):
        if not sets:
            raise ValueError("`sets` must have at least one set.")
        for one in sets:
            if not isinstance(one, AbstractSet):
                raise TypeError(f"`sets` must be sets, but one was {one!r}.")
        self.sets = sets
        self.rtol = rtol
        self.max_steps = max_steps

    def project(self, x: PyTree[Any]) -> PyTree[Array]:
        """Returns the nearest point of the intersection.

        Args:
            x: the point, an array or a pytree of arrays, as all the sets take it.

        Returns:
            The nearest point.

        Raises:
            TypeError: if a leaf of `x` is not floating.
            RuntimeError: if the iteration does not converge.
        """
        # Not at the top: the solver is above the sets, and only this one needs it.
        from fixproj._iteration import Anderson
        from fixproj._problem import FixedPoint
        from fixproj._solve import solve

        x = jax.tree.map(lambda a: as_inexact(a, "x"), x)
        if len(self.sets) == 1:
            return self.sets[0].project(x)
        corrections = (jax.tree.map(jnp.zeros_like, x),) * len(self.sets)
        solution = solve(
            FixedPoint(_cycle, corrections, (self.sets, x)),
            iteration=Anderson(),
            rtol=self.rtol,
            max_steps=self.max_steps,
        )
        # One more cycle leaves the point in the last set.
        return _run(solution.value, self.sets, x)[1]


def _cycle(corrections, args):
    return _run(corrections, *args)[0]


def _run(corrections, sets, x):
    for p in corrections:
        x = _subtract(x, p)
    new = []
    for convex_set, p in zip(sets, corrections, strict=True):
        u = jax.tree.map(jnp.add, x, p)
        x = convex_set.project(u)
        new.append(_subtract(u, x))
    return tuple(new), x


def _subtract(x, y):
    return jax.tree.map(jnp.subtract, x, y)
