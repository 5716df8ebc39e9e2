"""What every adjoint is: how a fixed point depends on its map."""

import abc
import functools as ft
from collections.abc import Callable

import equinox as eqx
import equinox.internal as eqxi
import jax.tree_util as jtu
import optimistix as optx
from jaxtyping import PyTree

from .. import _loop, _tree
from .._loop import Tolerances


class AbstractAdjoint(optx.AbstractAdjoint):
    """How derivatives go through a fixed point.

    Also an adjoint of optimistix: `optimistix.fixed_point(..., adjoint=adjoint)`.
    """

    @abc.abstractmethod
    def attach(
        self,
        apply: Callable[[PyTree], PyTree],
        z: PyTree,
        tolerances: Tolerances,
        throw: bool,
    ) -> PyTree:
        """Give a fixed point its derivative.

        Args:
            apply: the map T, a pytree whose array leaves hold everything that T
                depends on.
            z: a fixed point of T, cut from differentiation.
            tolerances: those of the solve, which the derivative's follow.
            throw: whether a derivative that could not be computed raises; if not, it
                is filled with NaN.

        Returns:
            The value of `z`, differentiable with respect to the leaves of `apply`.
        """

    def apply(
        self,
        primal_fn: Callable,
        rewrite_fn: Callable,
        inputs: PyTree,
        tags: frozenset[object],
    ) -> tuple[PyTree, PyTree]:
        """Run a solve of optimistix and give its solution a derivative.

        optimistix calls this. The map is `T(z) = z + g(z)` for the `g` whose root the
        solution is: the user's map for `optimistix.fixed_point`. For `root_find` and
        the others T need not contract, so there only
        [`fixproj.implicit.Implicit`][] is sure to serve.

        Args:
            primal_fn: from the inputs and a while loop to the solution and the rest.
            rewrite_fn: g, from the solution, the rest and the inputs.
            inputs: what the solve depends on.
            tags: of lineax; not used.

        Returns:
            The solution, differentiable, and the rest, cut from differentiation.
        """
        del tags
        while_loop = ft.partial(eqxi.while_loop, kind="lax")
        frozen = _tree.stop_gradient(inputs)
        z, rest = _tree.stop_gradient(primal_fn((*frozen, while_loop)))

        def apply(z):
            g = rewrite_fn(z, rest, inputs)
            return jtu.tree_map(lambda a, b: a + b, z, g)

        tolerances = Tolerances(_loop.default_rtol(z), None, _tree.max_norm)
        return self.attach(
            eqx.filter_closure_convert(apply, z), z, tolerances, throw=True
        ), rest
