"""Convolutions as one set {Y = conv(X, W)}, with strides, padding, dilation, groups.

The general rule is that of a bilinear node, by conjugate gradients. A weak projection
leaves the movement of X undamped and damps that of W by the Gram matrix of the patches
of X, as a dense layer does: dW = (I + P'P c / b)^-1 P' d, with P the matrix of patches,
a row per output position. Of the rows an even sample is taken, scaled to their number.
"""

import math

import jax
from jax import lax

from fixproj.nn._graph._patches import ConvolutionForm
from fixproj.nn._graph._registry import register_projection
from fixproj.nn._graph._rules._linear import linear_displacement
from fixproj.nn._graph._rules._ridge import damped


_ROWS = 2048


@register_projection("conv_general_dilated")
def project_convolution(operation, inputs, output, displacement, weights):
    """{Y = conv(X, W)}, one of the two possibly known."""
    left, right = linear_displacement(operation, inputs, displacement, weights)
    if not (weights.weak and operation.free[1]):
        return left, right
    if operation.params["batch_group_count"] != 1 or operation.rows == 1:
        return left, right
    form = ConvolutionForm(operation.params, inputs[1].shape, output.shape)
    total = output.size // form.out_shape[1]
    strength = weights.output / weights.inputs[1] * total
    if weights.curvature is not None:
        moved = weights.curvature.damped(form.kernel(right), strength)
        return left, form.undo_kernel(moved)
    rows = _sample(form, inputs[0], _ROWS)
    share = strength / rows.shape[1]
    moved = jax.vmap(lambda p, g: damped(p, g, share))(rows, form.kernel(right))
    return left, form.undo_kernel(moved)


def rows_of_patches(operation, inputs, wanted):
    """An even sample of the patches of x, (groups, rows, entries of a filter)."""
    kernel, out = operation.avals[1].shape, operation.out_avals[0].shape
    return _sample(ConvolutionForm(operation.params, kernel, out), inputs[0], wanted)


def _sample(form, x, wanted):
    positions = math.prod(form.out_shape[2:])
    examples = max(1, wanted // max(1, positions))
    at = form.lhs[0]
    every = max(1, x.shape[at] // examples)
    rows = form.patches(lax.slice_in_dim(x, 0, None, every, axis=at))
    return rows[:, :: max(1, rows.shape[1] // wanted)]
