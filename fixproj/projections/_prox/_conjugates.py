"""Values of convex conjugates f*(y) = sup <x, y> - f(x), where they are known.

    w |x|_1                 0 where |y| <= w              SquaredL2    |y|^2 / 2w
    w |x|_2                 0 where |y|_2 <= w            Simplex      r max(y)
    a |x|_1 + b |x|^2 / 2   max(|y| - a, 0)^2 / 2b        L1Ball       r max|y|
    Huber                   |y|^2 / 2w where |y| <= w d   L2Ball       r |y|_2 + <c, y>
    <a, x>                  0 where y = a                 LinfBall     r |y|_1 + <c, y>
    Box                     max(l y, u y)                 NonNegative  0 where y <= 0

and infinity elsewhere. R. T. Rockafellar (1970), Convex Analysis, sections 12 and 13.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from fixproj.projections._box import Box
from fixproj.projections._check import as_floating, computing_dtype, per_point
from fixproj.projections._function import total
from fixproj.projections._l1_ball import L1Ball
from fixproj.projections._l2_ball import L2Ball
from fixproj.projections._linf_ball import LinfBall
from fixproj.projections._nonnegative import NonNegative
from fixproj.projections._norm import direction_and_norm
from fixproj.projections._prox._elastic_net import ElasticNet
from fixproj.projections._prox._huber import Huber
from fixproj.projections._prox._indicator import Indicator
from fixproj.projections._prox._l1 import L1
from fixproj.projections._prox._l2 import L2
from fixproj.projections._prox._linear import Linear
from fixproj.projections._prox._squared_l2 import SquaredL2
from fixproj.projections._prox._weighted_l1 import WeightedL1
from fixproj.projections._prox._zero import Zero
from fixproj.projections._simplex import Simplex


def conjugate_value(f: Any, y: PyTree) -> Float[Array, ""]:
    """The value of the conjugate of `f` at `y`; a NotImplementedError if not known."""
    if isinstance(f, Indicator):
        support = _SUPPORT.get(type(f.set))
        if support is not None:
            return support(f.set, y)
    elif type(f) in _VALUES:
        return _VALUES[type(f)](f, y)
    owner = type(f.set if isinstance(f, Indicator) else f).__name__
    raise NotImplementedError(
        f"The value of the conjugate of {owner} is not known, only its proximal "
        "operator."
    )


def _within(size, bound):
    """0 where `size <= bound`, up to rounding, else infinity."""
    slack = 64 * float(jnp.finfo(size.dtype).eps) * (jnp.abs(bound) + jnp.abs(size))
    outside = jnp.where(jnp.isnan(size), jnp.nan, jnp.inf).astype(size.dtype)
    return jnp.where(size <= bound + slack, jnp.zeros_like(size), outside)


def _half_square(y, w):
    """y^2 / 2w; for w = 0 the indicator of 0."""
    flat = w == 0
    return jnp.where(flat, _within(jnp.abs(y), w), y**2 / (2 * jnp.where(flat, 1, w)))


def _rounding(a):
    return 64 * float(jnp.finfo(a.dtype).eps) * jnp.abs(a)


def _weighted_l1(f, y):
    y = as_floating(y, "x")
    y = jnp.moveaxis(y.astype(computing_dtype(y)), f.axis, -1)
    return total(y, lambda y, w: _within(jnp.abs(y), w), weights=f.weights)


def _l2(f, y):
    y, weight = f._prepare(y)
    return jnp.sum(_within(direction_and_norm(y, f._axes(y))[1], weight))


def _elastic_net(f, y):
    outside = lambda y, a, b: _half_square(jnp.maximum(jnp.abs(y) - a, 0), b)
    return total(y, outside, l1=f.l1, l2=f.l2)


def _huber(f, y):
    value = lambda y, d, w: _half_square(y, w) + _within(jnp.abs(y), w * d)
    return total(y, value, threshold=f.threshold, weight=f.weight)


def _box(set, y):
    def value(y, lower, upper):
        bound = jnp.where(y > 0, upper, lower)
        # 0 times an infinite bound is 0.
        return jnp.where(y == 0, 0 * y, y * jnp.where(y == 0, 0, bound))

    return total(y, value, lower=set.lower, upper=set.upper)


def _ball(measure):
    def support(set, y):
        y = as_floating(y, "x")
        y = y.astype(computing_dtype(y))
        radius = per_point("radius", set.radius.astype(y.dtype), y, set.axis)
        value = jnp.sum(radius * measure(y, set.axis))
        center = getattr(set, "center", None)
        if center is None:
            return value
        return value + total(y, lambda y, c: c * y, center=center)

    return support


def _max(y, axis):
    return jnp.max(y, axis, keepdims=True)


_VALUES = {
    L1: lambda f, y: total(y, lambda y, w: _within(jnp.abs(y), w), weight=f.weight),
    WeightedL1: _weighted_l1,
    L2: _l2,
    SquaredL2: lambda f, y: total(y, _half_square, weight=f.weight),
    ElasticNet: _elastic_net,
    Huber: _huber,
    Zero: lambda f, y: total(y, lambda y: _within(jnp.abs(y), 0 * y)),
    Linear: lambda f, y: total(
        y,
        lambda y, a: _within(jnp.abs(y - a), _rounding(a)),
        slope=f.slope,
    ),
}
_SUPPORT = {
    Box: _box,
    NonNegative: lambda set, y: total(y, lambda y: _within(y, 0 * y)),
    Simplex: _ball(_max),
    L1Ball: _ball(lambda y, axis: _max(jnp.abs(y), axis)),
    L2Ball: _ball(lambda y, axis: direction_and_norm(y, axis)[1]),
    LinfBall: _ball(lambda y, axis: jnp.sum(jnp.abs(y), axis, keepdims=True)),
}
