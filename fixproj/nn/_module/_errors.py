"""Errors of a layer, which name its path in the model."""

from typing import Any

import equinox as eqx
import jax.tree_util as jtu


class LayerError(ValueError):
    """A layer was called with what it cannot take, or before it was initialised.

    Attributes:
        problem: what was expected and what was given.
        path: of the layer within the outermost module that was called.
    """

    def __init__(self, problem: str, module: Any):
        super().__init__(problem)
        self.problem = problem
        self.path = ""
        self._kind = type(module).__name__
        self._module = module

    def enter(self, outer: Any) -> None:
        """Prefixes the path, on the way out through the call of `outer`."""
        if outer is self._module:
            return
        flat, _ = jtu.tree_flatten_with_path(
            outer, is_leaf=lambda n: n is not outer and isinstance(n, eqx.Module)
        )
        for path, child in flat:
            if child is self._module:
                self.path = jtu.keystr(path) + self.path
                break
        self._module = outer

    def __str__(self):
        where = f" at model{self.path}" if self.path else ""
        return f"{self._kind}{where}: {self.problem}"
