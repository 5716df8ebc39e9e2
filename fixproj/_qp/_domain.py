r"""Where the rows of a program may lie: `Ax in C`.

    bounds    C = [l, u]
    a cone    C = b - K

Both give the projection onto C, the support function S(y) = sup {y'w: w in C}, the
nearest y with S(y) finite, and the distance from the directions in which C is endless.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..projections import FreeCone, NonNegative, PSDCone, ZeroCone


Vector = Float[Array, " m"]


class AbstractDomain(eqx.Module):
    """A closed convex set of rows."""

    @abc.abstractmethod
    def project(self, w: Vector) -> Vector:
        """The nearest point of C."""

    @abc.abstractmethod
    def support(self, y: Vector) -> tuple[Array, Array]:
        """`S(y)`, and the size of its terms, for a `y` for which it is finite."""

    @abc.abstractmethod
    def barrier(self, y: Vector) -> Vector:
        """The nearest `y` for which `S(y)` is finite."""

    @abc.abstractmethod
    def escape(self, w: Vector) -> Vector:
        """What is missing for `w` to be a direction in which C is endless."""

    @abc.abstractmethod
    def size(self) -> Vector:
        """The moduli of the data of C."""


class Bounds(AbstractDomain):
    """`[lower, upper]`."""

    lower: Vector
    upper: Vector

    def project(self, w: Vector) -> Vector:
        return jnp.clip(w, self.lower, self.upper)

    def support(self, y: Vector) -> tuple[Array, Array]:
        up, down = jnp.maximum(y, 0), jnp.minimum(y, 0)
        high = jnp.sum(jnp.where(up > 0, self.upper * up, 0))
        low = jnp.sum(jnp.where(down < 0, self.lower * down, 0))
        return high + low, jnp.maximum(jnp.abs(high), jnp.abs(low))

    def barrier(self, y: Vector) -> Vector:
        y = jnp.where(jnp.isfinite(self.upper), y, jnp.minimum(y, 0))
        return jnp.where(jnp.isfinite(self.lower), y, jnp.maximum(y, 0))

    def escape(self, w: Vector) -> Vector:
        up = jnp.where(jnp.isfinite(self.upper), jnp.maximum(w, 0), 0)
        return up + jnp.where(jnp.isfinite(self.lower), jnp.minimum(w, 0), 0)

    def size(self) -> Vector:
        finite = lambda b: jnp.where(jnp.isfinite(b), jnp.abs(b), 0)
        return jnp.maximum(finite(self.lower), finite(self.upper))


class Cones(AbstractDomain):
    """`b - K` for a product K of cones, each of a slice of the rows."""

    b: Vector
    cones: tuple[Any, ...]
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def cone(self, s: Vector) -> Vector:
        """The projection onto K."""
        return jnp.concatenate([c.project(p).reshape(-1) for c, p in self.split(s)])

    def unseen(self, y: Vector) -> Vector:
        """The part of a multiplier that no symmetric row feels: skew, of a PSDCone."""
        parts = []
        for cone, part in self.split(y):
            skew = jnp.zeros_like(part)
            if isinstance(cone, PSDCone):
                skew = (part - jnp.swapaxes(part, -1, -2)) / 2
            parts.append(skew.reshape(-1))
        return jnp.concatenate(parts)

    def split(self, s: Vector) -> list[tuple[Any, Array]]:
        """Every cone with its part of a vector."""
        parts, start = [], 0
        for cone, shape in zip(self.cones, self.shapes, strict=True):
            end = start + math.prod(shape)
            parts.append((cone, s[start:end].reshape(shape)))
            start = end
        return parts

    def project(self, w: Vector) -> Vector:
        return self.b - self.cone(self.b - w)

    def support(self, y: Vector) -> tuple[Array, Array]:
        value = self.b @ y
        return value, jnp.abs(value)

    def barrier(self, y: Vector) -> Vector:
        return y + self.cone(-y)

    def escape(self, w: Vector) -> Vector:
        return w + self.cone(-w)

    def size(self) -> Vector:
        return jnp.abs(self.b)


def is_separable(cone: Any) -> bool:
    """Whether the rows of a cone can be scaled one by one."""
    return isinstance(cone, ZeroCone | NonNegative | FreeCone)


def stiff_rows(domain: AbstractDomain) -> Bool[Array, " m"]:
    """The rows that are equations."""
    if isinstance(domain, Bounds):
        return domain.lower >= domain.upper
    assert isinstance(domain, Cones)
    parts = domain.split(domain.b)
    return jnp.concatenate(
        [jnp.full((p.size,), isinstance(cone, ZeroCone)) for cone, p in parts]
    )
