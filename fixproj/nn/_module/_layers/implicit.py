"""Layers that are defined by what their output satisfies."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj._problem import FixedPoint
from fixproj._solve import solve
from fixproj.nn._module._errors import LayerError
from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._layers._shapes import check_size
from fixproj.nn._module._module import Module, mode_of
from fixproj.projections._set import AbstractSet


class DEQ(Module):
    """A deep equilibrium layer: the z with z = cell(z, x).

    The gradient is that of the fixed point, by implicit differentiation; memory does
    not grow with the number of iterations.

    Args:
        cell: a module `cell(z, x) -> z`, a contraction in z if it is to converge for
            certain.
        features: length of z's last axis; that of x if None. The other axes are x's.
        iteration: how the fixed point is found; see `fixproj.solve`.
        options: further arguments of `fixproj.solve`, such as `rtol` and `max_steps`.

    Raises:
        TypeError: if the cell is no module.

    References:
        Bai, Kolter and Koltun, "Deep equilibrium models", 2019.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> class Cell(nn.Module):
        ...     linear: nn.Linear
        ...     def __call__(self, z, x):
        ...         return 0.5 * jnp.tanh(self.linear(z)) + x
        >>> x = jnp.ones((8, 3))
        >>> model = nn.DEQ(Cell(nn.Linear(3))).init(0, x)
        >>> z = model(x)
        >>> bool(abs(z - model.cell(z, x)).max() < 1e-5)
        True
    """

    cell: Module
    iteration: Module
    features: int | None
    options: tuple

    def __init__(
        self,
        cell: Module,
        features: int | None = None,
        *,
        iteration: Any = None,
        **options: Any,
    ):
        if not isinstance(cell, Module):
            raise TypeError(f"DEQ: cell must be a Module, got {type(cell).__name__}.")
        if features is not None:
            check_size("DEQ", "features", features)
        self.cell, self.features, self.iteration = cell, features, iteration
        self.options = tuple(sorted(options.items()))

    def __call__(self, x: Float[Array, "... in"]) -> Float[Array, "... features"]:
        """The fixed point, found from zero."""
        size = x.shape[-1] if self.features is None else self.features
        z = jnp.zeros((*x.shape[:-1], size), x.dtype)
        if any(isinstance(leaf, Initializer) for leaf in jax.tree.leaves(self.cell)):
            return self._step(self.cell, z, x)
        problem = FixedPoint(
            lambda z, args: self._step(*_swap(args, z)), z, (self.cell, x)
        )
        return solve(problem, iteration=self.iteration, **dict(self.options)).value

    def _step(self, cell, z, x):
        new = cell(z, x)
        if isinstance(new, tuple):
            raise LayerError("the cell of a DEQ must have no state.", self)
        return new


def _swap(args, z):
    cell, x = args
    return cell, z, x


class ProjectionLayer(Module):
    """The nearest point in a set, as a layer.

    Args:
        set: an `AbstractSet`, such as `projections.Simplex()`; vector sets act along
            their axis.
        trainable: whether its arrays, radii and bounds and matrices, are trained;
            otherwise the layer is frozen.

    Raises:
        TypeError: if it is no set.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn, projections as proj
        >>> nn.ProjectionLayer(proj.Simplex())(jnp.array([[2.0, 0.0]]))
        Array([[1., 0.]], dtype=float32)
    """

    set: AbstractSet

    def __init__(self, set: AbstractSet, *, trainable: bool = False):
        if not isinstance(set, AbstractSet):
            raise TypeError(
                f"ProjectionLayer: set must be an AbstractSet, got "
                f"{type(set).__name__}."
            )
        self.set = set
        self._mode = mode_of(frozen=not trainable)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The projection."""
        return self.set.project(x)
