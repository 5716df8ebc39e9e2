"""What every iteration is: how the next point is made from points seen so far."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import PyTree


class AbstractIteration(eqx.Module):
    """A way to run a map `z -> T(z)` towards its fixed point.

    An iteration sees one pair `(z, T(z))` a step and names the next point, so a step
    costs one evaluation of the map, and the same two methods serve in a loop of your
    own:

    ```python
    state = iteration.init(z)
    for _ in range(steps):
        z, state = iteration.step(z, T(z), state)
    ```
    """

    @abc.abstractmethod
    def init(self, z: PyTree) -> Any:
        """The state before the first step.

        Args:
            z: the start; only its structure, shapes and dtypes may matter.

        Returns:
            A pytree of arrays, of the same structure after every step.
        """

    @abc.abstractmethod
    def step(self, z: PyTree, fz: PyTree, state: Any) -> tuple[PyTree, Any]:
        """The next point.

        Args:
            z: the current point, a pytree of inexact arrays.
            fz: the map there, `T(z)`, of the same structure.
            state: what `init` or the step before returned.

        Returns:
            The point at which the map is to be evaluated next, and the new state.
        """
