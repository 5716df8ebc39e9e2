r"""The graph of the inner product: {(x, w, y) : y = x'w}.

In the metric a |dx|^2 + b |dw|^2 + c dy^2, with x and w scaled by sqrt(a) and sqrt(b),
and their sum and difference s = x + w, d = x - w, stationarity reads

    s = s0 / (1 - mu),   d = d0 / (1 + mu),   y = y0 - mu sqrt(ab) / c,
    S / (1 - mu)^2 - D / (1 + mu)^2 + mu ab / c = y0 sqrt(ab),
    S = |s0|^2 / 4,   D = |d0|^2 / 4.

The left side increases from -inf to inf on (-1, 1), so the multiplier mu there is
unique; it gives the nearest point: V. Elser, "Learning without loss" (2021), section
3.1. If S = 0 the sum vanishes for every mu < 1, and what is missing is a vector of
known length in any direction. The unknown is the distance u to the nearer pole, and
the equation is multiplied by u^2.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.projections._check import computing_dtype
from fixproj.projections._scalar_root import bracketed_root, with_derivative
from fixproj.projections._set import AbstractSet
from fixproj.projections._weights import check_weight


class Bilinear(AbstractSet):
    """The graph of the inner product: all (x, w, y) with y = sum of x * w.

    Vectors lie along the last axis; the axes before it are a batch, one scalar y each.
    The set is not convex; the result is a nearest point, by a safeguarded scalar solve.
    For a whole matrix product as one constraint see `MatrixProduct`.

    Args:
        left_weight: weight of x in the metric, a positive number or scalar array.
        right_weight: weight of w in the metric.
        output_weight: weight of y in the metric; `math.inf` keeps y as it is.

    Raises:
        ValueError: if a weight is not positive.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Bilinear
        >>> one = jnp.ones(1)
        >>> x, w, y = Bilinear().project((one, one, jnp.array(2.0)))
        >>> print(f"{x[0] * w[0]:.4f} {y:.4f}")
        1.7549 1.7549
    """

    # All arrays together are one point.
    axis: None = eqx.field(default=None, init=False, static=True)
    left_weight: float | Float[Array, ""] = 1.0
    right_weight: float | Float[Array, ""] = 1.0
    output_weight: float | Float[Array, ""] = 1.0

    def __check_init__(self):
        """Reject weights that make no metric."""
        check_weight("left_weight", self.left_weight)
        check_weight("right_weight", self.right_weight)
        check_weight("output_weight", self.output_weight, allow_infinite=True)

    def project(
        self,
        x: tuple[
            Float[Array, "*batch n"], Float[Array, "*batch n"], Float[Array, "*batch"]
        ],
    ) -> tuple[
        Float[Array, "*batch n"], Float[Array, "*batch n"], Float[Array, "*batch"]
    ]:
        """Returns a nearest point of the graph.

        Args:
            x: the triple (x, w, y); y has the shape of x without its last axis.

        Returns:
            The triple (x', w', x'·w').

        Raises:
            ValueError: if the shapes do not fit.
        """
        left, right, output = (jnp.asarray(a) for a in x)
        if (
            left.ndim == 0
            or left.shape != right.shape
            or output.shape != left.shape[:-1]
            or left.shape[-1] == 0
        ):
            raise ValueError(
                "Bilinear.project needs (x, w, y) of shapes (..., n), (..., n) and "
                f"(...), got {left.shape}, {right.shape} and {output.shape}."
            )
        dtype = computing_dtype(left, right, output)
        a, b, c = (
            jnp.asarray(w, dtype)
            for w in (self.left_weight, self.right_weight, self.output_weight)
        )
        new_left, new_right = _project(
            left.astype(dtype), right.astype(dtype), output.astype(dtype), a, b, c
        )
        new_left, new_right = new_left.astype(left.dtype), new_right.astype(right.dtype)
        product = jnp.sum(new_left.astype(dtype) * new_right.astype(dtype), -1)
        return new_left, new_right, product.astype(output.dtype)


def _project(x, w, y, a, b, c):
    root_a, root_b = jnp.sqrt(a), jnp.sqrt(b)
    x, w = root_a * x, root_b * w
    target, bend = y * root_a * root_b, a * b / c
    total, gap = x + w, x - w
    # The problem is symmetric under w -> -w, y -> -y; make the pole of the sum nearer.
    flip = jnp.sum(total**2, -1) / 4 - jnp.sum(gap**2, -1) / 4 > target
    near = jnp.where(flip[..., None], gap, total)
    far = jnp.where(flip[..., None], total, gap)
    target = jnp.where(flip, -target, target)
    near_square, far_square = jnp.sum(near**2, -1) / 4, jnp.sum(far**2, -1) / 4
    distance, missing = _distance_to_pole(near_square, far_square, target, bend)
    n = x.shape[-1]
    anywhere = jnp.full_like(near, 1 / n**0.5) * missing[..., None]
    empty = (near_square == 0)[..., None]
    near = jnp.where(empty, anywhere, near / distance[..., None])
    far = far / (2 - distance)[..., None]
    total = jnp.where(flip[..., None], far, near)
    gap = jnp.where(flip[..., None], near, far)
    return 0.5 * (total + gap) / root_a, 0.5 * (total - gap) / root_b


def _distance_to_pole(near, far, target, bend):
    """U = 1 - mu in (0, 1], with near/u^2 - far/(2 - u)^2 + bend (1 - u) = target.

    Also the length of the sum if `near` vanishes, in which case u may be zero.
    """
    # The left side at u = 1 is at most the target.
    positive = jnp.where(near > 0, near, 1)

    def rest(u):
        return target + far / (2 - u) ** 2 - bend * (1 - u)

    def function(u):
        return u * u * rest(u) - positive

    tiny = float(jnp.finfo(near.dtype).tiny)
    most = jnp.maximum(target + far, tiny)
    least = jnp.sqrt(jnp.minimum(positive / most, 1))
    # The linear term alone keeps u from being smaller than this.
    least = jnp.maximum(
        least, 1 - jnp.maximum(most - near, 0) / jnp.maximum(bend, tiny)
    )
    least = jnp.clip(least, 0, 1)
    zero = jnp.zeros_like(near)
    steps = 20 if near.dtype == jnp.float32 else 30
    u = bracketed_root(function, least, zero + 1, least, steps)
    u = with_derivative(function, u)
    # With nothing near the pole, u = 0 leaves a sum of that length to be had, or
    # u > 0 balances without any.
    height = rest(zero)
    missing = jnp.where(height > 0, 2 * jnp.sqrt(jnp.where(height > 0, height, 1)), 0)

    def balance(u):
        return rest(u)

    balanced = bracketed_root(balance, zero, zero + 1, zero + 0.5, steps)
    balanced = with_derivative(balance, balanced)
    alone = jnp.where(height > 0, 0, balanced)
    return jnp.where(near > 0, u, alone), missing
