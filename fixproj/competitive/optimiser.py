"""An optax transformation as the iteration of a method for games."""

from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
import optax
from jaxtyping import PyTree

from .. import _tree
from .._iteration import AbstractIteration
from ._method import GameState


class Optax(AbstractIteration):
    """Feed the players' directions to an optax transformation.

    What a method moves the players by is given to the transformation as a negative
    gradient, and the update it returns is made. So `Optax(optax.sgd(1.0))` changes
    nothing (`optax.identity()` would turn every move round), and
    `Optax(optax.adam(1e-2))` with `SimultaneousGradient(step=1.0)` is the common way to
    train a GAN. Works for every other map, too.

    Args:
        transformation: an `optax.GradientTransformation`.

    Raises:
        TypeError: if it is none.

    Examples:
        >>> import fixproj as fp, optax
        >>> from fixproj import competitive
        >>> problem = competitive.MinMax(
        ...     lambda x, y, args: x**2 + x * y - y**2, 1.0, 1.0
        ... )
        >>> method = competitive.CGD(step=0.1)
        >>> momentum = competitive.Optax(optax.sgd(1.0, momentum=0.5))
        >>> x, y = fp.solve(problem, method, momentum).value
        >>> print(f"{abs(x):.4f} {abs(y):.4f}")
        0.0000 0.0000
    """

    transformation: optax.GradientTransformation = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.transformation, optax.GradientTransformation):
            raise TypeError(
                "Optax: `transformation` must be an optax.GradientTransformation such "
                f"as optax.adam(1e-3), got {self.transformation!r}."
            )

    def init(self, z: PyTree) -> Any:
        """The transformation's state."""
        return self.transformation.init(_moving(z))

    def step(self, z: PyTree, fz: PyTree, state: Any) -> tuple[PyTree, Any]:
        """The players follow the transformation, the memory the map."""
        now = _moving(z)
        gradient = _tree.subtract(now, _moving(fz))
        # Optax relies on the promotion of Python numbers and counts.
        with jax.numpy_dtype_promotion("standard"):
            update, state = self.transformation.update(gradient, state, now)
        moved = jtu.tree_map(lambda x, u: x + u.astype(x.dtype), now, update)
        if isinstance(z, GameState):
            return GameState(moved, fz.memory), state
        return moved, state


def _moving(z: PyTree) -> PyTree:
    return z.players if isinstance(z, GameState) else z
