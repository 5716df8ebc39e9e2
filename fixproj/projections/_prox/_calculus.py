"""Functions made of functions, with the proximal operators that follow.

    conjugate          f*                    x - s prox_{f/s}(x / s), Moreau's identity
    moreau_envelope    min f(z)+|z-x|^2/2g   x + s/(s+g) (prox_{(s+g) f}(x) - x)
    translate          f(x - a)              a + prox_{sf}(x - a)
    scale              c f(x)                prox_{sc f}(x)
    tilt               f(x) + <a, x>         prox_{sf}(x - s a)
    regularize         f(x) + w |x - a|^2/2  prox_{s/(1+sw) f}((x + s w a) / (1 + s w))
    separable          sum f_i(x_i)          prox of each
    precompose         f(c x)                prox_{c^2 s f}(c x) / c
                       f(Q x), Q Q' = c I    x + Q' (prox_{c s f}(Q x) - Q x) / c

J.-J. Moreau (1965); H. H. Bauschke and P. L. Combettes (2017), Convex Analysis and
Monotone Operator Theory in Hilbert Spaces, propositions 24.8 and 24.14.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._check import (
    as_floating,
    as_parameter,
    broadcast,
    computing_dtype,
    require,
    require_finite,
)
from fixproj.projections._function import (
    AbstractFunction,
    as_positive,
    as_step,
    as_weight,
    total,
)
from fixproj.projections._prox._conjugates import conjugate_value
from fixproj.projections._prox._indicator import Indicator


def as_function(function: Any, name: str = "f") -> Any:
    """A set becomes its indicator; anything else must have a `prox` and be callable."""
    if callable(getattr(function, "project", None)):
        return Indicator(function)
    if callable(getattr(function, "prox", None)) and callable(function):
        return function
    raise TypeError(
        f"`{name}` must be a function with `prox(x, step)` or a set with `project(x)`, "
        f"got {type(function).__name__}."
    )


def _combine(function, *trees):
    """Leaf by leaf in the computing dtype; the result has the dtype of the first."""

    def one(*leaves):
        dtype = computing_dtype(*leaves)
        return function(*(a.astype(dtype) for a in leaves)).astype(leaves[0].dtype)

    return jax.tree.map(one, *trees)


def _points(x: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: as_floating(leaf, "x"), x)


def _step(x, step):
    return as_step(step, computing_dtype(*jax.tree.leaves(x)))


def _shifted(x, amount, factor):
    """X + factor * amount, with `amount` an array or a tree like `x`."""
    if isinstance(amount, jax.Array):
        amount = jax.tree.map(
            lambda leaf: broadcast(
                "offset", amount.astype(leaf.dtype), leaf.shape, "the shape of `x`"
            ),
            x,
        )
    return _combine(lambda x, a: x + _like(factor, x) * a, x, amount)


def _like(scalar, x):
    return jnp.asarray(scalar).astype(x.dtype)


class _Conjugate(AbstractFunction):
    f: Any

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return conjugate_value(self.f, _points(x))

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        x = _points(x)
        step = _step(x, step)
        inner = self.f.prox(_combine(lambda x: x / _like(step, x), x), 1 / step)
        return _combine(lambda x, p: x - _like(step, x) * p, x, inner)


def conjugate(f: Any) -> Any:
    """Returns the convex conjugate `f*(y) = sup_x <x, y> - f(x)`.

    Its proximal operator is that of Moreau's identity. Its value is known for `L1`,
    `WeightedL1`, `L2`, `SquaredL2`, `ElasticNet`, `Huber`, `Zero` and `Linear`, and for
    the sets `Box`, `NonNegative`, `Simplex`, `L1Ball`, `L2Ball` and `LinfBall`; asking
    for any other is a NotImplementedError. Constraints hold up to rounding.

    Args:
        f: a convex function, or a set (the conjugate is then its support function).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> ball = proj.conjugate(proj.L1())
        >>> print(ball.prox(jnp.array([0.5, -3.0])))
        [ 0.5 -1. ]
    """
    f = as_function(f)
    return f.f if isinstance(f, _Conjugate) else _Conjugate(f)


class _MoreauEnvelope(AbstractFunction):
    f: Any
    smoothing: Float[Array, ""]

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        x = _points(x)
        return _envelope(self.f, x, _step(x, self.smoothing))

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        x = _points(x)
        step = _step(x, step)
        whole = step + self.smoothing.astype(step.dtype)
        share = step / whole
        inner = self.f.prox(x, whole)
        return _combine(lambda x, p: x + _like(share, x) * (p - x), x, inner)


def _envelope_at(f, x, smoothing, nearest):
    square = _combine(lambda x, p: (x - p) ** 2, x, nearest)
    value = f(nearest)
    return value + (total(square, lambda x: x) / (2 * smoothing)).astype(value.dtype)


@eqx.filter_custom_jvp
def _envelope(f, x, smoothing):
    return _envelope_at(f, x, smoothing, f.prox(x, smoothing))


@_envelope.def_jvp
def _envelope_jvp(primals, tangents):
    # The envelope theorem: the minimiser counts as fixed, once.
    f, x, smoothing = primals
    nearest = f.prox(x, smoothing)
    _, tangent = eqx.filter_jvp(
        lambda f, x, s: _envelope_at(f, x, s, nearest), primals, tangents
    )
    return _envelope(f, x, smoothing), tangent


def moreau_envelope(f: Any, step: ArrayLike = 1.0) -> AbstractFunction:
    """Returns the smooth function `min_z f(z) + |z - x|^2 / (2 step)`.

    Its gradient is `(x - prox(x)) / step`, and its derivatives are exact in the
    parameters of `f`, too.

    Args:
        f: a function, or a set (the envelope is then the squared distance over
            `2 step`).
        step: the smoothing, a positive scalar.

    Examples:
        >>> import jax
        >>> from fixproj import projections as proj
        >>> huber = proj.moreau_envelope(proj.L1())
        >>> print(huber(0.5), huber(3.0), jax.grad(huber)(3.0))
        0.125 2.5 1.0
    """
    return _MoreauEnvelope(as_function(f), as_positive(step, "step"))


class _Translated(AbstractFunction):
    f: Any
    offset: PyTree

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.f(_shifted(_points(x), self.offset, -1))

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        inner = self.f.prox(_shifted(_points(x), self.offset, -1), step)
        return _shifted(inner, self.offset, 1)


def _offset(value, name):
    if isinstance(value, dict | list | tuple):
        return jax.tree.map(
            lambda v: require_finite(as_parameter(v, name), name), value
        )
    return require_finite(as_parameter(value, name), name)


def translate(f: Any, offset: Any) -> AbstractFunction:
    """Returns `x -> f(x - offset)`.

    Args:
        f: a function or a set.
        offset: an array that broadcasts to `x`, or a dict, list or tuple like `x`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> print(proj.translate(proj.L1(), 2.0).prox(jnp.array([2.5, 5.0])))
        [2. 4.]
    """
    return _Translated(as_function(f), _offset(offset, "offset"))


class _Scaled(AbstractFunction):
    f: Any
    factor: Float[Array, ""]

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        value = self.f(x)
        return self.factor.astype(value.dtype) * value

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        x = _points(x)
        step = _step(x, step)
        return self.f.prox(x, step * self.factor.astype(step.dtype))


def scale(f: Any, factor: ArrayLike) -> AbstractFunction:
    """Returns `x -> factor * f(x)`.

    Args:
        f: a function or a set.
        factor: a positive scalar.

    Examples:
        >>> from fixproj import projections as proj
        >>> print(proj.scale(proj.L1(), 2.0).prox(5.0))
        3.0
    """
    return _Scaled(as_function(f), as_positive(factor, "factor"))


class _Tilted(AbstractFunction):
    f: Any
    slope: PyTree

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        x = _points(x)
        zero = jax.tree.map(jnp.zeros_like, x)
        product = _combine(
            lambda z, a, x: a * x, zero, _shifted(zero, self.slope, 1), x
        )
        value = self.f(x)
        return value + total(product, lambda x: x).astype(value.dtype)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        x = _points(x)
        step = _step(x, step)
        return self.f.prox(_shifted(x, self.slope, -step), step)


def tilt(f: Any, slope: Any) -> AbstractFunction:
    """Returns `x -> f(x) + <slope, x>`.

    Args:
        f: a function or a set.
        slope: an array that broadcasts to `x`, or a dict, list or tuple like `x`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> nonnegative_lasso = proj.tilt(proj.Box(0.0, jnp.inf), 1.0)
        >>> print(nonnegative_lasso.prox(jnp.array([3.0, -2.0])))
        [2. 0.]
    """
    return _Tilted(as_function(f), _offset(slope, "slope"))


class _Regularized(AbstractFunction):
    f: Any
    weight: Float[Array, ""]
    center: PyTree

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        value = self.f(x)
        gap = _shifted(_points(x), self.center, -1)
        square = total(gap, lambda d: d**2) / 2
        return value + (self.weight.astype(square.dtype) * square).astype(value.dtype)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        x = _points(x)
        step = _step(x, step)
        pull = step * self.weight.astype(step.dtype)
        mean = _shifted(x, self.center, pull)
        mean = _combine(lambda m: m / (1 + _like(pull, m)), mean)
        return self.f.prox(mean, step / (1 + pull))


def regularize(f: Any, weight: ArrayLike, center: Any = 0.0) -> AbstractFunction:
    """Returns `x -> f(x) + weight |x - center|^2 / 2`.

    Args:
        f: a function or a set.
        weight: a scalar, not negative.
        center: an array that broadcasts to `x`, or a dict, list or tuple like `x`.

    Examples:
        >>> from fixproj import projections as proj
        >>> print(proj.regularize(proj.L1(), 1.0).prox(5.0))
        2.0
    """
    weight = require(
        as_weight(weight),
        lambda w: jnp.array(w.ndim == 0),
        as_weight(weight),
        message="`weight` must be a scalar.",
    )
    return _Regularized(as_function(f), weight, _offset(center, "center"))


class _Separable(AbstractFunction):
    functions: PyTree

    def _zip(self, operation, x):
        is_function = lambda f: callable(getattr(f, "prox", None))
        return jax.tree.map(operation, self.functions, x, is_leaf=is_function)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        values = jax.tree.leaves(self._zip(lambda f, part: f(part), x))
        dtype = computing_dtype(*values)
        return sum((v.astype(dtype) for v in values), jnp.zeros((), dtype))

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        return self._zip(lambda f, part: f.prox(part, step), x)


def separable(functions: PyTree) -> AbstractFunction:
    """Returns the sum of functions, each of its own part of a pytree.

    Args:
        functions: a pytree of functions and sets whose structure is that of the top of
            the points.

    Examples:
        >>> from fixproj import projections as proj
        >>> f = proj.separable({"a": proj.L1(), "b": proj.Box(0.0, 1.0)})
        >>> z = f.prox({"a": 3.0, "b": 5.0})
        >>> print(z["a"], z["b"])
        2.0 1.0
    """
    is_function = lambda f: hasattr(f, "prox") or hasattr(f, "project")
    functions = jax.tree.map(as_function, functions, is_leaf=is_function)
    if not jax.tree.leaves(functions, is_leaf=is_function):
        raise ValueError("`functions` is empty; at least one is needed.")
    return _Separable(functions)


class _ScalarPrecomposed(AbstractFunction):
    f: Any
    factor: Float[Array, ""]

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.f(_combine(lambda x: _like(self.factor, x) * x, _points(x)))

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        x = _points(x)
        step = _step(x, step)
        factor = self.factor.astype(step.dtype)
        scaled = _combine(lambda x: _like(factor, x) * x, x)
        inner = self.f.prox(scaled, step * factor**2)
        return _combine(lambda p: p / _like(factor, p), inner)


class _OrthogonalPrecomposed(AbstractFunction):
    f: Any
    matrix: Float[Array, "m n"]

    def _apply(self, x):
        if x.ndim == 0 or x.shape[-1] != self.matrix.shape[1]:
            raise ValueError(
                f"`matrix` of shape {self.matrix.shape} does not fit `x` of shape "
                f"{x.shape}: expected length {self.matrix.shape[1]} along axis -1."
            )
        return _product(x, self.matrix.astype(x.dtype).T)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.f(self._apply(as_floating(x, "x")))

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        x = as_floating(x, "x")
        dtype = x.dtype
        x = x.astype(computing_dtype(x))
        step = as_step(step, x.dtype)
        matrix = self.matrix.astype(x.dtype)
        square = jnp.sum(matrix**2) / matrix.shape[0]
        mapped = self._apply(x)
        moved = self.f.prox(mapped, step * square) - mapped
        return (x + _product(moved, matrix) / square).astype(dtype)


def _product(x, y):
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


def precompose(f: Any, operator: ArrayLike) -> AbstractFunction:
    """Returns `x -> f(operator x)` for a scalar, or a matrix with orthogonal rows.

    Args:
        f: a function or a set.
        operator: a nonzero scalar, or a matrix Q of shape (m, n) with Q Q' = c I, which
            acts along the last axis of `x`. For other matrices see `fixproj.Composite`.

    Raises:
        ValueError: if a scalar is 0, or the rows of a matrix are not orthogonal and of
            equal length (a runtime error when traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> rotated = proj.precompose(proj.L1(), jnp.array([[0.0, 1.0], [-1.0, 0.0]]))
        >>> print(rotated.prox(jnp.array([3.0, 0.5])))
        [2. 0.]
    """
    f = as_function(f)
    operator = require_finite(as_parameter(operator, "operator"), "operator")
    if operator.ndim == 0:
        nonzero = require(
            operator, lambda c: c != 0, operator, message="`operator` must not be 0."
        )
        return _ScalarPrecomposed(f, nonzero)
    if operator.ndim != 2:
        raise ValueError(
            f"`operator` must be a scalar or a matrix, but has shape {operator.shape}."
        )
    eps = float(jnp.finfo(operator.dtype).eps)

    def orthogonal(Q):
        gram = _product(Q, Q.T)
        square = jnp.trace(gram) / Q.shape[0]
        error = jnp.max(jnp.abs(gram - square * jnp.eye(Q.shape[0], dtype=Q.dtype)))
        return (error <= 1e2 * eps * Q.shape[1] * square) & (square > 0)

    message = "`operator` must have orthogonal rows of equal length."
    return _OrthogonalPrecomposed(
        f, require(operator, orthogonal, operator, message=message)
    )
