r"""Random restarts of another iteration.

    z_{k+1} = start_j            if k + 1 = j every, j = 1, 2, ...
            = iteration(z_k)     otherwise

    start_j = scale times normal random numbers from fold_in(key, j)

Where a search has a heavy tail of run times, a bound on a run's length makes the mean
finite (Luby, Sinclair & Zuckerman, 1993).
"""

from typing import Any

import equinox as eqx
import jax
import jax.dtypes
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Int, Key, PyTree, Scalar

from .. import _tree
from .._check import check_between, check_positive_int
from ._iteration import AbstractIteration
from .picard import Picard


class _State(eqx.Module):
    inner: Any
    count: Int[Array, ""]


class Restarts(AbstractIteration):
    """Start again from a random point every so many steps, until the map is fixed.

    For searches ([`fixproj.RRR`][], [`fixproj.DifferenceMap`][]) on sets that are not
    convex. The number of steps is counted over all runs.

    Args:
        key: a PRNG key, a leaf: under `jax.vmap`, give every lane its own.
        every: the number of steps of one run, an integer >= 1.
        scale: the standard deviation of the starts' entries (real and imaginary part
            each), a scalar > 0; it may be traced.
        iteration: what runs in between; its memory is cleared at a restart.

    Raises:
        TypeError: if `key` is not a single PRNG key, or `iteration` not an iteration.
        ValueError: if `every` or a concrete `scale` is out of range.

    References:
        M. Luby, A. Sinclair and D. Zuckerman (1993), Optimal speedup of Las Vegas
        algorithms.

    Examples:
        >>> import fixproj as fp, jax, jax.numpy as jnp
        >>> # Positive points are fixed, negative ones go back and forth.
        >>> problem = fp.FixedPoint(lambda y, args: jnp.where(y > 0, y, -2 - y), -1.5)
        >>> again = fp.Restarts(jax.random.key(0), every=10)
        >>> print(fp.solve(problem, iteration=again).value > 0)
        True
    """

    key: Key[Any, ""]
    every: int = eqx.field(static=True)
    scale: float | Scalar = 1.0
    iteration: AbstractIteration = Picard()

    def __check_init__(self):
        dtype = getattr(self.key, "dtype", None)
        is_key = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
        if not is_key or self.key.shape != ():
            raise TypeError(
                "Restarts: `key` must be a PRNG key such as jax.random.key(0), got "
                f"{self.key!r}."
            )
        check_positive_int("Restarts", "every", self.every)
        check_between("Restarts", "scale", self.scale, 0)
        if not isinstance(self.iteration, AbstractIteration):
            raise TypeError(
                "Restarts: `iteration` must be one of fixproj's iterations, got "
                f"{self.iteration!r}."
            )

    def init(self, z: PyTree) -> _State:
        """The inner iteration's state, and a counter."""
        return _State(self.iteration.init(z), jnp.zeros((), jnp.int32))

    def step(self, z: PyTree, fz: PyTree, state: _State) -> tuple[PyTree, _State]:
        """The inner iteration's next point, or a new start."""
        count = state.count + 1
        z_next, inner = self.iteration.step(z, fz, state.inner)
        due = jax.lax.rem(count, jnp.full_like(count, self.every)) == 0

        def restart():
            return self._start(count, z), self.iteration.init(z)

        z_next, inner = jax.lax.cond(due, restart, lambda: (z_next, inner))
        return z_next, _State(inner, count)

    def _start(self, count, z):
        leaves, structure = jtu.tree_flatten(z)
        keys = jr.split(jr.fold_in(self.key, count), len(leaves))
        return jtu.tree_unflatten(
            structure,
            [
                _tree.scale_like(self.scale, x) * _normal(key, x)
                for key, x in zip(keys, leaves, strict=True)
            ],
        )


def _normal(key, x):
    if not jnp.iscomplexobj(x):
        return jr.normal(key, x.shape, x.dtype)
    real, imaginary = jr.normal(key, (2, *x.shape), jnp.finfo(x.dtype).dtype)
    return jax.lax.complex(real, imaginary).astype(x.dtype)
