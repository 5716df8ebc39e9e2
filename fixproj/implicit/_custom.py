r"""Any solver made differentiable, by the equation that its answer satisfies.

    y = fn(y, *args)   (custom_fixed_point)        fn(y, *args) = 0   (custom_root)

The solver is never looked into. For a root, T(y) = y - fn(y, *args).
"""

import functools as ft
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.dtypes
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jaxtyping import PyTree, Scalar

from .. import _loop, _tree
from .._check import is_traced
from .._loop import Tolerances
from .._problem import check_same_struct, inexact_arrays
from ._as_adjoint import as_adjoint


def custom_fixed_point(
    fn: Callable[..., PyTree],
    adjoint: optx.AbstractAdjoint | None = None,
    *,
    rtol: float | Scalar | None = None,
    atol: float | Scalar | None = None,
    has_aux: bool = False,
    on_host: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a solver of `y = fn(y, *args)` differentiable.

    A decorator for functions `solver(y0, *args) -> y`. The solver itself is never
    differentiated, so it may be anything: a loop with a data-dependent end, a
    decomposition, `jax.pure_callback`, SciPy. Derivatives come from `fn` at the answer,
    with respect to every inexact array in `args` and everything that `fn` closes over;
    those with respect to `y0` are zero. Keyword arguments go to both functions.

    Args:
        fn: the map, from `(y, *args)` to the structure, shapes and dtypes of `y`. Pure
            JAX.
        adjoint: how derivatives go through the answer; None is
            [`fixproj.implicit.Implicit`][], which supports every mode.
        rtol: the answer is refused unless
            `max|fn(y, *args) - y| <= atol + rtol * max|y|`. None is eps^(1/3) of the
            coarsest dtype in `y`: 4.9e-3 in float32, 6.1e-6 in float64. `float("inf")`
            takes any answer: its derivative is then as wrong as the answer is.
        atol: see `rtol`; None is `rtol`.
        has_aux: whether the solver returns a pair `(y, aux)`. `aux` is handed on,
            without a derivative.
        on_host: whether the solver is a NumPy function. It is then called through
            `jax.pure_callback`, with NumPy arrays (a PRNG key as its key data), under
            `jax.vmap` one lane at a time, and has to return the structure and shapes
            of `y0`; its answer is cast to the dtypes of `y0`. Not with `has_aux`.
            Without it, a NumPy solver works as long as nothing is traced by `jax.jit`
            or `jax.vmap`.

    Returns:
        The decorator.

    Raises:
        TypeError: if `fn`, the solver or `adjoint` is of the wrong kind; on a call, if
            a leaf of the answer is not numeric.
        ValueError: on a call, if `fn` or a solver on the host returns another
            structure, shape or dtype.
        equinox.EquinoxRuntimeError: (a `RuntimeError`) on a call, if the answer is not
            a fixed point.

    Examples:
        >>> import fixproj as fp, jax, jax.numpy as jnp, numpy as np
        >>> def power_step(y, matrix):
        ...     y = matrix @ y
        ...     return y / jnp.linalg.norm(y)
        >>> @fp.implicit.custom_fixed_point(power_step, on_host=True)
        ... def largest(y0, matrix):
        ...     w, v = np.linalg.eig(matrix)
        ...     v = v[:, np.argmax(w)]
        ...     return v * np.sign(v.sum())
        >>> @jax.jit
        ... def eigenvalue(matrix):
        ...     y = largest(jnp.ones(2), matrix)
        ...     return y @ matrix @ y
        >>> with jnp.printoptions(precision=4):
        ...     print(jax.grad(eigenvalue)(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
        [[0.2389 0.5222]
         [0.3482 0.7611]]
    """
    return _decorator("custom_fixed_point", fn, adjoint, rtol, atol, has_aux, on_host)


def custom_root(
    fn: Callable[..., PyTree],
    adjoint: optx.AbstractAdjoint | None = None,
    *,
    rtol: float | Scalar | None = None,
    atol: float | Scalar | None = None,
    has_aux: bool = False,
    on_host: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a solver of `fn(y, *args) = 0` differentiable.

    A decorator for functions `solver(y0, *args) -> y`, as
    [`fixproj.implicit.custom_fixed_point`][], where everything else is said. For a
    minimiser, `fn` is the gradient of what it minimises.

    Args:
        fn: the residual, from `(y, *args)` to the structure, shapes and dtypes of `y`.
        adjoint: how derivatives go through the answer, for the map `y - fn(y, *args)`.
            None is [`fixproj.implicit.Implicit`][], which does not need that map to
            contract; [`fixproj.implicit.TwoPhase`][] does.
        rtol: the answer is refused unless
            `max|fn(y, *args)| <= atol + rtol * max|dfn/dy y|`; None as there.
        atol: see `rtol`; None is `rtol`. Set it if the residual is of another size
            than 1.
        has_aux: whether the solver returns a pair `(y, aux)`.
        on_host: whether the solver is a NumPy function.

    Returns:
        The decorator.

    Raises:
        TypeError: as for [`fixproj.implicit.custom_fixed_point`][].
        ValueError: as there.
        equinox.EquinoxRuntimeError: (a `RuntimeError`) on a call, if the answer is not
            a root.

    Examples:
        >>> import fixproj as fp, jax, numpy as np
        >>> @fp.implicit.custom_root(lambda y, a: y**3 - a, on_host=True)
        ... def cube_root(y0, a):
        ...     return np.cbrt(a)
        >>> slope = jax.grad(cube_root, argnums=1)
        >>> print(f"{slope(1.0, 8.0):.4f} {jax.grad(slope, argnums=1)(1.0, 8.0):.4f}")
        0.0833 -0.0069
    """
    return _decorator("custom_root", fn, adjoint, rtol, atol, has_aux, on_host)


def _decorator(owner, fn, adjoint, rtol, atol, has_aux, on_host):
    if not callable(fn):
        raise TypeError(f"{owner}: `fn` must be a function, got {type(fn).__name__}.")
    if adjoint is not None and not isinstance(adjoint, optx.AbstractAdjoint):
        raise TypeError(
            f"{owner}: `adjoint` must be a member of fixproj.implicit such as "
            "fixproj.implicit.TwoPhase(), or an adjoint of optimistix, got "
            f"{adjoint!r}."
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is None or is_traced(value):
            continue
        if isinstance(value, str) or jnp.ndim(value) != 0 or not float(value) >= 0:
            raise ValueError(f"{owner}: `{name}` must be a scalar >= 0, got {value!r}.")
    if has_aux and on_host:
        raise ValueError(f"{owner}: `has_aux` cannot be used with `on_host`.")
    adjoint = as_adjoint(adjoint)

    def decorate(solver):
        if not callable(solver):
            raise TypeError(
                f"{owner}: the decorated solver must be a function (y0, *args) -> y, "
                f"got {type(solver).__name__}."
            )

        @ft.wraps(solver)
        def solve(y0, *args, **kwargs):
            answer = _call(owner, solver, has_aux, on_host, y0, args, kwargs)
            y, aux = answer if has_aux else (answer, None)
            y = inexact_arrays(y, f"{owner}: the solver's answer")
            y, error, allowed = _attached(
                owner, fn, adjoint, y, args, kwargs, (rtol, atol)
            )
            y = _checked(owner, y, error, allowed)
            return (y, aux) if has_aux else y

        return solve

    return decorate


@eqx.filter_jit
def _attached(owner, fn, adjoint, y, args, kwargs, tolerances):
    """The answer with its derivative, its residual, and the largest one allowed."""
    y = _tree.stop_gradient(y)
    condition = eqx.filter_closure_convert(
        lambda y: _condition(owner, fn, y, args, kwargs), y
    )
    frozen = _tree.stop_gradient(condition)
    if owner == "custom_root":
        residual, slope = jax.jvp(frozen, (y,), (y,))
        error, size = _tree.max_norm(residual), _tree.max_norm(slope)
        apply = _AsMap(condition)
    else:
        error, size = _tree.max_norm(_tree.subtract(frozen(y), y)), _tree.max_norm(y)
        apply = condition
    rtol, atol = tolerances
    rtol = _tree.coarsest_epsilon(y) ** (1 / 3) if rtol is None else rtol
    atol = rtol if atol is None else atol
    scale = lambda t: jnp.asarray(t).astype(error.dtype)
    # inf * 0 is no number, but an infinite tolerance allows everything.
    allowed = scale(atol) + scale(rtol) * size
    allowed = jnp.where(jnp.isinf(scale(rtol)), jnp.inf, allowed)
    of_derivative = Tolerances(_loop.default_rtol(y), None, _tree.max_norm)
    return adjoint.attach(apply, y, of_derivative, True), error, allowed


class _AsMap(eqx.Module):
    """The map whose fixed points are the roots of `residual`."""

    residual: Callable[[PyTree], PyTree]

    def __call__(self, y):
        return _tree.subtract(y, self.residual(y))


def _condition(owner, fn, y, args, kwargs):
    value = fn(y, *args, **kwargs)
    try:
        structs = jax.eval_shape(lambda: value)
    except TypeError as error:
        raise ValueError(f"{owner}: `fn` must return arrays: {error}") from error
    check_same_struct(jax.eval_shape(lambda: y), structs, f"{owner}: `fn`")
    return jtu.tree_map(jnp.asarray, value)


def _call(owner, solver, has_aux, on_host, y0, args, kwargs):
    """The solver's answer, cut from differentiation."""
    if on_host:
        y0 = _tree.stop_gradient(inexact_arrays(y0, f"{owner}: `y0`"))
        return _call_on_host(owner, solver, y0, *_tree.stop_gradient((args, kwargs)))
    y0, args, kwargs = _tree.stop_gradient((y0, args, kwargs))
    try:
        # Values that the solver closes over have to be cut as well.
        traced = eqx.filter_closure_convert(
            lambda y0, args, kwargs: solver(y0, *args, **kwargs), y0, args, kwargs
        )
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.ConcretizationTypeError,
        jax.errors.NonConcreteBooleanIndexError,
    ) as error:
        if any(map(is_traced, jtu.tree_leaves((y0, args, kwargs)))):
            raise TypeError(
                f"{owner}: the solver cannot be traced by JAX (is it a NumPy "
                "function?), but its arguments are. Pass `on_host=True` to have it "
                "called through `jax.pure_callback`."
            ) from error
    else:
        return _tree.stop_gradient(traced)(y0, args, kwargs)
    answer = solver(y0, *args, **kwargs)
    y, aux = answer if has_aux else (answer, None)
    y = _cast(y, y0)
    return (y, aux) if has_aux else y


def _cast(y, y0):
    """What is no JAX array yet in the dtypes of `y0`: NumPy knows few but float64."""
    if jtu.tree_structure(y) != jtu.tree_structure(y0):
        return y

    def cast(new, old):
        dtype = getattr(old, "dtype", None)
        if isinstance(new, jax.Array) or dtype is None:
            return new
        if not jnp.issubdtype(dtype, jnp.inexact):
            return new
        if np.iscomplexobj(new) and not jnp.issubdtype(dtype, jnp.complexfloating):
            return new
        return jnp.asarray(new, dtype)

    return jtu.tree_map(cast, y, y0)


def _call_on_host(owner, solver, y0, args, kwargs):
    arrays, static = eqx.partition((y0, args, kwargs), eqx.is_array_like)

    def as_numbers(x):
        is_key = jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)
        return jr.key_data(x) if is_key else x

    # Functions reach the other side untouched; the key data of a PRNG key is numeric.
    keys, arrays = eqx.partition(arrays, _is_key)
    arrays = eqx.combine(jtu.tree_map(as_numbers, keys), arrays)
    structs = jax.eval_shape(lambda: y0)

    def call(arrays):
        arrays = jtu.tree_map(np.asarray, arrays)
        y0, args, kwargs = eqx.combine(arrays, static)
        y = solver(y0, *args, **kwargs)
        if jtu.tree_structure(y) != jtu.tree_structure(structs):
            raise ValueError(
                f"{owner}: the solver must return the structure of `y0`: expected "
                f"{jtu.tree_structure(structs)}, got {jtu.tree_structure(y)}."
            )

        def convert(path, new, struct):
            new = np.asarray(new)
            where = f"{owner}: the solver's answer{jtu.keystr(path)}"
            if new.shape != struct.shape:
                raise ValueError(
                    f"{where} must have the shape of `y0`, {struct.shape}, got "
                    f"{new.shape}."
                )
            if np.iscomplexobj(new) and not np.issubdtype(
                struct.dtype, np.complexfloating
            ):
                raise TypeError(f"{where} is complex, but `y0` is {struct.dtype}.")
            return new.astype(struct.dtype)

        return jtu.tree_map_with_path(convert, y, structs)

    return jax.pure_callback(call, structs, arrays, vmap_method="sequential")


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _checked(owner, y, error, allowed):
    """`y`, or an error if it does not satisfy the equation."""
    error, allowed = _tree.stop_gradient((error, allowed))
    equation = "= 0" if owner == "custom_root" else "= y"
    message = (
        f"{owner}: the solver's answer y is no solution of `fn(y, *args) {equation}`, "
        "so that its derivative would be wrong. Check the solver and `fn`; if the "
        "answer is meant to be a rough one, raise `rtol` or `atol`."
    )
    if is_traced(error):
        return eqx.error_if(y, ~(error <= allowed), message)
    if not bool(error <= allowed):
        raise eqx.EquinoxRuntimeError(
            f"{message} (residual {error:.2e}, allowed {allowed:.2e})"
        )
    return y
