"""Validation and broadcasting that the sets share.

A wrong argument that is known when a set is built is a `ValueError` or a `TypeError`
there. A traced one is checked when its value is known, by `equinox.error_if` attached
to the leaf, so that a set built outside a loop puts no check inside the loop.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact


def is_concrete(*values: object) -> bool:
    """Whether no value is traced, so that all can be looked at now."""
    return not any(isinstance(value, jax.core.Tracer) for value in values)


def as_floating(value: ArrayLike, name: str) -> Float[Array, "..."]:
    """Returns a point as an array, or says that it is not real and floating.

    Args:
        value: an array, or whatever `jax.numpy.asarray` takes.
        name: the argument's name, for the message.

    Returns:
        The array, of unchanged dtype.

    Raises:
        TypeError: if the dtype is not a real floating one.
    """
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` must have a real floating dtype, but has {array.dtype}."
        )
    return array


def as_inexact(value: ArrayLike, name: str) -> Inexact[Array, "..."]:
    """Returns a point as an array, or says that it is not floating, real or complex.

    Args:
        value: an array, or whatever `jax.numpy.asarray` takes.
        name: the argument's name, for the message.

    Returns:
        The array, of unchanged dtype.

    Raises:
        TypeError: if the dtype is neither real nor complex floating.
    """
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        raise TypeError(
            f"`{name}` must have a floating dtype, real or complex, but has "
            f"{array.dtype}."
        )
    return array


def as_parameter(value: ArrayLike, name: str) -> Float[Array, "..."]:
    """Returns a parameter of a set as a strongly typed floating array.

    Integers and Python numbers take JAX's default floating dtype; a set casts its
    parameters to the dtype of the point, so this never changes a result's dtype.

    Args:
        value: a real number or array.
        name: the argument's name, for the message.

    Returns:
        The array. It is concrete if `value` is, also while a function is traced.

    Raises:
        TypeError: if `value` is not numeric, or is boolean or complex.
    """
    if is_concrete(*jax.tree.leaves(value)):
        # Otherwise a constant met under `jit` would become a tracer, and errors in
        # it would wait for run time.
        with jax.ensure_compile_time_eval():
            return _strongly_typed(value, name)
    return _strongly_typed(value, name)


def _strongly_typed(value, name):
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{name}` must be a real number or array, but was {value!r}."
        ) from error
    if jnp.issubdtype(array.dtype, jnp.floating):
        dtype = array.dtype
        if array.weak_type:
            dtype = jnp.result_type(float)
    elif jnp.issubdtype(array.dtype, jnp.integer):
        dtype = jnp.result_type(float)
    else:
        raise TypeError(f"`{name}` must be real, but has dtype {array.dtype}.")
    return jax.lax.convert_element_type(array, dtype)


def require(
    leaf: Array,
    valid: Callable[..., Bool[Array, "..."]],
    *operands: Array,
    message: str,
) -> Array:
    """Makes an error of a parameter that does not satisfy a condition.

    Args:
        leaf: the parameter.
        valid: maps `operands` to booleans, all of which must hold. Write it so that
            NaN fails: `r >= 0`, not `~(r < 0)`.
        *operands: what `valid` looks at.
        message: names the argument and what is expected of it.

    Returns:
        `leaf`; if an operand is traced, with the run-time check attached.

    Raises:
        ValueError: if all operands are concrete and the condition fails.
    """
    if not is_concrete(leaf, *operands):
        return eqx.error_if(leaf, ~jnp.all(valid(*operands)), message)
    with jax.ensure_compile_time_eval():
        holds = bool(jnp.all(valid(*operands)))
    if not holds:
        given = np.array2string(np.asarray(leaf), threshold=8)
        raise ValueError(f"{message} It was {given}.")
    return leaf


def require_finite(leaf: Array, name: str) -> Array:
    """`require` that every entry of the parameter called `name` is finite."""
    return require(leaf, jnp.isfinite, leaf, message=f"`{name}` must be finite.")


def as_radius(value: ArrayLike) -> Float[Array, "..."]:
    """Returns `radius` as a parameter that is finite and not negative."""
    radius = as_parameter(value, "radius")
    return require(
        radius,
        lambda r: (r >= 0) & jnp.isfinite(r),
        radius,
        message="`radius` must be finite and not negative.",
    )


def is_within(
    size: Float[Array, "..."], radius: Float[Array, "..."]
) -> Bool[Array, "..."]:
    """Whether a norm is at most the radius, but for rounding.

    So a point of the boundary stays as it is, with the derivative of the inside.
    """
    eps = float(jnp.finfo(size.dtype).eps)
    return (size <= radius * (1 + 4 * eps)) & (radius > 0)


def as_axis(axis: int) -> int:
    """Returns `axis`, or says that it is not an integer."""
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise TypeError(f"`axis` must be an integer, but was {axis!r}.")
    return axis


def position(axis: int, x: Array) -> int:
    """Returns the nonnegative position of `axis` in `x`, or says that it has none."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"`axis` = {axis} does not exist in `x` of shape {x.shape}.")
    return axis % x.ndim


def computing_dtype(*arrays: Array) -> jnp.dtype:
    """Returns the dtype to compute in: float64 if an array has it, else float32."""
    # Not `promote_types`, which is an error where promotion is strict.
    has_double = any(array.dtype == jnp.float64 for array in arrays)
    return jnp.dtype(jnp.float64 if has_double else jnp.float32)


def check_length(name: str, shape: tuple[int, ...], x: Array, axis: int) -> None:
    """Checks that the last axis of a parameter is as long as `axis` of the point.

    Args:
        name: the parameter's name.
        shape: the parameter's shape.
        x: the point or points.
        axis: the axis of `x` along which a point lies.

    Raises:
        ValueError: naming both shapes, if the lengths differ.
    """
    if x.shape[position(axis, x)] != shape[-1]:
        raise ValueError(
            f"`{name}` of shape {shape} does not fit `x` of shape {x.shape} along "
            f"axis {axis}: expected length {shape[-1]}."
        )


def along(
    parameter: Float[Array, " n"], x: Float[Array, "..."], axis: int
) -> Float[Array, "..."]:
    """Lays a vector along `axis`: length n there, 1 on every other axis of `x`."""
    shape = [1] * x.ndim
    shape[position(axis, x)] = parameter.shape[0]
    return parameter.reshape(shape)


def per_point(
    name: str, parameter: Float[Array, "..."], x: Float[Array, "..."], axis: int
) -> Float[Array, "..."]:
    """Spreads a parameter of one number per point over all points.

    Args:
        name: the parameter's name.
        parameter: has a shape that broadcasts to the batch: `x.shape` without `axis`.
        x: the points.
        axis: the axis of `x` along which a point lies.

    Returns:
        An array like `x`, but of length 1 along `axis`.

    Raises:
        ValueError: naming both shapes, if the parameter does not broadcast.
    """
    where = position(axis, x)
    batch = x.shape[:where] + x.shape[where + 1 :]
    spread = broadcast(name, parameter, batch, f"the batch shape {batch} of `x`")
    return jnp.expand_dims(spread, where)


def broadcast(
    name: str, parameter: Array, shape: tuple[int, ...], target: str
) -> Array:
    """`jax.numpy.broadcast_to`, with an error that names the parameter and target."""
    try:
        fits = np.broadcast_shapes(parameter.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`{name}` of shape {parameter.shape} does not broadcast to {target}."
        )
    return jnp.broadcast_to(parameter, shape)
