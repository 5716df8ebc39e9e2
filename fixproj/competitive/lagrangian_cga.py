r"""A constrained problem as a game between the unknowns and the multipliers.

    min over x, max over y:   L(x, y) = f(x) - <y, c(x)>

Each move is the Nash equilibrium of the second-order approximation of L with proximal
terms of size t (competitive gradient with the players' own curvature):

    [ W + sigma J'J + I/t    -J' ] [dx]     [ grad_x L + sigma J'c ]
    [ J                      I/t ] [dy] = - [ c                    ]

Bacon, Schaefer, Gehring, Anandkumar & Brunskill (2019), A Lagrangian method for inverse
problems in reinforcement learning, whose game has only the bilinear part. The term
sigma c^2 / 2 makes it convex in x around a solution (Hestenes, 1969); where W is
indefinite even so, the moduli of the eigenvalues are taken. t grows while the moves
lower the residual and shrinks while they do not. Inequalities c >= 0 are the equations
min(c, y / sigma) = 0 (Rockafellar, 1973).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._constrained._kkt import (
    Equation,
    Functions,
    Multipliers,
    Point,
    check,
    largest_violation,
)
from .._map import AbstractMap, AbstractMethod
from .._problem import Constrained


class LagrangianCGA(AbstractMethod):
    """Competitive gradient on the Lagrangian of a [`fixproj.Constrained`][] problem.

    The unknowns minimise and the multipliers maximise. Slower than [`fixproj.SQP`][],
    but every move is one linear system, with no program inside.

    Args:
        step: the first t, a scalar > 0 that may be traced.
        sigma: the weight of the squared constraints, a scalar > 0.

    Raises:
        ValueError: if an argument is not positive.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> from fixproj import competitive
        >>> problem = fp.Constrained(
        ...     lambda x, args: x[0] + x[1],
        ...     jnp.array([-1.0, 0.5]),
        ...     eq=lambda x, args: jnp.sum(x**2) - 2,
        ... )
        >>> x = fp.solve(problem, competitive.LagrangianCGA()).value
        >>> print(f"{x[0]:.3f} {x[1]:.3f}")
        -1.000 -1.000

    References:
        P.-L. Bacon, F. Schaefer, C. Gehring, A. Anandkumar and E. Brunskill (2019), A
        Lagrangian method for inverse problems in reinforcement learning.
    """

    step: float | Scalar = 1.0
    sigma: float | Scalar = 1.0

    def __check_init__(self):
        check_between("LagrangianCGA", "step", self.step, 0)
        check_between("LagrangianCGA", "sigma", self.sigma, 0)

    def make_map(self, problem: Constrained) -> AbstractMap:
        """One move of both players."""
        check(problem)
        return _Map(Functions(problem), self)

    def default_rtol(self, z: PyTree) -> float:
        """eps^0.7: 1.1e-11 in float64, 1.4e-5 in float32."""
        return _tree.coarsest_epsilon(z) ** 0.7


class _State(eqx.Module):
    point: Point
    shift: Float[Array, ""]  # 1 / t


class _Map(AbstractMap):
    functions: Functions
    method: LagrangianCGA

    def init(self) -> _State:
        x = self.functions.start()
        y = jnp.zeros_like(self.functions.constraints(x))
        return _State(Point(x, y), 1 / jnp.asarray(self.method.step, x.dtype))

    def apply(self, z: _State) -> _State:
        functions, x, y, shift = self.functions, z.point.x, z.point.y, z.shift
        first = functions.equalities()
        sigma = _tree.scale_like(self.method.sigma, x)
        epsilon = float(jnp.finfo(x.dtype).eps)
        c, jacobian = functions.constraints(x), functions.jacobian(x)
        equality = jnp.arange(c.size) < first
        active = equality | (y > sigma * c)
        a = jnp.where(active[:, None], jacobian, 0)
        # Without the multiplier of what is not active: it goes to zero at once.
        gap = jnp.where(active, c, y)
        y_used = jnp.where(active, y, 0)
        gradient = functions.lagrangian_gradient(x, y_used)
        w = jax.jacfwd(functions.lagrangian_gradient)(x, y_used)
        w = (w + w.T) / 2 + sigma * a.T @ a
        values, vectors = jnp.linalg.eigh(w)
        least = jnp.max(jnp.abs(values)) * epsilon**0.75 + epsilon
        values = jnp.maximum(jnp.abs(values), least) + shift
        convex = (vectors * values[None, :]) @ vectors.T
        corner = jnp.diag(jnp.where(active, shift, 1))
        matrix = jnp.block([[convex, -a.T], [a, corner]])
        right = -jnp.concatenate(
            [gradient + sigma * a.T @ jnp.where(active, c, 0), gap]
        )
        move = jnp.linalg.solve(matrix, right)
        dx, dy = move[: x.size], move[x.size :]

        def merit(x, y):
            c = functions.constraints(x)
            gradient = functions.lagrangian_gradient(x, y)
            natural = functions.natural(c, y)
            return jnp.sqrt(jnp.vdot(gradient, gradient) + jnp.vdot(natural, natural))

        def potential(x):
            c = functions.constraints(x)
            shifted = c - y / sigma
            shifted = jnp.where(equality, shifted, jnp.minimum(shifted, 0))
            return functions.objective(x) + sigma / 2 * jnp.vdot(shifted, shifted)

        x_new, y_new = x + dx, y + dy
        before, after = merit(x, y), merit(x_new, y_new)
        # Either player gets on: the residual falls, or the augmented Lagrangian does.
        slope = jnp.vdot(gradient + sigma * a.T @ jnp.where(active, c, 0), dx)
        better = potential(x_new) <= potential(x) + 1e-4 * jnp.minimum(slope, 0)
        good = (after <= before) | (better & (after <= 100 * before))
        good = good & jnp.isfinite(after)
        change = jnp.where(after <= before, 0.25, 1.0)
        next_shift = jnp.where(good, change * shift, 4 * shift + epsilon)
        # Newton's method at the end, and no residual left in the shift itself.
        next_shift = jnp.where(good, jnp.minimum(next_shift, after), next_shift)
        broken = jnp.where(jnp.isfinite(before), 0, jnp.nan).astype(x.dtype)
        point = Point(jnp.where(good, x_new, x), jnp.where(good, y_new, y))
        point = Point(point.x + broken, point.y + broken)
        # Starting over, not standing still: a point is at rest only if it is optimal.
        first_shift = 1 / jnp.asarray(self.method.step, x.dtype)
        lost = next_shift > max(1e3, 1e-4 / epsilon)
        return _State(point, jnp.where(lost, first_shift, next_shift))

    def core(self, z: _State) -> Point:
        return z.point

    def equation(self) -> Equation:
        return Equation(self.functions)

    def readout(self, z: Point) -> PyTree:
        return self.functions.unravel(z.x)

    def report(self, z: Point) -> dict[str, Multipliers]:
        return {"multipliers": self.functions.multipliers(z.y)}

    def violation(self, value: PyTree) -> Scalar:
        return largest_violation(self.functions, value)
