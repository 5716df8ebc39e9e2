r"""The graph of a matrix product, {(X, W, Y) : Y = X W}, as one set.

The nearest point in the metric
left_weight |dX|^2 + right_weight |dW|^2 + output_weight |dY|^2 is sought by
Gauss-Newton steps. With R = Y - X W, one step solves the linearised problem exactly:

    min  a |dX|^2 + b |dW|^2 + c |dY|^2   s.t.   dX W + X dW - dY = R,

whose multiplier L solves the Sylvester equation

    L (W'W / a + I / c) + (X X' / b) L = R,    dX = L W' / a,    dW = X' L / b.

Both symmetric factors are diagonalised; of X X' and X'X the smaller is decomposed, the
rest of the space being a multiple of the identity. When X cannot move (a = inf) this is
ridge regression and one Cholesky factorisation. At the end Y is set to X W, so the
result is on the graph whatever the linearisation left out.

Everything is written for displacements D = Y - X W, dX, dW: close to convergence they
are far smaller than the points, and float32 would lose them.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

from fixproj.projections._precision import at_least_single
from fixproj.projections._set import AbstractSet
from fixproj.projections._weights import check_weight


class ProductDisplacement(NamedTuple):
    """Movement of the factors; None for a factor that is fixed."""

    left: Array | None
    right: Array | None
    bias: Array | None


def product_displacement(
    left: Array,
    right: Array,
    bias: Array | None,
    displacement: Array,
    left_weight: float | Array,
    right_weight: float | Array,
    output_weight: float | Array,
    steps: int = 1,
) -> ProductDisplacement:
    """Projects (X, W, b, X W + 1 b' + displacement) onto {Y = X W + 1 b'}.

    An infinite (Python float) weight marks a factor that cannot move. The bias is a row
    of W that meets a column of ones, which cannot move either.
    """
    dtype = jnp.result_type(left.dtype, right.dtype, displacement.dtype)
    # LAPACK knows no half precision.
    work = at_least_single(dtype)
    x, w, d = (jnp.asarray(a, work) for a in (left, right, displacement))
    fixed_left, fixed_right = _is_fixed(left_weight), _is_fixed(right_weight)
    if fixed_left and fixed_right:
        return ProductDisplacement(None, None, None)
    if fixed_right and bias is None:
        dx = _left_only(w, d, left_weight, output_weight)
        return ProductDisplacement(dx.astype(dtype), None, None)

    x1 = x if bias is None else jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)
    if fixed_left:
        dw = _right_only(x1, d, right_weight, output_weight)
        dx = None
    elif fixed_right:
        raise ValueError("A fixed right factor with a moving bias is not supported.")
    else:
        dx = jnp.zeros_like(x)
        dw = jnp.zeros((x1.shape[1], w.shape[1]), work)
        inputs = x.shape[1]
        for _ in range(steps):
            residual = d + dx @ dw[:inputs]
            x_now = x1.at[:, :inputs].add(dx)
            w_now = w + dw[:inputs]
            dx, dw = _both(
                x_now, w_now, residual, left_weight, right_weight, output_weight
            )
        dx = dx.astype(dtype)
    dw = dw.astype(dtype)
    if bias is None:
        return ProductDisplacement(dx, dw, None)
    return ProductDisplacement(dx, dw[:-1], dw[-1])


def _is_fixed(weight) -> bool:
    return isinstance(weight, float) and math.isinf(weight)


def _both(x1, w, residual, left_weight, right_weight, output_weight):
    """The linearised problem with both factors free; x1 may have one more column."""
    output_spectrum, q = jnp.linalg.eigh(w.T @ w / left_weight)
    # Rounding makes zero eigenvalues slightly negative.
    output_spectrum = jnp.maximum(output_spectrum, 0) + 1 / output_weight
    rotated = residual @ q
    rows, columns = x1.shape
    if columns < rows:
        spectrum, v = jnp.linalg.eigh(x1.T @ x1)
        spectrum = jnp.maximum(spectrum, 0)
        # (X X'/b + s)^-1 r = (r - X (X'X + b s)^-1 X' r) / s, and
        # X' (X X'/b + s)^-1 r / b = (X'X + b s)^-1 X' r needs no difference at all.
        shifted = spectrum[:, None] + right_weight * output_spectrum[None, :]
        rotated_dw = v @ ((v.T @ (x1.T @ rotated)) / shifted)
        multiplier = (rotated - x1 @ rotated_dw) / output_spectrum[None, :]
    else:
        spectrum, u = jnp.linalg.eigh(x1 @ x1.T / right_weight)
        spectrum = jnp.maximum(spectrum, 0)
        shifted = spectrum[:, None] + output_spectrum[None, :]
        multiplier = u @ ((u.T @ rotated) / shifted)
        rotated_dw = x1.T @ multiplier / right_weight
    return multiplier @ (q.T @ w.T) / left_weight, rotated_dw @ q.T


def _ridge(a, b, ridge):
    """Minimises |a z - b|^2 + ridge |z|^2, through the smaller Gram matrix."""
    rows, columns = a.shape
    if columns <= rows:
        gram = a.T @ a + ridge * jnp.eye(columns, dtype=a.dtype)
        return jsl.cho_solve(jsl.cho_factor(gram), a.T @ b)
    gram = a @ a.T + ridge * jnp.eye(rows, dtype=a.dtype)
    return a.T @ jsl.cho_solve(jsl.cho_factor(gram), b)


def _right_only(x1, displacement, right_weight, output_weight):
    return _ridge(x1, displacement, right_weight / output_weight)


def _left_only(w, displacement, left_weight, output_weight):
    return _ridge(w.T, displacement.T, left_weight / output_weight).T


class MatrixProduct(AbstractSet):
    """The graph of the matrix product: all (X, W, Y) with Y = X W.

    The set is not convex. `project` returns a point on the graph that solves the
    linearised nearest-point problem exactly (`steps=1`). More steps relinearise at the
    point reached; where they converge it is a stationary point of the true problem.

    Args:
        left_weight: weight of X in the metric; `math.inf` keeps X as it is.
        right_weight: weight of W in the metric; `math.inf` keeps W as it is.
        output_weight: weight of Y in the metric.
        steps: number of Gauss-Newton steps.

    Raises:
        ValueError: if a weight is not positive, or `steps < 1`.

    References:
        Elser, "Learning without loss", 2021, projects one bilinear constraint per
        output; here the whole product is one constraint. The Sylvester equation of the
        linearisation is solved as in Bartels and Stewart, 1972, symmetric case.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import MatrixProduct
        >>> one = jnp.ones((1, 1))
        >>> x, w, y = MatrixProduct().project((one, one, 2 * one))
        >>> bool(jnp.all(y == x @ w))
        True
    """

    # All arrays together are one point.
    axis: None = eqx.field(default=None, init=False, static=True)
    left_weight: float | Float[Array, ""] = 1.0
    right_weight: float | Float[Array, ""] = 1.0
    output_weight: float | Float[Array, ""] = 1.0
    steps: int = 1

    def __check_init__(self):
        """Reject weights that make no metric and empty iterations."""
        check_weight("left_weight", self.left_weight, allow_infinite=True)
        check_weight("right_weight", self.right_weight, allow_infinite=True)
        check_weight("output_weight", self.output_weight)
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}.")

    def project(
        self,
        x: tuple[Float[Array, "b i"], Float[Array, "i o"], Float[Array, "b o"]],
    ) -> tuple[Float[Array, "b i"], Float[Array, "i o"], Float[Array, "b o"]]:
        """A near point of the graph.

        Args:
            x: the triple (X, W, Y) of matrices.

        Returns:
            The triple (X', W', X' W').

        Raises:
            ValueError: if the shapes do not make a product.
        """
        left, right, output = x
        shapes = (left.shape, right.shape, output.shape)
        if (
            any(len(shape) != 2 for shape in shapes)
            or left.shape[1] != right.shape[0]
            or output.shape != (left.shape[0], right.shape[1])
        ):
            raise ValueError(
                "MatrixProduct.project needs matrices (X, W, Y) with Y shaped like "
                f"X @ W, got shapes {shapes[0]}, {shapes[1]} and {shapes[2]}."
            )
        moved = product_displacement(
            left,
            right,
            None,
            output - left @ right,
            self.left_weight,
            self.right_weight,
            self.output_weight,
            self.steps,
        )
        left = left if moved.left is None else left + moved.left
        right = right if moved.right is None else right + moved.right
        return left, right, left @ right
