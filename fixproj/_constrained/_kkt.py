r"""The Karush-Kuhn-Tucker conditions of a constrained problem as one equation.

    grad f(x) - J(x)' y = 0,   c_E(x) = 0,   min(c_I(x), y_I) = 0

with the constraints c = (c_E, c_I), their Jacobian J, and multipliers y. Karush (1939);
Kuhn & Tucker (1951). Where min(c, y) has no tie (strict complementarity) the equation
is smooth, and the implicit function theorem at its root differentiates x and y.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree, Scalar

from .. import _tree
from .._map import AbstractMap
from .._problem import Constrained


class Multipliers(NamedTuple):
    """The multipliers of the equations and of the inequalities.

    Each has the structure of what the constraint returns; None where there is none.
    """

    eq: PyTree
    ineq: PyTree


class Point(eqx.Module):
    """Unknowns and multipliers as vectors; equations come before inequalities."""

    x: Float[Array, " n"]
    y: Float[Array, " m"]


class Functions(eqx.Module):
    """Objective and constraints of a problem as functions of one vector."""

    problem: Constrained

    def start(self) -> Float[Array, " n"]:
        """The start as a vector."""
        return _tree.ravel_real(self.problem.y0)[0]

    def unravel(self, x: Float[Array, " n"]) -> PyTree:
        """The vector as the problem's pytree."""
        return _tree.ravel_real(self.problem.y0)[1](x)

    def objective(self, x: Float[Array, " n"]) -> Scalar:
        """The value of `f`."""
        value = self.problem.f(self.unravel(x), self.problem.args)
        return jnp.asarray(value).astype(x.dtype).reshape(())

    def constraints(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """All constraints, the equations first."""
        point = self.unravel(x)
        parts = [
            jnp.ravel(jnp.asarray(leaf)).astype(x.dtype)
            for fn in (self.problem.eq, self.problem.ineq)
            if fn is not None
            for leaf in jtu.tree_leaves(fn(point, self.problem.args))
        ]
        return jnp.concatenate([jnp.zeros((0,), x.dtype), *parts])

    def jacobian(self, x: Float[Array, " n"]) -> Float[Array, "m n"]:
        """The Jacobian of the constraints, forward or reverse by its shape."""
        shape = jax.eval_shape(self.constraints, x)
        if shape.size == 0:
            return jnp.zeros((0, x.size), x.dtype)
        if shape.size < x.size:
            return jax.jacrev(self.constraints)(x)
        return jax.jacfwd(self.constraints)(x)

    def lagrangian_gradient(
        self, x: Float[Array, " n"], y: Float[Array, " m"]
    ) -> Float[Array, " n"]:
        """The gradient of `f - <y, c>` with respect to x."""
        return jax.grad(lambda x: self.objective(x) - jnp.vdot(y, self.constraints(x)))(
            x
        )

    def shapes(self) -> tuple[PyTree, PyTree]:
        """What the two constraints return, as structs; None where there is none."""
        out = []
        for fn in (self.problem.eq, self.problem.ineq):
            struct = None
            if fn is not None:
                struct = jax.eval_shape(
                    lambda y0, fn=fn: jtu.tree_map(
                        jnp.asarray, fn(y0, self.problem.args)
                    ),
                    self.problem.y0,
                )
            out.append(struct)
        return out[0], out[1]

    def equalities(self) -> int:
        """The number of equations."""
        return sum(s.size for s in jtu.tree_leaves(self.shapes()[0]))

    def violation(self, c: Float[Array, " m"]) -> Float[Array, " m"]:
        """How far each constraint is from being met."""
        first = jnp.arange(c.size) < self.equalities()
        return jnp.where(first, jnp.abs(c), jnp.maximum(-c, 0))

    def natural(
        self, c: Float[Array, " m"], y: Float[Array, " m"]
    ) -> Float[Array, " m"]:
        """`c` for equations, `min(c, y)` for inequalities."""
        first = jnp.arange(c.size) < self.equalities()
        return jnp.where(first, c, jnp.minimum(c, y))

    def multipliers(self, y: Float[Array, " m"]) -> Multipliers:
        """The vector of multipliers in the structure of the constraints."""
        trees, at = [], 0
        for struct in self.shapes():
            leaves, structure = jtu.tree_flatten(struct)
            parts = []
            for leaf in leaves:
                part = y[at : at + leaf.size].reshape(leaf.shape)
                parts.append(part)
                at += leaf.size
            trees.append(jtu.tree_unflatten(structure, parts))
        return Multipliers(*trees)


def check(problem: Constrained) -> None:
    """An error that says which of the functions returns what it must not."""
    functions = Functions(problem)
    like = functions.start()
    value = jax.eval_shape(
        lambda y0: jnp.asarray(problem.f(y0, problem.args)), problem.y0
    )
    if value.size != 1:
        raise ValueError(
            f"Constrained: `f` must return a scalar, got the shape {value.shape}."
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"Constrained: `f` must return a real, got {value.dtype}.")
    for name, struct in zip(("eq", "ineq"), functions.shapes(), strict=True):
        for leaf in jtu.tree_leaves(struct):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise TypeError(
                    f"Constrained: `{name}` must return real floats, got {leaf.dtype}."
                )
    if functions.equalities() > like.size:
        raise ValueError(
            f"Constrained: `eq` returns {functions.equalities()} numbers for "
            f"{like.size} unknowns; there cannot be more equations than unknowns."
        )


class KKTMap(AbstractMap):
    """`z - F(z)` with F the conditions, scaled so that their rounding is alike.

    The scales change with z, but neither the root nor its derivative depend on them.
    """

    functions: Functions

    def init(self) -> Point:
        x = self.functions.start()
        m = jax.eval_shape(self.functions.constraints, x).size
        return Point(x, jnp.zeros((m,), x.dtype))

    def apply(self, z: Point) -> Point:
        functions = self.functions
        gradient = jax.grad(functions.objective)(z.x)
        jacobian = functions.jacobian(z.x)
        c = functions.constraints(z.x)
        terms = jnp.abs(gradient) + jnp.abs(jacobian).T @ jnp.abs(z.y)
        scale = jnp.maximum(1, terms)
        rows = jnp.maximum(1, jnp.max(jnp.abs(jacobian), axis=1, initial=0))
        # The tolerance is relative to all of z. Multipliers that grow without bound, as
        # where gradients are dependent, must not loosen it.
        own = jnp.max(jnp.abs(z.x), initial=0)
        excess = jnp.maximum(jnp.max(jnp.abs(z.y), initial=0) / (1 + own), 1)
        return Point(
            z.x - excess * (gradient - jacobian.T @ z.y) / scale,
            z.y - excess * functions.natural(c / rows, z.y * rows / jnp.max(scale)),
        )

    def equation(self):
        return Equation(self.functions)

    def readout(self, z: Point) -> PyTree:
        return self.functions.unravel(z.x)

    def report(self, z: Point) -> dict[str, PyTree]:
        return {"multipliers": self.functions.multipliers(z.y)}

    def violation(self, value: PyTree) -> Scalar:
        return largest_violation(self.functions, value)


class Equation(eqx.Module):
    """`z - F(z)` without scales."""

    functions: Functions

    def __call__(self, z: Point) -> Point:
        gradient = self.functions.lagrangian_gradient(z.x, z.y)
        c = self.functions.constraints(z.x)
        return Point(z.x - gradient, z.y - self.functions.natural(c, z.y))


def largest_violation(functions: Functions, value: PyTree) -> Scalar:
    """The largest entry of `violation` at a point that is still a pytree."""
    x = _tree.ravel_real(value)[0]
    return jnp.max(functions.violation(functions.constraints(x)), initial=0)
