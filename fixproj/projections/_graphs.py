r"""Graphs of sums, maxima, and the rectified sum: {(x, y) : y = f(x)}, x along an axis.

In the metric a |dx|^2 + c dy^2 with n inputs:

- sum: the residual e = y - sum x is shared, dx_i = e / (n + a/c), and y = sum x;
- max: every x_i above a level M comes down to it, with c (M - y) the sum of all
  a (x_i - M)+; or, if y is above all of them, the largest x_i alone rises to meet it;
- rectified sum: the sum moves as the input of one rectifier of weight a / n, and its
  movement is shared equally.

V. Elser, "Learning without loss" (2021), for their use in networks.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fixproj.projections._check import as_axis, as_floating, computing_dtype, position
from fixproj.projections._relu import relu_displacement
from fixproj.projections._set import AbstractSet
from fixproj.projections._weights import check_weight


class SumGraph(AbstractSet):
    """The graph of the sum: all (x, y) with y = sum of x along an axis.

    Args:
        input_weight: weight of every entry of x in the metric, positive.
        output_weight: weight of y in the metric.
        inputs_axis: the axis of x that is summed; y has the other axes.

    Raises:
        TypeError: if the axis is not an integer.
        ValueError: if a weight is not positive.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SumGraph
        >>> x, y = SumGraph().project((jnp.array([1.0, 2.0]), jnp.array(6.0)))
        >>> print(x, y)
        [2. 3.] 5.0
    """

    # All arrays together are one point.
    axis: None = eqx.field(default=None, init=False, static=True)
    input_weight: float | Float[Array, ""] = 1.0
    output_weight: float | Float[Array, ""] = 1.0
    inputs_axis: int = eqx.field(default=-1, static=True)

    def __check_init__(self):
        """Reject weights that make no metric."""
        _check(self)

    def project(
        self, x: tuple[Float[Array, "..."], Float[Array, "..."]]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Returns the nearest point of the graph.

        Args:
            x: the pair (x, y).

        Returns:
            The pair (x', sum of x').

        Raises:
            TypeError: if an array is not real and floating.
            ValueError: if the shapes do not fit.
        """
        inputs, output, a, c, restore = _arguments(self, x)
        error = output - jnp.sum(inputs, -1)
        moved = inputs + (error / (inputs.shape[-1] + a / c))[..., None]
        return restore(moved, jnp.sum(moved, -1))


