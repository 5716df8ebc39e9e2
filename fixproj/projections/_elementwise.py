r"""The graph of a smooth scalar function, {(x, y) : y = f(x)}, elementwise.

The nearest point in the metric a (x - x0)^2 + c (y - y0)^2 minimises

    phi(x) = a (x - x0)^2 + c (f(x) - y0)^2,

which may have several minima. As phi(x0) is known, the least one lies within
sqrt(c / a) |f(x0) - y0| of x0. Three grids look for it there: even, and geometric
around x0 and around 0, as features of f may be small and are mostly near 0. From the
best point of each, Newton steps that only ever descend (and fall back to the
Gauss-Newton matrix
where phi bends down) go to the minimum, and the least of the three is taken.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fixproj.projections._check import as_floating, computing_dtype
from fixproj.projections._scalar_root import with_derivative
from fixproj.projections._set import AbstractSet
from fixproj.projections._weights import check_weight


_EVEN = np.linspace(-1, 1, 513)
_GEOMETRIC = np.concatenate([-(1.3 ** -np.arange(60.0)), 1.3 ** -np.arange(60.0)])


class Elementwise(AbstractSet):
    """The graph of a scalar function, elementwise: all (x, y) with y = f(x).

    Derivatives with respect to the point, the weights and whatever `function` closes
    over or holds are exact where the nearest point is unique.

    Args:
        function: maps an array to one of its shape, entry by entry, twice
            differentiable: `jnp.tanh`, or an `equinox.Module`.
        input_weight: weight of x in the metric, positive.
        output_weight: weight of y in the metric.

    Raises:
        TypeError: if `function` is not callable.
        ValueError: if a weight is not positive.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Elementwise
        >>> x, y = Elementwise(jnp.exp).project((jnp.zeros(1), jnp.full((1,), 2.0)))
        >>> print(f"{x[0]:.3f} {y[0]:.3f}")
        0.524 1.690
    """

    # All arrays together are one point.
    axis: None = eqx.field(default=None, init=False, static=True)
    function: Callable[[Array], Array]
    input_weight: float | Float[Array, "..."] = 1.0
    output_weight: float | Float[Array, "..."] = 1.0

    def __check_init__(self):
        """Reject what is no function, and weights that make no metric."""
        if not callable(self.function):
            raise TypeError(f"`function` must be callable, but was {self.function!r}.")
        check_weight("input_weight", self.input_weight)
        check_weight("output_weight", self.output_weight)

    def project(
        self, x: tuple[Float[Array, "*shape"], Float[Array, "*shape"]]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Returns a nearest point of the graph.

        Args:
            x: the pair (x, y) of arrays of one shape.

        Returns:
            The pair (x', f(x')).

        Raises:
            TypeError: if an array is not real and floating.
            ValueError: if the two shapes differ, or `function` changes the shape.
        """
        point, value = (as_floating(a, "x") for a in x)
        if point.shape != value.shape:
            raise ValueError(
                "Elementwise.project needs a pair (x, y) of one shape, got shapes "
                f"{point.shape} and {value.shape}."
            )
        dtype = computing_dtype(point, value)
        x0, y0 = point.astype(dtype), value.astype(dtype)
        a = jnp.broadcast_to(jnp.asarray(self.input_weight, dtype), x0.shape)
        c = jnp.broadcast_to(jnp.asarray(self.output_weight, dtype), x0.shape)
        made = jax.eval_shape(self.function, x0)
        if made.shape != x0.shape:
            raise ValueError(
                f"`function` must keep the shape {x0.shape}, but made {made.shape}."
            )

        def derivatives(u):
            """f, f' and f'' at every entry."""
            ones = jnp.ones_like(u)

            def slope(u):
                return jax.jvp(self.function, (u,), (ones,))[::-1]

            (first, f), (second, _) = jax.jvp(slope, (u,), (ones,))
            return f, first, second

        def cost(u):
            total = a * (u - x0) ** 2 + c * (self.function(u) - y0) ** 2
            return jnp.where(jnp.isnan(total), jnp.inf, total)

        def gradient(u):
            f, first = jax.jvp(self.function, (u,), (jnp.ones_like(u),))
            return a * (u - x0) + c * (f - y0) * first

        found = lax.stop_gradient(_search(cost, derivatives, x0, y0, a, c))
        root = with_derivative(gradient, found)
        # 0 * (x + y) keeps a NaN in sight.
        root = root + 0 * (x0 + y0)
        return root.astype(point.dtype), self.function(root).astype(value.dtype)


def _search(cost, derivatives, x0, y0, a, c):
    at_start = cost(x0)
    reach = jnp.sqrt(at_start / a)
    reach = jnp.where(jnp.isfinite(reach), reach, 1e3 * (1 + jnp.abs(x0)))

    def best_of(center, offsets):
        offsets = jnp.asarray(offsets, x0.dtype)

        def look(k, best):
            point, least = best
            u = jnp.clip(center + offsets[k] * reach, x0 - reach, x0 + reach)
            value = cost(u)
            better = value < least
            return jnp.where(better, u, point), jnp.where(better, value, least)

        return lax.fori_loop(0, offsets.shape[0], look, (x0, at_start))[0]

    starts = [
        best_of(x0, _EVEN),
        best_of(x0, _GEOMETRIC),
        best_of(jnp.zeros_like(x0), _GEOMETRIC),
    ]

    def descend(u):
        def step(_, state):
            u, value, damping = state
            f, first, second = derivatives(u)
            slope = a * (u - x0) + c * (f - y0) * first
            gauss_newton = a + c * first**2
            bend = gauss_newton + c * (f - y0) * second
            bend = jnp.where(bend > 0.1 * gauss_newton, bend, gauss_newton)
            new = u - slope / (bend * (1 + damping))
            new_value = cost(new)
            better = new_value <= value
            damping = jnp.where(better, damping / 8, 4 * damping + 1)
            damping = jnp.where(damping < 1e-3, 0, damping)
            return (
                jnp.where(better, new, u),
                jnp.where(better, new_value, value),
                damping,
            )

        return lax.fori_loop(0, 30, step, (u, cost(u), jnp.zeros_like(u)))[:2]

    best, least = descend(starts[0])
    for start in starts[1:]:
        u, value = descend(start)
        better = value < least
        best, least = jnp.where(better, u, best), jnp.where(better, value, least)
    return best
