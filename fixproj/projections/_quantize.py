r"""The graph of a staircase: {(x, y) : y = l_k where t_k <= x <= t_(k+1)}.

Every step is a segment, so the nearest point is the nearest of as many clipped points
as there are levels. At a threshold both levels belong to the (closed) set.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_floating,
    as_parameter,
    computing_dtype,
    require,
)
from fixproj.projections._set import AbstractSet
from fixproj.projections._weights import check_weight


class Quantize(AbstractSet):
    """The graph of rounding to levels, elementwise: all (x, y) with y the level of x.

    `Quantize(jnp.array([-1.0, 1.0]))` is the graph of the sign. The set is not convex;
    of several nearest points the one of the lowest level is taken.

    Args:
        levels: values of y, ascending, shape (k,), k >= 1.
        thresholds: where the level changes, ascending, shape (k - 1,); `None` for the
            midpoints, which rounds to the nearest level.
        input_weight: weight of x in the metric, positive.
        output_weight: weight of y in the metric.

    Raises:
        TypeError: if an array is not real.
        ValueError: if a shape is wrong, an array not ascending or not finite (a runtime
            error when it is traced), or a weight not positive.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Quantize
        >>> sign = Quantize(jnp.array([-1.0, 1.0]))
        >>> x, y = sign.project((jnp.array([-0.5, -3.0]), jnp.array([1.0, 1.0])))
        >>> print(x, y)
        [ 0. -3.] [ 1. -1.]
    """

    # All arrays together are one point.
    axis: None = eqx.field(default=None, init=False, static=True)
    levels: Float[Array, " k"]
    thresholds: Float[Array, " k-1"]
    input_weight: float | Float[Array, "..."]
    output_weight: float | Float[Array, "..."]

    def __init__(
        self,
        levels: ArrayLike,
        thresholds: ArrayLike | None = None,
        input_weight: float | Float[Array, "..."] = 1.0,
        output_weight: float | Float[Array, "..."] = 1.0,
    ):
        self.levels = _ascending(as_parameter(levels, "levels"), "levels")
        k = self.levels.shape[0]
        if k == 0:
            raise ValueError("`levels` must have at least one entry.")
        if thresholds is None:
            self.thresholds = 0.5 * self.levels[1:] + 0.5 * self.levels[:-1]
        else:
            thresholds = as_parameter(thresholds, "thresholds")
            self.thresholds = _ascending(thresholds, "thresholds")
            if self.thresholds.shape != (k - 1,):
                raise ValueError(
                    f"`thresholds` must have shape ({k - 1},) to go with {k} levels, "
                    f"but has shape {self.thresholds.shape}."
                )
        check_weight("input_weight", input_weight)
        check_weight("output_weight", output_weight)
        self.input_weight, self.output_weight = input_weight, output_weight

    def project(
        self, x: tuple[Float[Array, "*shape"], Float[Array, "*shape"]]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Returns a nearest point of the graph.

        Args:
            x: the pair (x, y) of arrays of one shape.

        Returns:
            The pair (x', the level of x').

        Raises:
            TypeError: if an array is not real and floating.
            ValueError: if the two shapes differ.
        """
        point, value = (as_floating(a, "x") for a in x)
        if point.shape != value.shape:
            raise ValueError(
                "Quantize.project needs a pair (x, y) of one shape, got shapes "
                f"{point.shape} and {value.shape}."
            )
        dtype = computing_dtype(point, value)
        x0, y0 = point.astype(dtype), value.astype(dtype)
        levels, inner = self.levels.astype(dtype), self.thresholds.astype(dtype)
        end = jnp.full((1,), jnp.inf, dtype)
        shape = (-1, *[1] * x0.ndim)
        lower = jnp.concatenate([-end, inner]).reshape(shape)
        upper = jnp.concatenate([inner, end]).reshape(shape)
        shape = (levels.shape[0], *x0.shape)
        lower, upper = jnp.broadcast_to(lower, shape), jnp.broadcast_to(upper, shape)
        heights = jnp.broadcast_to(levels.reshape((-1, *[1] * x0.ndim)), shape)
        wide = jnp.broadcast_to(x0[None], shape)
        # Not `clip`, which halves the derivative at a tie.
        clipped = jnp.where(wide < lower, lower, jnp.where(wide > upper, upper, wide))
        a = jnp.broadcast_to(jnp.asarray(self.input_weight, dtype), x0.shape)
        c = jnp.broadcast_to(jnp.asarray(self.output_weight, dtype), x0.shape)
        cost = a[None] * (clipped - wide) ** 2 + c[None] * (heights - y0[None]) ** 2
        best = jnp.argmin(cost, 0)[None]
        nearest = jnp.take_along_axis(clipped, best, 0)[0]
        level = jnp.take_along_axis(heights, best, 0)[0]
        # 0 * (x + y) keeps a NaN in sight.
        missing = 0 * (x0 + y0)
        nearest, level = nearest + missing, level + missing
        return nearest.astype(point.dtype), level.astype(value.dtype)


def _ascending(values, name):
    if values.ndim != 1:
        raise ValueError(
            f"`{name}` must have shape (k,), but has shape {values.shape}."
        )
    return require(
        values,
        lambda v: jnp.all(jnp.isfinite(v)) & jnp.all(v[1:] >= v[:-1]),
        values,
        message=f"`{name}` must be finite and ascending.",
    )