class MaxGraph(AbstractSet):
    """The graph of the maximum: all (x, y) with y = max of x along an axis.

    The set is not convex. If y is above all entries the largest one rises; of several,
    the first.

    Args:
        input_weight: weight of every entry of x in the metric, positive.
        output_weight: weight of y in the metric.
        inputs_axis: the axis of x whose maximum is taken; y has the other axes.

    Raises:
        TypeError: if the axis is not an integer.
        ValueError: if a weight is not positive.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import MaxGraph
        >>> x, y = MaxGraph().project((jnp.array([1.0, 4.0]), jnp.array(2.0)))
        >>> print(x, y)
        [1. 3.] 3.0
    """

    axis: None = eqx.field(default=None, init=False, static=True)
    input_weight: float | Float[Array, ""] = 1.0
    output_weight: float | Float[Array, ""] = 1.0
    inputs_axis: int = eqx.field(default=-1, static=True)

    def __check_init__(self):
        """Reject weights that make no metric."""
        _check(self)

    def project(
        self, x: tuple[Float[Array, "..."], Float[Array, "..."]]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Returns a nearest point of the graph.

        Args:
            x: the pair (x, y).

        Returns:
            The pair (x', max of x').

        Raises:
            TypeError: if an array is not real and floating.
            ValueError: if the shapes do not fit.
        """
        inputs, output, a, c, restore = _arguments(self, x)
        n = inputs.shape[-1]
        first = jax.nn.one_hot(jnp.argmax(inputs, -1), n, dtype=inputs.dtype) > 0
        rises = output >= jnp.max(inputs, -1)
        above = jnp.where(rises[..., None], first, _above(inputs, output, a, c))
        count = jnp.sum(above, -1).astype(inputs.dtype)
        total = jnp.sum(jnp.where(above, inputs, 0), -1)
        level = (a * total + c * output) / (a * count + c)
        moved = jnp.where(above, level[..., None], inputs)
        # 0 * y keeps a NaN in sight.
        return restore(moved + 0 * output[..., None], jnp.max(moved, -1))


class SumReluGraph(AbstractSet):
    """The graph of the rectified sum: all (x, y) with y = max(sum of x, 0).

    The set is not convex.

    Args:
        input_weight: weight of every entry of x in the metric, positive.
        output_weight: weight of y in the metric.
        inputs_axis: the axis of x that is summed; y has the other axes.

    Raises:
        TypeError: if the axis is not an integer.
        ValueError: if a weight is not positive.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SumReluGraph
        >>> x, y = SumReluGraph().project((jnp.array([-1.0, -2.0]), jnp.array(-1.0)))
        >>> print(x, y)
        [-1. -2.] 0.0
    """

    axis: None = eqx.field(default=None, init=False, static=True)
    input_weight: float | Float[Array, ""] = 1.0
    output_weight: float | Float[Array, ""] = 1.0
    inputs_axis: int = eqx.field(default=-1, static=True)

    def __check_init__(self):
        """Reject weights that make no metric."""
        _check(self)

    def project(
        self, x: tuple[Float[Array, "..."], Float[Array, "..."]]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Returns a nearest point of the graph.

        Args:
            x: the pair (x, y).

        Returns:
            The pair (x', max(sum of x', 0)).

        Raises:
            TypeError: if an array is not real and floating.
            ValueError: if the shapes do not fit.
        """
        inputs, output, a, c, restore = _arguments(self, x)
        n = inputs.shape[-1]
        total = jnp.sum(inputs, -1)
        change = relu_displacement(total, output - jnp.maximum(total, 0), a / n, c)
        moved = inputs + (change / n)[..., None]
        return restore(moved, jnp.maximum(total + change, 0))


def _check(graph):
    check_weight("input_weight", graph.input_weight)
    check_weight("output_weight", graph.output_weight)
    as_axis(graph.inputs_axis)


def _arguments(graph, x):
    """The inputs with their axis last, the output, the weights, and the way back."""
    inputs, output = (as_floating(a, "x") for a in x)
    axis = position(graph.inputs_axis, inputs)
    rest = inputs.shape[:axis] + inputs.shape[axis + 1 :]
    if output.shape != rest or inputs.shape[axis] == 0:
        raise ValueError(
            f"{type(graph).__name__}.project needs (x, y) with at least one entry of x "
            f"along axis {axis} and y of shape {rest}, got {inputs.shape} and "
            f"{output.shape}."
        )
    dtype = computing_dtype(inputs, output)

    def restore(new_inputs, new_output):
        new_inputs = jnp.moveaxis(new_inputs, -1, axis)
        return new_inputs.astype(inputs.dtype), new_output.astype(output.dtype)

    a = jnp.asarray(graph.input_weight, dtype)
    c = jnp.asarray(graph.output_weight, dtype)
    moved = jnp.moveaxis(inputs.astype(dtype), axis, -1)
    return moved, output.astype(dtype), a, c, restore


def _above(inputs, output, a, c):
    """Which inputs come down: Newton from below on c (M - y) = a sum (x_i - M)+."""
    inputs, output, a, c = lax.stop_gradient((inputs, output, a, c))

    def unfinished(state):
        return jnp.any(state[2])

    def step(state):
        level, count, active = state
        above = inputs > level[..., None]
        new_count = jnp.sum(above, -1, dtype=jnp.int32)
        total = jnp.sum(jnp.where(above, inputs, 0), -1)
        new = (a * total + c * output) / (a * new_count.astype(inputs.dtype) + c)
        # The set only shrinks, so this ends whatever rounding does.
        active = active & (new_count < count)
        level = jnp.where(active, jnp.maximum(level, new), level)
        return level, jnp.where(active, new_count, count), active

    count = jnp.full(output.shape, inputs.shape[-1] + 1, jnp.int32)
    start = (output, count, jnp.ones(output.shape, bool))
    level, _, _ = lax.while_loop(unfinished, step, start)
    return inputs > level[..., None]
