r"""A convolution as a product of matrices: patches of x times the flattened kernel.

    Y = P(x) K,   P: (groups, examples x positions, channels x window)

Every entry of P is one of x or of its padding: P is a wire, made of strided slices, so
nothing is multiplied and no precision is lost.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fixproj.nn._graph._operation import Operation


class ConvolutionForm:
    """The permutations that make a conv_general_dilated a stack of matrix products."""

    def __init__(self, params, kernel_shape, out_shape):
        numbers = params["dimension_numbers"]
        if params["batch_group_count"] != 1:
            raise NotImplementedError("a convolution with groups of examples")
        self.params, self.groups = params, params["feature_group_count"]
        self.lhs, self.rhs, self.out = (
            tuple(int(i) for i in spec)
            for spec in (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec)
        )
        self.kernel_shape = [kernel_shape[i] for i in self.rhs]
        self.out_shape = [out_shape[i] for i in self.out]

    def patches(self, x: Array) -> Float[Array, "G rows entries"]:
        """Every window of x, also of part of the examples, channel by channel."""
        x = x.transpose(self.lhs)
        params, window, sizes = self.params, self.kernel_shape[2:], self.out_shape[2:]
        config = [(0, 0, 0), (0, 0, 0)]
        for (low, high), dilation in zip(
            params["padding"], params["lhs_dilation"], strict=True
        ):
            config.append((low, high, dilation - 1))
        x = lax.pad(x, jnp.zeros((), x.dtype), config)
        parts = []
        for corner in itertools.product(*(range(n) for n in window)):
            start = [k * d for k, d in zip(corner, params["rhs_dilation"], strict=True)]
            stop = [
                a + (n - 1) * s + 1
                for a, n, s in zip(start, sizes, params["window_strides"], strict=True)
            ]
            parts.append(
                lax.slice(
                    x,
                    (0, 0, *start),
                    (*x.shape[:2], *stop),
                    (1, 1, *params["window_strides"]),
                )
            )
        made = jnp.stack(parts, axis=2)
        examples, channels = x.shape[:2]
        inner = channels // self.groups * len(parts)
        made = made.reshape(examples, self.groups, inner, -1)
        return made.transpose(1, 0, 3, 2).reshape(self.groups, -1, inner)

    def kernel(self, w: Array) -> Float[Array, "G entries features"]:
        """The filters as columns."""
        rows = w.transpose(self.rhs).reshape(self.groups, -1, self._entries)
        return rows.swapaxes(1, 2)

    def undo_kernel(self, matrix: Array) -> Array:
        """The inverse of `kernel`."""
        return _inverse(matrix.swapaxes(1, 2).reshape(self.kernel_shape), self.rhs)

    def output(self, product: Float[Array, "G rows features"]) -> Array:
        """The output of the convolution, from the products."""
        examples, features, *sizes = self.out_shape
        y = product.reshape(self.groups, examples, *sizes, features // self.groups)
        y = jnp.moveaxis(jnp.moveaxis(y, -1, 1), 2, 0)
        return _inverse(y.reshape(self.out_shape), self.out)

    @property
    def _entries(self) -> int:
        return math.prod(self.kernel_shape[1:])


def _inverse(x, order):
    return x.transpose(sorted(range(x.ndim), key=lambda i: order[i]))


def split_convolutions(
    operations: list[Operation], data: set[int], fresh: int
) -> tuple[list[Operation], int]:
    """Replaces each convolution by wires and a product of patches with the kernel.

    Args:
        operations: in the order of evaluation.
        data: variables that depend on x; the patches join them.
        fresh: a number that no variable has, nor any number above it.

    Returns:
        The operations and the next such number. A convolution with groups of examples
        stays as it is.
    """
    result = []
    for op in operations:
        fits = op.name == "conv_general_dilated" and op.kind == "node"
        if not fits or op.params["batch_group_count"] != 1 or op.rows == 1:
            result.append(op)
            continue
        result += _as_product(op, fresh)
        data.update((fresh, fresh + 2))
        fresh += 3
    return result, fresh


def _as_product(op: Operation, fresh: int) -> list[Operation]:
    form = ConvolutionForm(op.params, op.avals[1].shape, op.out_avals[0].shape)
    plain = form.groups == 1
    dtype = op.out_avals[0].dtype

    def flat(matrices):
        return matrices[0] if plain else matrices

    def stacked(matrices):
        return matrices[None] if plain else matrices

    def wire(name, function, free, source, target, aval):
        out = jax.eval_shape(function, aval)
        return dataclasses.replace(
            op,
            name=name,
            kind="wire" if free else "known",
            inputs=(source,),
            outputs=(target,),
            free=(free,),
            params={},
            evaluate=lambda values: [function(values[0])],
            avals=(aval,),
            out_avals=(jax.ShapeDtypeStruct(out.shape, out.dtype),),
        )

    spread = wire(
        "patches",
        lambda x: flat(form.patches(x)),
        op.free[0],
        op.inputs[0],
        fresh,
        op.avals[0],
    )
    columns = wire(
        "reshape",
        lambda w: flat(form.kernel(w)),
        op.free[1],
        op.inputs[1],
        fresh + 1,
        op.avals[1],
    )
    numbers = (((1,), (0,)), ((), ())) if plain else (((2,), (1,)), ((0,), (0,)))
    options = {
        "precision": op.params["precision"],
        "preferred_element_type": op.params["preferred_element_type"],
    }

    def multiply(values):
        left, right = values
        return [lax.dot_general(left, right, numbers, **options).astype(dtype)]

    (left,), (right,) = spread.out_avals, columns.out_avals
    (product,) = jax.eval_shape(multiply, [left, right])
    dot = dataclasses.replace(
        op,
        name="dot_general",
        inputs=(fresh, fresh + 1),
        outputs=(fresh + 2,),
        params={"dimension_numbers": numbers, **options},
        evaluate=multiply,
        avals=(left, right),
        out_avals=(jax.ShapeDtypeStruct(product.shape, product.dtype),),
    )
    back = wire(
        "reshape",
        lambda y: form.output(stacked(y)),
        True,
        fresh + 2,
        op.outputs[0],
        dot.out_avals[0],
    )
    return [spread, columns, dot, back]
