"""Convolutions as one set {Y = conv(X, W)}, with strides, padding, dilation, groups.

The general rule is that of a bilinear node, by conjugate gradients. A weak projection
leaves the movement of X undamped and damps that of W by the Gram matrix of the patches
of X, as a dense layer does: dW = (I + P'P c / b)^-1 P' d, with P the matrix of patches,
a row per output position. Of the rows an even sample is taken, scaled to their number.
"""

import jax
from jax import lax

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
    patches, groups = _patches(operation, inputs[0])
    sampled, total = (
        patches.shape[1],
        displacement.size
        // inputs[1].shape[operation.params["dimension_numbers"].rhs_spec[0]],
    )
    strength = weights.output / weights.inputs[1] * (total / sampled)
    order = operation.params["dimension_numbers"].rhs_spec
    moved = right.transpose(order)
    matrix = moved.reshape(groups, moved.shape[0] // groups, -1)
    solve = jax.vmap(lambda p, g: damped(p, g.T, strength).T)
    moved = solve(patches, matrix).reshape(moved.shape)
    inverse = sorted(range(right.ndim), key=lambda i: order[i])
    return left, moved.transpose(inverse)


def _patches(operation, x):
    """Sampled rows of the matrix of patches, (groups, rows, entries of a filter)."""
    params = operation.params
    numbers = params["dimension_numbers"]
    x = x.transpose(numbers.lhs_spec)
    kernel = operation.avals[1].shape
    window = [kernel[i] for i in numbers.rhs_spec[2:]]
    positions = 1
    for i in numbers.out_spec[2:]:
        positions *= operation.out_avals[0].shape[i]
    examples = x.shape[0]
    every = max(1, examples // max(1, _ROWS // max(1, positions)))
    made = lax.conv_general_dilated_patches(
        x[::every],
        window,
        params["window_strides"],
        params["padding"],
        lhs_dilation=params["lhs_dilation"],
        rhs_dilation=params["rhs_dilation"],
    )
    groups = params["feature_group_count"]
    rows = made.reshape(made.shape[0], groups, made.shape[1] // groups, -1)
    rows = rows.transpose(1, 0, 3, 2).reshape(groups, -1, rows.shape[2])
    return rows[:, :: max(1, rows.shape[1] // _ROWS)], groups
