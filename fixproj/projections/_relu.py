r"""The graph of the rectifier, {(x, y) : y = max(x, 0)}, and of the maximum of two.

The graph of relu is two half-lines. The nearest point in the metric
input_weight |x - x0|^2 + output_weight |y - y0|^2 is the nearer of

- (u, u), u = max((input_weight x0 + output_weight y0) / (sum of weights), 0), and
- (min(x0, 0), 0).

Both candidates are carried as displacements from x0: near convergence the movement is
far smaller than the point, and float32 would lose it in the difference of two points.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.projections._set import AbstractSet
from fixproj.projections._weights import check_weight


def relu_displacement(
    x: Array,
    displacement: Array,
    input_weight: float | Array = 1.0,
    output_weight: float | Array = 1.0,
) -> Array:
    """How far x moves when (x, relu(x) + displacement) is projected onto the graph."""
    # y0 - x0 for y0 = relu(x) + displacement, without the cancellation.
    above = jnp.maximum(-x, 0) + displacement
    target = jnp.maximum(x, 0) + displacement
    share = output_weight / (input_weight + output_weight)
    on_slope = jnp.maximum(share * above, -x)
    on_flat = jnp.minimum(-x, 0)
    slope_cost = input_weight * on_slope**2 + output_weight * (on_slope - above) ** 2
    flat_cost = input_weight * on_flat**2 + output_weight * target**2
    return jnp.where(slope_cost <= flat_cost, on_slope, on_flat)


def maximum_displacement(
    x: Array,
    y: Array,
    displacement: Array,
    x_weight: float | Array = 1.0,
    y_weight: float | Array = 1.0,
    output_weight: float | Array = 1.0,
) -> tuple[Array, Array]:
    """Movement of x and y when (x, y, max(x, y) + displacement) is projected.

    The set {(x, y, z) : z = max(x, y)} is the union of {z = x >= y} and {z = y >= x}.
    On either, drop the inequality first; where it fails, all three are equal.
    """
    top = jnp.maximum(x, y)

    def candidate(winner, loser, winner_weight, loser_weight):
        rise = top - winner + displacement
        both = winner_weight + output_weight
        alone = output_weight * rise / both
        gap = loser - winner
        together = (output_weight * rise + loser_weight * gap) / (both + loser_weight)
        wins = alone >= gap
        d_winner = jnp.where(wins, alone, together)
        d_loser = jnp.where(wins, 0, together - gap)
        cost = (
            winner_weight * d_winner**2
            + loser_weight * d_loser**2
            + output_weight * (d_winner - rise) ** 2
        )
        return d_winner, d_loser, cost

    dx_first, dy_first, first = candidate(x, y, x_weight, y_weight)
    dy_second, dx_second, second = candidate(y, x, y_weight, x_weight)
    # On a tie keep the branch that the point is on already.
    nearer = jnp.where(first == second, x >= y, first < second)
    dx = jnp.where(nearer, dx_first, dx_second)
    dy = jnp.where(nearer, dy_first, dy_second)
    return dx, dy


class ReluGraph(AbstractSet):
    """The graph of the rectifier, elementwise: all (x, y) with y = max(x, 0).

    The set is not convex; where two points of it are equally near, the one on the
    slope y = x is taken.

    Args:
        input_weight: weight of x in the metric, a positive number or an array that
            broadcasts against x.
        output_weight: weight of y in the metric.

    Raises:
        ValueError: if a weight is not positive.

    References:
        Elser, "Learning without loss", 2021 (the relu constraint of neural networks).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import ReluGraph
        >>> x, y = ReluGraph().project((jnp.array([1.0]), jnp.array([3.0])))
        >>> float(x[0]), float(y[0])
        (2.0, 2.0)
    """

    # All arrays together are one point.
    axis: None = eqx.field(default=None, init=False, static=True)
    input_weight: float | Float[Array, "..."] = 1.0
    output_weight: float | Float[Array, "..."] = 1.0

    def __check_init__(self):
        """Reject weights that make no metric."""
        check_weight("input_weight", self.input_weight)
        check_weight("output_weight", self.output_weight)

    def project(
        self, x: tuple[Float[Array, "*shape"], Float[Array, "*shape"]]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The nearest point of the graph.

        Args:
            x: the pair (x, y) of arrays of one shape and floating dtype.

        Returns:
            The pair (x', max(x', 0)).

        Raises:
            ValueError: if the two shapes differ.
        """
        point, value = x
        if point.shape != value.shape:
            raise ValueError(
                "ReluGraph.project needs a pair (x, y) of one shape, got shapes "
                f"{point.shape} and {value.shape}."
            )
        moved = point + relu_displacement(
            point,
            value - jnp.maximum(point, 0),
            self.input_weight,
            self.output_weight,
        )
        return moved, jnp.maximum(moved, 0)
