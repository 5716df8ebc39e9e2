"""Composite problems: min f(x) + g(x) + sum h_i(K_i x)."""

import functools as ft
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import PyTree, Scalar

from . import _tree
from ._problem import check_same_struct, inexact_arrays
from .projections import Indicator
from .projections._prox import as_function


class Composite(eqx.Module):
    r"""Minimise `smooth(y, args) + prox(y) + sum h(K y)`.

    Args:
        smooth: a differentiable function of `(y, args)` that returns a real scalar, or
            None for zero.
        prox: a function with `prox(x, step)`, or a set, of `fixproj.projections`; None
            for zero.
        linear: a pair `(K, h)` or a list of pairs: `K` is a matrix (acting on vectors),
            a `lineax` operator, a linear function, or None for the identity; `h` is a
            function or set like `prox`.
        y0: the start, a pytree of real arrays.
        args: passed on to `smooth`: any pytree.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if all terms are None, or shapes do not fit.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> lasso = fp.Composite(
        ...     smooth=lambda y, b: jnp.sum((y - b) ** 2) / 2,
        ...     prox=proj.L1(1.0),
        ...     y0=jnp.zeros(2),
        ...     args=jnp.array([3.0, -0.5]),
        ... )
        >>> print(fp.solve(lasso).value.round(4) + 0.0)
        [2. 0.]
    """

    smooth: Callable[[PyTree, Any], Scalar] | None
    prox: Any
    linear: tuple[tuple[Any, Any], ...]
    y0: PyTree
    args: Any

    def __init__(
        self,
        smooth: Callable[[PyTree, Any], Scalar] | None = None,
        prox: Any = None,
        linear: Any = None,
        y0: PyTree = None,
        args: Any = None,
    ):
        if smooth is None and prox is None and linear is None:
            raise ValueError(
                "Composite: at least one of `smooth`, `prox` and `linear` is needed."
            )
        if y0 is None:
            raise ValueError("Composite: `y0`, the start, is needed.")
        self.y0 = inexact_arrays(y0, "Composite: `y0`")
        self.args = args
        if smooth is not None and not callable(smooth):
            raise TypeError(
                "Composite: `smooth` must be a function smooth(y, args) -> scalar, got "
                f"{type(smooth).__name__}."
            )
        self.smooth = smooth
        if smooth is not None:
            value = jax.eval_shape(lambda y: smooth(y, args), self.y0)
            shape = getattr(value, "shape", None)
            if shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
                raise ValueError(
                    "Composite: `smooth` must return one real floating scalar, got "
                    f"{value}."
                )
        self.prox = None if prox is None else _function(prox, "`prox`", self.y0)
        pairs = _pairs(linear)
        self.linear = tuple(_pair(i, K, h, self.y0) for i, (K, h) in enumerate(pairs))

    def objective(self, y: PyTree) -> Scalar:
        """The value of the whole sum; constraints count as 0 (see `violation`)."""
        terms = [] if self.smooth is None else [self.smooth(y, self.args)]
        functions = [(self.prox, y)] if self.prox is not None else []
        functions += [
            (h, v) for (_, h), v in zip(self.linear, self.forward(y), strict=True)
        ]
        terms += [f(v) for f, v in functions if not isinstance(f, Indicator)]
        dtype = _tree.norm_dtype(y)
        return ft.reduce(
            jnp.add, [jnp.asarray(t).astype(dtype) for t in terms], jnp.zeros((), dtype)
        )

    def gradient(self, y: PyTree) -> PyTree:
        """The gradient of the smooth part; zero if there is none."""
        smooth = self.smooth
        if smooth is None:
            return jtu.tree_map(jnp.zeros_like, y)
        return jax.grad(lambda y: smooth(y, self.args))(y)

    def prox_of_g(self, y: PyTree, step: Any) -> PyTree:
        """The proximal operator of the `prox` part; the identity if there is none."""
        return y if self.prox is None else self.prox.prox(y, step)

    def forward(self, y: PyTree) -> tuple[PyTree, ...]:
        """`K_i y` for every pair of the linear part."""
        return tuple(_apply(K, y) for K, _ in self.linear)

    def adjoint(self, u: tuple[PyTree, ...]) -> PyTree:
        """The sum of `K_i' u_i`."""
        transpose = jax.linear_transpose(self.forward, self.y0)
        return transpose(u)[0]

    def violation(self, y: PyTree) -> Scalar | None:
        """The largest entry by which a projection onto a constraint moves `K y`."""
        functions = [(self.prox, y)] if self.prox is not None else []
        functions += [
            (h, v) for (_, h), v in zip(self.linear, self.forward(y), strict=True)
        ]
        gaps = [
            _tree.max_norm(_tree.subtract(v, f.prox(v)))
            for f, v in functions
            if isinstance(f, Indicator)
        ]
        return ft.reduce(jnp.maximum, gaps) if gaps else None


def _pairs(linear):
    if linear is None:
        return ()
    if (
        isinstance(linear, tuple)
        and len(linear) == 2
        and not isinstance(linear[0], tuple)
    ):
        return (linear,)
    if not isinstance(linear, list | tuple) or not all(
        isinstance(pair, tuple) and len(pair) == 2 for pair in linear
    ):
        raise TypeError(
            "Composite: `linear` must be a pair (K, h), or a list of such pairs, got "
            f"{type(linear).__name__}."
        )
    return tuple(linear)


def _pair(index, K, h, y0):
    name = f"`linear[{index}]`"
    if K is not None and not isinstance(K, lx.AbstractLinearOperator | Callable):
        try:
            K = jnp.asarray(K)
        except TypeError as error:
            raise TypeError(
                f"Composite: the operator of {name} must be a matrix, a lineax "
                f"operator, a linear function or None, got {type(K).__name__}."
            ) from error
        if K.ndim != 2:
            raise ValueError(
                f"Composite: the matrix of {name} must have two axes, got {K.shape}."
            )
    try:
        image = jax.eval_shape(lambda y: _apply(K, y), y0)
    except Exception as error:
        raise ValueError(
            f"Composite: the operator of {name} does not fit `y0`: {error}"
        ) from error
    zeros = jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), image)
    if is_function(K):
        try:
            transpose = jax.linear_transpose(lambda y: _apply(K, y), y0)
            jax.eval_shape(transpose, image)
        except Exception as error:
            raise ValueError(
                f"Composite: the operator of {name} must be linear, and JAX must be "
                f"able to transpose it: {error}"
            ) from error
    return K, _function(h, f"the function of {name}", zeros)


def is_function(K: Any) -> bool:
    """Whether the operator is a plain function, of which linearity is only promised."""
    return callable(K) and not isinstance(K, lx.AbstractLinearOperator)


def _function(function, name, point):
    function = as_function(function, f"Composite: {name}".replace("`", ""))
    expected = jax.eval_shape(lambda: point)
    try:
        got = jax.eval_shape(lambda p: function.prox(p, 1.0), point)
    except Exception as error:
        raise ValueError(f"Composite: {name} cannot take its point: {error}") from error
    check_same_struct(expected, got, f"Composite: {name}")
    return function


def _apply(K, y):
    if K is None:
        return y
    if isinstance(K, lx.AbstractLinearOperator):
        return K.mv(y)
    if callable(K):
        return K(y)
    return K.astype(y.dtype) @ y
