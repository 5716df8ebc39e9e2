"""Many sets of one kind that all act on the same point."""

from collections.abc import Sequence

import equinox as eqx
import jax
from jaxtyping import PyTree

from fixproj.projections._product import Stacked
from fixproj.projections._set import AbstractSet


class Family(eqx.Module):
    """Many sets of one kind for one point, as a problem's list would hold them.

    Where [`fixproj.projections.Stacked`][] projects row i of a point onto set i, every
    member of a family gets the whole point. A [`fixproj.Feasibility`][] counts all
    members as its sets; nothing is copied or traced once for each, so that there may be
    a million of them, sharded over the leading axis.

    Args:
        sets: as for `Stacked`: a set all of whose array leaves have a leading axis of
            the same length, or a sequence of sets that differ in the values of their
            leaves only.

    Raises:
        ValueError: as `Stacked` does.

    Examples:
        >>> import equinox as eqx, jax.numpy as jnp
        >>> import fixproj as fp
        >>> from fixproj import projections as proj
        >>> a, b = jnp.eye(3), jnp.array([1.0, 2.0, 3.0])
        >>> halfspaces = proj.Family(eqx.filter_vmap(proj.Halfspace)(a, b))
        >>> problem = fp.Feasibility([halfspaces], jnp.full(3, 9.0))
        >>> method = fp.AveragedProjections(extrapolate=True)
        >>> print(*(f"{x:.3f}" for x in fp.solve(problem, method).value))
        1.000 2.000 3.000
    """

    sets: AbstractSet

    def __init__(self, sets: AbstractSet | Sequence[AbstractSet]):
        self.sets = sets.sets if isinstance(sets, Stacked) else Stacked(sets).sets

    @property
    def size(self) -> int:
        """The number of members."""
        return jax.tree.leaves(eqx.filter(self.sets, eqx.is_array))[0].shape[0]

    def project_all(self, x: PyTree) -> PyTree:
        """The nearest point of every member.

        Args:
            x: one point.

        Returns:
            A point for each, with a leading axis.
        """
        return eqx.filter_vmap(lambda one: one.project(x))(self.sets)
