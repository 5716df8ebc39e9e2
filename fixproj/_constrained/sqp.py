r"""Sequential quadratic programming.

At (x, y), with c = c(x), J = J(x) and a positive definite model M of the Hessian W of
the Lagrangian, the step d and the next multipliers solve

    minimise  d'Md/2 + g'd   subject to   J_E d + c_E = 0,  J_I d + c_I >= 0

in a box around x, with constraints that give way at a price if they contradict each
other (elastic mode; Fletcher, 1987, section 14.4; Gill, Murray & Saunders, 2005). A
backtracking search on the l1 merit function

    phi(x) = f(x) + sum_i weight_i violation_i(x),  weight_i >= |y_i|   (Powell, 1978)

with one second-order correction (Fletcher, 1982) makes it global. Nocedal & Wright
(2006), chapter 18.

Exact Hessians are made convex by adding sigma A'A for the active rows A, which leaves
the solution of the quadratic program and its multipliers as they are, and, where that
does not suffice, by the moduli of the eigenvalues. BFGS is damped (Powell, 1978).
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .. import _tree
from .._iteration import AbstractIteration
from .._map import AbstractMap, AbstractMethod
from .._problem import Constrained
from ._kkt import Functions, KKTMap, Point, check
from ._quadratic import solve_elastic


_SIGMAS = (0.0, 1.0, 10.0, 100.0, 1000.0)
_SEARCH_STEPS = 30
_TILT = 1e-4
_FIRST_PRICE, _LAST_PRICE = 1e4, 1e13


class SQP(AbstractMethod):
    """Sequential quadratic programming, the default for [`fixproj.Constrained`][].

    A step evaluates functions and derivatives once, solves one dense quadratic program
    in as many unknowns and constraints as the problem has, and searches along the step;
    converges quadratically to solutions with independent gradients of the active
    constraints and positive curvature along them. Constraints that contradict each
    other end in `infeasible_suspected` at a point of least violation nearby.

    Args:
        hessian: "exact" takes second derivatives of the Lagrangian, "bfgs" builds an
            approximation from gradients only.
        radius: the first step is at most this many times `max(1, max |y0|)` long in
            every coordinate.

    Raises:
        ValueError: if `hessian` is neither, or `radius` is not positive.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> problem = fp.Constrained(
        ...     lambda x, args: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
        ...     jnp.array([1.0, 5.0, 5.0, 1.0]),
        ...     eq=lambda x, args: jnp.sum(x**2) - 40,
        ...     ineq=lambda x, args: jnp.concatenate(
        ...         [jnp.prod(x)[None] - 25, x - 1, 5 - x]
        ...     ),
        ... )
        >>> solution = fp.solve(problem, fp.SQP(hessian="bfgs"), rtol=1e-4)
        >>> print(f"{problem.f(solution.value, None):.2f}")
        17.01

    References:
        J. Nocedal and S. J. Wright (2006), Numerical Optimization, chapter 18.
        M. J. D. Powell (1978), A fast algorithm for nonlinearly constrained
        optimization calculations.
    """

    hessian: Literal["exact", "bfgs"] = eqx.field(static=True, default="exact")
    radius: float = eqx.field(static=True, default=10.0)

    def __check_init__(self):
        if self.hessian not in ("exact", "bfgs"):
            raise ValueError(
                f"SQP: `hessian` must be 'exact' or 'bfgs', got {self.hessian!r}."
            )
        if not self.radius > 0:
            raise ValueError(f"SQP: `radius` must be > 0, got {self.radius!r}.")

    def make_map(self, problem: Constrained) -> AbstractMap:
        """The conditions of optimality, scaled."""
        check(problem)
        return KKTMap(Functions(problem))

    def make_iteration(self, problem: Constrained) -> AbstractIteration:
        """One quadratic program and one search."""
        return _Iteration(Functions(problem), self.hessian, self.radius)

    def default_rtol(self, z: PyTree) -> float:
        """eps^0.75: 1.8e-12 in float64, 6.4e-6 in float32."""
        return _tree.coarsest_epsilon(z) ** 0.75


class _State(eqx.Module):
    weights: Float[Array, " m"]  # of the merit function
    price: Float[Array, ""]  # of elasticity, relative to the gradient
    radius: Float[Array, ""]
    model: Float[Array, "n n"] | None  # BFGS
    before: Any  # BFGS: x, gradient and Jacobian of the step before
    first: Bool[Array, ""]


class _Iteration(AbstractIteration):
    functions: Functions
    hessian: str = eqx.field(static=True)
    radius: float = eqx.field(static=True)

    def init(self, z: Point) -> _State:
        n, m, dtype = z.x.size, z.y.size, z.x.dtype
        model = before = None
        if self.hessian == "bfgs":
            model = jnp.eye(n, dtype=dtype)
            before = (z.x, z.x, jnp.zeros((m, n), dtype))
        return _State(
            weights=jnp.zeros((m,), dtype),
            price=jnp.full((), _FIRST_PRICE, dtype),
            radius=jnp.full((), self.radius, dtype)
            * jnp.maximum(1, jnp.max(jnp.abs(z.x))),
            model=model,
            before=before,
            first=jnp.array(True),
        )

    def step(self, z: Point, fz: Point, state: _State) -> tuple[Point, _State]:
        functions, x, y = self.functions, z.x, z.y
        first = functions.equalities()
        f, g = jax.value_and_grad(functions.objective)(x)
        c, jacobian = functions.constraints(x), functions.jacobian(x)
        norms = jnp.linalg.norm(jacobian, axis=1)
        norms = jnp.where(norms > 0, norms, 1)
        rows, b = jacobian / norms[:, None], c / norms
        is_equality = jnp.arange(c.size) < first
        if self.hessian == "exact":
            hessian = jax.jacfwd(functions.lagrangian_gradient)(x, y)
            active = is_equality | (y * norms**2 > jnp.maximum(c, 0))
            model, sigma = _convexify(hessian, jnp.where(active[:, None], rows, 0))
            pull = sigma * (rows.T @ jnp.where(active, b, 0))
            before = None
        else:
            model = _damped_update(state, x, y, g, jacobian)
            pull, before = jnp.zeros_like(g), (x, g, jacobian)
        size = jnp.maximum(jnp.max(jnp.abs(g)), 1e-2)
        price = state.price * size
        tilt = jnp.where(state.first, _tilt(g, rows, b, is_equality), 0)
        program = solve_elastic(
            model, g + pull - tilt, rows, b, first, price, state.radius
        )
        solved = jnp.all(jnp.isfinite(program.d)) & jnp.all(jnp.isfinite(program.y))
        d = jnp.where(solved, program.d, 0)
        y_new = jnp.where(solved, program.y / norms, y)
        # A price that is paid although the rows could be met was too low.
        gives = jnp.sum(functions.violation(b + rows @ d)) > 1e-6 * jnp.sum(
            functions.violation(b)
        )
        at_price = jnp.any(jnp.abs(program.y) > 0.99 * price)
        next_price = jnp.where(
            gives & at_price, jnp.minimum(10 * state.price, _LAST_PRICE), state.price
        )

        weights = jnp.maximum(jnp.abs(y_new), (state.weights + jnp.abs(y_new)) / 2)
        linear = functions.violation(c + jacobian @ d)
        relief = functions.violation(c) - linear
        descent = -jnp.vdot(g, d) + jnp.vdot(weights, relief)
        curvature = jnp.vdot(d, model @ d)
        # The shift of an indefinite Hessian can hide descent behind too small weights.
        total = jnp.sum(relief)
        missing = jnp.maximum(curvature / 4 - descent, 0)
        # Where f must rise, half of what violations are worth has to remain: with
        # weights |y| nothing would for f and M that are flat along d.
        missing = jnp.maximum(missing, jnp.vdot(g, d) - jnp.vdot(weights, relief) / 2)
        weights = jnp.where(
            (missing > 0) & (total > 0),
            weights + 2 * missing / jnp.maximum(total, 1e-30),
            weights,
        )
        descent = -jnp.vdot(g, d) + jnp.vdot(weights, relief)

        def merit(point):
            value = functions.violation(functions.constraints(point))
            return functions.objective(point) + jnp.vdot(weights, value)

        epsilon = float(jnp.finfo(x.dtype).eps)
        now = f + jnp.vdot(weights, functions.violation(c))
        noise = 10 * epsilon * (jnp.abs(f) + jnp.vdot(weights, jnp.abs(c)))

        def accepted(point, length):
            return merit(point) <= now - 1e-4 * length * descent + noise

        # Rounding aside, the full step is taken as it is near a solution.
        whole = accepted(x + d, 1.0)

        def correct():
            after = functions.constraints(x + d) - jacobian @ d
            used = is_equality | (y_new > 0)
            a = jnp.where(used[:, None], rows, 0)
            gap = jnp.where(used, after / norms + rows @ d, 0)
            gram = a @ a.T + epsilon**0.5 * jnp.eye(c.size, dtype=x.dtype)
            shift = a.T @ jnp.linalg.solve(gram, gap)
            return x + d - shift

        corrected = jax.lax.cond(whole, lambda: x + d, correct)
        take = whole | accepted(corrected, 1.0)

        def shorten(carry):
            length, _ = carry
            return length / 2, accepted(x + length / 2 * d, length / 2)

        def unmet(carry):
            length, good = carry
            return ~good & (length > 0.5**_SEARCH_STEPS)

        one = jnp.ones((), x.dtype)
        length, found = jax.lax.while_loop(unmet, shorten, (one, take))
        x_new = jnp.where(take, corrected, x + length * d)
        # No descent is left along d. The multipliers may still be better.
        x_new = jnp.where(found, x_new, x)
        far = jnp.max(jnp.abs(d))
        grown = jnp.where(far > 0.9 * state.radius, 4 * state.radius, state.radius)
        shrunk = jnp.maximum(2 * length * far, epsilon * (1 + jnp.max(jnp.abs(x))))
        radius = jnp.where(take, grown, jnp.minimum(shrunk, state.radius))
        radius = jnp.where(found & solved, radius, state.radius / 4)
        radius = jnp.maximum(radius, epsilon**0.5 * (1 + jnp.max(jnp.abs(x))))
        finite = jnp.isfinite(f + jnp.sum(g) + jnp.sum(c) + jnp.sum(jacobian))
        broken = jnp.where(finite, 0, jnp.nan).astype(x.dtype)
        # A shortened step says that the model, and its multipliers, reach too far.
        share = jnp.where(take | ~found, 1, length)
        y_new = y + share * (y_new - y)
        return Point(x_new + broken, y_new + broken), _State(
            weights=weights,
            price=next_price,
            radius=radius,
            model=model if self.hessian == "bfgs" else None,
            before=before,
            first=jnp.array(False),
        )


def _tilt(g, rows, b, is_equality):
    """A little force out of planes of symmetry, away from the bounds a start is at.

    A start in such a plane would stay there, although saddle points are all it has.
    """
    at_bound = ~is_equality & (jnp.abs(b) <= _TILT)
    inward = jnp.where(at_bound, 1, 0).astype(g.dtype) @ rows
    generic = jnp.cos(1 + jnp.arange(g.size, dtype=g.dtype))
    return _TILT * jnp.max(jnp.abs(g)) * (inward + 0.1 * generic)


def _convexify(hessian, active_rows):
    """A positive definite H + sigma A'A, with the least sigma of a few, and sigma."""
    dtype = hessian.dtype
    epsilon = float(jnp.finfo(dtype).eps)
    hessian = (hessian + hessian.T) / 2
    size = jnp.max(jnp.sum(jnp.abs(hessian), axis=1))
    size = jnp.where(size > 0, size, 1)
    gram = active_rows.T @ active_rows
    sigmas = size * jnp.asarray(_SIGMAS, dtype)
    stack = hessian[None] + sigmas[:, None, None] * gram[None]
    values, vectors = jnp.linalg.eigh(stack)
    least = epsilon**0.75 * size
    good = values[:, 0] > least
    index = jnp.where(jnp.any(good), jnp.argmax(good), 2)
    sigma, values, vectors = sigmas[index], values[index], vectors[index]
    values = jnp.maximum(jnp.abs(values), least)
    return (vectors * values[None, :]) @ vectors.T, sigma


def _damped_update(state: _State, x, y, g, jacobian):
    """Powell's damped BFGS update with the change of the Lagrangian's gradient."""
    model = state.model
    assert model is not None
    x_old, g_old, jacobian_old = state.before
    s = x - x_old
    change = g - g_old - (jacobian - jacobian_old).T @ y
    ms = model @ s
    sms, sy = jnp.vdot(s, ms), jnp.vdot(s, change)
    theta = jnp.where(sy >= 0.2 * sms, 1, 0.8 * sms / jnp.maximum(sms - sy, 1e-30))
    r = theta * change + (1 - theta) * ms
    sr = jnp.vdot(s, r)
    update = model - jnp.outer(ms, ms) / sms + jnp.outer(r, r) / sr
    usable = (sms > 0) & (sr > 0) & jnp.all(jnp.isfinite(update)) & ~state.first
    return jnp.where(usable, update, model)
