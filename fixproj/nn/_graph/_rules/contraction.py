"""Whole-layer products: dot_general, and dot_general plus bias, as one set {Y = X W}.

A batched product, as in attention, is a bilinear node instead (see `_linear`).

The operand that holds the examples is X, (rows, contracted); the other is W,
(contracted, columns); axes are merged and permuted to that form. A bias is a row of W
that meets a column of ones.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np

from fixproj.nn._graph._registry import register_projection
from fixproj.nn._graph._rules._linear import linear_displacement
from fixproj.nn._graph._rules._ridge import damped
from fixproj.projections._matrix_product import (
    ProductDisplacement,
    _is_fixed,
    product_displacement,
)
from fixproj.projections._precision import at_least_single


class MatrixForm:
    """The permutations that turn a dot_general into a product of two matrices.

    Attributes:
        rows: position (0 or 1) of the operand that holds the rows.
        bias_columns: for the fused layer, which bias entry each column adds.
    """

    def __init__(self, params, avals, rows):
        (contract, batch) = params["dimension_numbers"]
        if batch[0]:
            raise NotImplementedError("a batched matrix product")
        self.rows = rows
        self.shapes = tuple(aval.shape for aval in avals[:2])
        self.contract = tuple(tuple(int(i) for i in axes) for axes in contract)
        self.kept = tuple(
            tuple(i for i in range(len(shape)) if i not in axes)
            for shape, axes in zip(self.shapes, self.contract, strict=True)
        )

    def left(self, operand):
        """The operand with the examples as (rows, contracted)."""
        at = self.rows
        inner = math.prod(self.shapes[at][i] for i in self.contract[at])
        return operand.transpose(self.kept[at] + self.contract[at]).reshape(-1, inner)

    def right(self, operand):
        """The other operand as (contracted, columns)."""
        at = 1 - self.rows
        inner = math.prod(self.shapes[at][i] for i in self.contract[at])
        return operand.transpose(self.contract[at] + self.kept[at]).reshape(inner, -1)

    def product(self, output):
        """The output of the dot_general as (rows, columns)."""
        kept = [[self.shapes[k][i] for i in self.kept[k]] for k in (0, 1)]
        output = output.reshape(math.prod(kept[0]), math.prod(kept[1]))
        return output if self.rows == 0 else output.T

    def undo_left(self, matrix):
        """The inverse of `left`."""
        return self._undo(matrix, self.rows, rows_first=True)

    def undo_right(self, matrix):
        """The inverse of `right`."""
        return self._undo(matrix, 1 - self.rows, rows_first=False)

    def _undo(self, matrix, at, rows_first):
        first, last = self.kept[at], self.contract[at]
        order = first + last if rows_first else last + first
        shape = [self.shapes[at][i] for i in order]
        return matrix.reshape(shape).transpose(np.argsort(order))


@register_projection("dot_general")
def project_dot(operation, inputs, output, displacement, weights):
    """{Y = X W}, one of the two factors possibly known."""
    if operation.params["dimension_numbers"][1][0]:
        return linear_displacement(operation, inputs, displacement, weights)
    left, right, _ = _project(operation, inputs, displacement, weights, bias=None)
    return left, right


@register_projection("affine")
def project_affine(operation, inputs, output, displacement, weights):
    """{Y = X W + 1 b'}; made by fusing a dot_general with the addition of a bias."""
    columns = operation.params["bias_columns"]
    bias = inputs[2].reshape(-1)[columns]
    wanted = operation.params["to_product"](displacement)
    left, right, d_bias = _project(operation, inputs, wanted, weights, bias)
    assert d_bias is not None
    # A bias entry that several columns share gets the mean of their displacements.
    size = inputs[2].size
    total = jnp.zeros(size, d_bias.dtype).at[columns].add(d_bias)
    count = np.bincount(columns, minlength=size).clip(min=1)
    shared = total / jnp.asarray(count, d_bias.dtype)
    return left, right, shared.reshape(inputs[2].shape)


def _project(operation, inputs, displacement, weights, bias):
    form = MatrixForm(operation.params, operation.avals, operation.rows)
    infinite = [
        weight if free else math.inf
        for weight, free in zip(weights.inputs[:2], operation.free[:2], strict=True)
    ]
    at = form.rows
    project = product_displacement
    if weights.weak:
        project = functools.partial(_weak_product, curvature=weights.curvature)
    moved = project(
        form.left(inputs[at]),
        form.right(inputs[1 - at]),
        bias,
        form.product(displacement),
        infinite[at],
        infinite[1 - at],
        weights.output,
    )
    left = None if moved.left is None else form.undo_left(moved.left)
    right = None if moved.right is None else form.undo_right(moved.right)
    first, second = (left, right) if at == 0 else (right, left)
    return first, second, moved.bias


# Rows that the Gram matrix of a weak product's inputs is estimated from.
_ROWS = 64


def _weak_product(x, w, bias, displacement, a, b, c, curvature):
    """`product_displacement` where the factors are heavy, by one small Cholesky solve.

    The Sylvester equation L (W'W / a + I / c) + (X X' / b) L = R is replaced by two
    that agree with it to first order in 1 / a and 1 / b: on the side of the outputs

        L = c R (I - t W'W / (1 + t |W|^2)),   t = c / a,

    which damps by less than the inverse (I + t W'W)^-1 does, and on that of the inputs
    dW = (I + c X'X / b)^-1 X' L / b, with X'X from what is known of past minibatches,
    or else from an even sample of rows.
    """
    dtype = displacement.dtype
    work = at_least_single(dtype)
    x1, w, residual = (value.astype(work) for value in (x, w, displacement))
    left, multiplier = None, c * residual
    if not _is_fixed(a):
        back = multiplier @ w.T
        ratio = c / a
        damping = ratio / (1 + ratio * jnp.sum(w**2))
        multiplier = multiplier - damping * (back @ w)
        left = (multiplier @ w.T / a).astype(dtype)
    if _is_fixed(b):
        return ProductDisplacement(left, None, None)
    if bias is not None:
        x1 = jnp.concatenate([x1, jnp.ones_like(x1[:, :1])], axis=1)
    rows = x1.shape[0]
    right = x1.T @ multiplier / b
    if curvature is not None:
        right = curvature.damped(right[None], c / b * rows)[0]
    else:
        wide = x1.shape[1] > rows
        sample = x1[:: max(1, rows // _ROWS)] if wide else x1
        right = damped(sample, right, c / b * (rows / sample.shape[0]))
    right = right.astype(dtype)
    if bias is None:
        return ProductDisplacement(left, right, None)
    return ProductDisplacement(left, right[:-1], right[-1])


def rows_of_inputs(operation, inputs, wanted):
    """An even sample of rows of X, (1, rows, entries), with ones if there is a bias.

    Args:
        operation: a product that is no batched one.
        inputs: the values of its inputs.
        wanted: about how many rows.
    """
    form = MatrixForm(operation.params, operation.avals, operation.rows)
    x = form.left(inputs[form.rows])
    x = x[:: max(1, x.shape[0] // wanted)]
    if operation.name == "affine":
        x = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)
    return x[None]
