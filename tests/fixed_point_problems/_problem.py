"""What a fixed-point problem of the suite is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from numpy.typing import DTypeLike


Map = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Problem:
    """A map, a start, and a way to recognise its fixed point without iterating.

    Args:
        name: Unique name.
        make: `make(dtype) -> (fn, y0, args)` with `fn(y, args) -> y` pure and jit-able.
            All data are in `args`, all inexact leaves have the given dtype.
        size: Number of scalars in `y0`.
        picard_steps_hint: Evaluations of `fn` that the plain iteration needs in float64
            until `||fn(y) - y||_2 <= tolerance` (measured), or `None` if it fails.
        tuned_on: May settings be chosen by looking at this problem? The others are held
            out: they only judge.
        reference: Where the problem comes from.
        tolerance: Absolute tolerance on the 2-norm of the residual, float64.
        tolerance32: The same for float32: above the rounding noise of `fn` near the
            fixed point (measured).
        solution: `solution(dtype)`, the fixed point by other means, or `None`.
        check: `check(y)`, an error measure that is zero at a fixed point, computed by
            other means, or `None`.
        accuracy: Bound on `error(y)` for a `y` that meets `tolerance`.
        accuracy32: The same for `tolerance32`.
        domain: Where `fn` is defined, and what it does elsewhere.
        smooth: Whether `fn` is continuously differentiable near the solution.
        slow: Whether solving it takes more than a few seconds with plain iteration.
    """

    name: str
    make: Callable[[DTypeLike], tuple[Map, PyTree, PyTree]]
    size: int
    picard_steps_hint: int | None
    tuned_on: bool
    reference: str
    tolerance: float = 1e-7
    tolerance32: float = 1e-5
    solution: Callable[[DTypeLike], PyTree] | None = None
    check: Callable[[PyTree], float] | None = None
    accuracy: float = 1e-6
    accuracy32: float = 1e-3
    domain: str = "everywhere"
    smooth: bool = True
    slow: bool = False

    def tol(self, dtype: DTypeLike) -> float:
        """The tolerance on the residual's 2-norm that `dtype` can reach."""
        return _pick(dtype, self.tolerance, self.tolerance32)

    def bound(self, dtype: DTypeLike) -> float:
        """The bound on `error` that goes with `tol(dtype)`."""
        return _pick(dtype, self.accuracy, self.accuracy32)

    def error(self, y: PyTree) -> float:
        """Error of `y` by independent means; largest absolute one for a `solution`."""
        if self.check is not None:
            return float(self.check(y))
        if self.solution is None:
            raise ValueError(f"problem {self.name!r} has neither solution nor check")
        exact = jax.tree.leaves(self.solution(np.float64))
        pairs = zip(jax.tree.leaves(y), exact, strict=True)
        return float(max(np.max(np.abs(np.asarray(a) - b)) for a, b in pairs))


def _pick(dtype: DTypeLike, double: float, single: float) -> float:
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"expected float32 or float64, not {np.dtype(dtype)}")
    return double if np.dtype(dtype) == np.float64 else single


def cast(tree: PyTree, dtype: DTypeLike) -> PyTree:
    """NumPy floats to JAX arrays of `dtype`; integers and booleans keep their kind."""
    if np.dtype(dtype) == np.float64 and not jax.config.read("jax_enable_x64"):
        raise ValueError("dtype float64 needs jax_enable_x64")

    def leaf(x):
        x = np.asarray(x)
        floating = np.issubdtype(x.dtype, np.floating)
        return jnp.asarray(x, np.dtype(dtype) if floating else None)

    return jax.tree.map(leaf, tree)


def to_numpy(tree: PyTree, dtype: DTypeLike = np.float64) -> PyTree:
    """Leaves as NumPy arrays of `dtype`."""
    return jax.tree.map(lambda x: np.asarray(x, dtype), tree)
