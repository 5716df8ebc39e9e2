"""Indicator of a set: f(x) = 0 in the set, infinity outside; prox is the projection."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from fixproj.projections._function import AbstractFunction, as_step
from fixproj.projections._set import AbstractSet


class Indicator(AbstractFunction):
    """The function that makes a set a constraint.

    Args:
        set: a member of this package, or anything with `project(x)` and
            `contains(x, tol)`.
        tol: the distance up to which a point counts as inside; None as in `contains`.

    Raises:
        TypeError: if `set` is not a set.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Box, Indicator
        >>> f = Indicator(Box(0.0, 1.0))
        >>> print(f.prox(jnp.array([2.0, 0.5])), f(jnp.array([2.0, 0.5])))
        [1.  0.5] inf
    """

    set: Any
    tol: Any

    def __init__(self, set: AbstractSet | Any, tol: Any = None):
        if not callable(getattr(set, "project", None)):
            raise TypeError(f"`set` must have a method `project(x)`, got {set!r}.")
        self.set = set
        self.tol = tol

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns 0 if every point is in the set, else infinity."""
        inside = jnp.all(self.set.contains(x, self.tol))
        return jnp.where(inside, 0.0, jnp.inf)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns the projection, whatever the step."""
        as_step(step, jnp.float32)
        return self.set.project(x)
