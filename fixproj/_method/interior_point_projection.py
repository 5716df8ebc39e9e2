r"""The nearest point of a polyhedron and balls, by a primal-dual interior point.

    minimise |x - y0|^2 / 2    subject to    l <= A x <= u,    |x - c_k|^2 <= r_k^2

With slacks s and multipliers z of all inequalities c(x) >= 0 (the balls divided by
2 r_k), and y of the equations,

    x - y0 + A'y - c'(x)' z = 0,    c(x) = s,    s z = mu,    s, z >= 0

is linearised, and solved by one Cholesky factorisation of the n x n matrix

    (1 + sum v_k / r_k) I + A'WA + D'VD,    W, V = z / s (1 / delta for an equation),

D the unit normals of the balls, for Mehrotra's predictor and corrector. The unknowns
are measured from y0 in units of the largest violation there.

Interior points end some roundings short of the answer. So the constraints with z > s
are taken to be active, and Newton's method on their equations finishes: with V their
normals, x(m) = (y0 + sum v_k c_k / r_k - A'm) / (1 + sum v_k / r_k), and

    m <- m + (1 + sum v_k / r_k) (V V')^-1 (violations at x(m))

which is also the map that is differentiated: its derivative in m vanishes.

Mehrotra (1992), On the implementation of a primal-dual interior point method; Nocedal &
Wright (2006), Numerical Optimization, chapter 19.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from .. import _tree
from .._iteration import Picard
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from ..projections._norm import direction_and_norm
from . import _linear_sets


# A radius this small beside the violation at the start is as good as zero.
_LEAST_RADIUS = 1e-6
# Newton's steps on the active constraints, and how often these are corrected.
_NEWTON_STEPS = 3
_CORRECTIONS = 8


class InteriorPointProjection(AbstractMethod):
    """The common point nearest to `y0` of sets given by linear inequalities and balls.

    For vectors, and any number of [`fixproj.projections.Halfspace`][], `Hyperplane`,
    `Hyperslab`, `Box`, `NonNegative`, `Affine`, `Simplex`, `Polyhedron` and `L2Ball`.
    Ten to twenty steps, each a dense factorisation of the size of the vector, give the
    answer to rounding. It brings its own iteration. [`fixproj.nearest_point`][] takes
    it where it fits.

    Raises:
        ValueError: on solving, if a set is of another kind or `y0` is no real vector in
            single or double precision.

    References:
        S. Mehrotra (1992), On the implementation of a primal-dual interior point
        method. J. Nocedal and S. Wright (2006), Numerical Optimization, chapter 19.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> sets = [proj.L2Ball(1.0), proj.Halfspace(jnp.array([1.0, 0.0]), 0.6)]
        >>> problem = fp.Feasibility(sets, jnp.array([2.0, 1.0]))
        >>> print(fp.solve(problem, fp.InteriorPointProjection()).value.round(3))
        [0.6 0.8]
    """

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """One predictor-corrector step."""
        if not _linear_sets.is_linear(problem):
            names = ", ".join(sorted({type(s).__name__ for s in problem.sets}))
            raise ValueError(
                "InteriorPointProjection needs a real vector `y0` and sets given by "
                f"linear inequalities and balls, got {names}; use fixproj.Dykstra."
            )
        given = _linear_sets.system(problem)
        origin, unit = _units(*_tree.stop_gradient((given, problem.y0)))
        return _Map(given, problem.y0, origin, unit)

    def make_iteration(self, problem: Feasibility):
        """Plain iteration: the steps have lengths of their own."""
        return Picard()


def _units(given: _linear_sets.System, y0: Array) -> tuple[Array, Scalar]:
    """Where and in what to measure: the smallest ball's nearest point, and its error.

    In units of a `y0` far away the sets themselves would be lost to rounding.
    """
    origin, unit = y0, jnp.ones((), y0.dtype)
    if given.radii.size:
        least = jnp.argmin(given.radii)
        center, unit = given.centers[least], given.radii[least]
        direction, distance = direction_and_norm(y0 - center, 0)
        origin = jnp.where(distance > unit, center + unit * direction, y0)
        unit = jnp.where(unit > 0, unit, 1)
    error = _violation(given, origin)
    rounding = 8 * float(jnp.finfo(y0.dtype).eps) * jnp.max(jnp.abs(origin))
    return origin, jnp.where(error > rounding, error, unit)


def _violation(given: _linear_sets.System, x: Array) -> Scalar:
    rows = given.A @ x
    outside = jnp.maximum(given.lower - rows, rows - given.upper)
    beyond = _norms(x[None] - given.centers) - given.radii
    both = jnp.concatenate([outside, beyond])
    return jnp.max(both, initial=0)


def _norms(rows):
    return jnp.sqrt(jnp.sum(rows**2, axis=1))


class _Scaled(eqx.Module):
    """The system in the unknowns (x - origin) / unit, with `y0` as the target.

    The weight of the cost keeps its gradient of order one.
    """

    A: Float[Array, "m n"]
    lower: Float[Array, " m"]
    upper: Float[Array, " m"]
    centers: Float[Array, "k n"]
    radii: Float[Array, " k"]
    target: Float[Array, " n"]
    weight: Scalar

    @property
    def equal(self) -> Bool[Array, " m"]:
        return self.lower >= self.upper

    @property
    def held(self) -> Bool[Array, " c"]:
        """Which inequalities there are."""
        balls = jnp.ones(self.radii.shape, bool)
        sides = [jnp.isfinite(b) & ~self.equal for b in (self.lower, self.upper)]
        return jnp.concatenate([*sides, balls])

    def at_ball(self, x: Array) -> Float[Array, " k"]:
        """(r^2 - |x - c|^2) / 2 r, without cancellation where both are large."""
        size = _norms(self.centers)
        start = (self.radii - size) * (self.radii + size) / 2
        return (start + self.centers @ x - x @ x / 2) / self.radii

    def normals(self, x: Array) -> Float[Array, "k n"]:
        return (x[None] - self.centers) / self.radii[:, None]

    def inequalities(self, x: Array) -> Float[Array, " c"]:
        """c(x), and a one where there is none."""
        rows = self.A @ x
        c = jnp.concatenate([rows - self.lower, self.upper - rows, self.at_ball(x)])
        return jnp.where(self.held, c, 1)

    def split(self, c: Array) -> tuple[Array, Array, Array]:
        m = self.lower.size
        return c[:m], c[m : 2 * m], c[2 * m :]

    def force(self, x: Array, y: Array, z: Array) -> Float[Array, " n"]:
        """The gradient of the Lagrangian."""
        low, high, ball = self.split(z)
        pull = (y + high - low) @ self.A + ball @ self.normals(x)
        return self.weight * (x - self.target) + pull

    def point(self, rows: Array, ball: Array) -> Float[Array, " n"]:
        """Where the gradient vanishes, for multipliers of the rows and the balls."""
        share = ball / self.radii
        total = self.weight * self.target + share @ self.centers - rows @ self.A
        return total / (self.weight + jnp.sum(share))


class _Map(AbstractMap):
    given: _linear_sets.System
    y0: Float[Array, " n"]
    origin: Float[Array, " n"]
    unit: Scalar

    def _scaled(self) -> _Scaled:
        given, unit = self.given, self.unit
        rows = given.A @ self.origin
        finite = lambda b: jnp.where(jnp.isinf(b), 0, b)
        lower, upper = (
            jnp.where(jnp.isinf(b), b, (finite(b) - rows) / unit)
            for b in (given.lower, given.upper)
        )
        centers = (given.centers - self.origin[None]) / unit
        radii = jnp.maximum(given.radii / unit, _LEAST_RADIUS)
        target = (self.y0 - self.origin) / unit
        far = jnp.max(jnp.abs(jax.lax.stop_gradient(target)))
        weight = 1 / jnp.maximum(far, 1)
        return _Scaled(given.A, lower, upper, centers, radii, target, weight)

    def init(self) -> PyTree:
        x = jnp.zeros_like(self.y0)
        scaled = self._scaled()
        s = jnp.maximum(scaled.inequalities(x), 1)
        z = jnp.where(scaled.held, 1 / s, 0)
        return x, jnp.zeros_like(scaled.lower), s, z, jnp.zeros((), x.dtype)

    def apply(self, z: PyTree) -> PyTree:
        scaled = _tree.stop_gradient(self)._scaled()
        x, y, s, z, alarm = _tree.stop_gradient(z)
        epsilon = float(jnp.finfo(x.dtype).eps)
        merit, products = _merit(scaled, x, y, s, z)
        (dx, dy, ds, dz), length = _direction(scaled, x, y, s, z, products)
        moved = (x + length * dx, y + length * dy, s + length * ds, z + length * dz)
        usable = jnp.isfinite(_tree.max_norm(moved)) & (length > epsilon**0.75)
        # Rounding ends the progress of a good point a little early.
        better, _ = _merit(scaled, *moved)
        good = (merit <= epsilon**0.5) & ~(better < merit / 2)
        solved = (merit <= epsilon**0.8) | good
        moved = _tree.where(usable & ~solved, moved, (x, y, s, z))
        # Where no step leads on, and this is no solution, the residual shall tell.
        lost = ~usable & ~(merit <= epsilon**0.25)
        alarm = jnp.where(lost, 1e6 / epsilon + 10 * alarm, alarm)
        return *moved, alarm

    def core(self, z: PyTree) -> PyTree:
        scaled = _tree.stop_gradient(self)._scaled()
        x, y, s, z, _ = _tree.stop_gradient(z)
        low, high, ball = scaled.split(z)
        multipliers = jnp.concatenate([jnp.where(scaled.equal, y, high - low), ball])
        side = jnp.where(scaled.held & (z > s), 1, 0).astype(x.dtype)
        low, high, ball = scaled.split(side)
        high = jnp.where(low > 0, 0, high)
        high = jnp.where(scaled.equal, 1, high)
        guess = jnp.concatenate([high - low, ball])
        return _finish(scaled, multipliers, guess)

    def equation(self):
        scaled = self._scaled()

        def newton(core):
            multipliers, side = core
            side = jax.lax.stop_gradient(side)
            return _newton(scaled, multipliers, side), side

        return newton

    def readout(self, z: PyTree) -> PyTree:
        multipliers, _ = z
        scaled = self._scaled()
        m = scaled.lower.size
        return self.origin + self.unit * scaled.point(multipliers[:m], multipliers[m:])

    def violation(self, value: PyTree) -> Scalar:
        return _violation(self.given, value)


def _merit(scaled, x, y, s, z):
    """The largest residual of the conditions of optimality, and the products s z."""
    rows = jnp.where(
        scaled.equal, scaled.A @ x - jnp.where(scaled.equal, scaled.lower, 0), 0
    )
    gaps = jnp.where(scaled.held, scaled.inequalities(x) - s, 0)
    products = jnp.where(scaled.held, s * z, 0)
    size = 1 + jnp.max(jnp.abs(x))
    parts = scaled.force(x, y, z), rows, gaps / jnp.maximum(s, 1), products / size
    return _tree.max_norm(parts) / size, products


def _direction(scaled, x, y, s, z, products):
    """Mehrotra's step and its length."""
    epsilon = float(jnp.finfo(x.dtype).eps)
    count = jnp.maximum(jnp.sum(scaled.held), 1).astype(x.dtype)
    mu = jnp.sum(products) / count
    delta = jnp.clip(mu, epsilon**0.5, epsilon**0.375)
    normals = scaled.normals(x)
    force = scaled.force(x, y, z)
    gaps = jnp.where(scaled.held, scaled.inequalities(x) - s, 0)
    bound = jnp.where(scaled.equal, scaled.lower, 0)
    off = jnp.where(scaled.equal, scaled.A @ x - bound, 0)
    d = 1 / (s + delta * z)
    w = jnp.where(scaled.held, z * d, 0)
    low, high, ball = scaled.split(w)
    rows = jnp.where(scaled.equal, 1 / delta, low + high)
    curvature = scaled.weight + jnp.sum(scaled.split(z)[2] / scaled.radii)
    dot = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
    matrix = dot(scaled.A.T, rows[:, None] * scaled.A)
    matrix = matrix + dot(normals.T, ball[:, None] * normals)
    factor = jax.lax.linalg.cholesky(
        matrix + curvature * jnp.eye(x.size, dtype=x.dtype)
    )

    def along(dx):
        """The change of the inequalities, to first order."""
        change = scaled.A @ dx
        change = jnp.concatenate([change, -change, -(normals @ dx)])
        return jnp.where(scaled.held, change, 0)

    def pull(dz):
        low, high, ball = scaled.split(dz)
        return (low - high) @ scaled.A - ball @ normals

    def direction(products, gaps):
        first = jnp.where(scaled.held, d * products - w * gaps, 0)
        right = -force - jnp.where(scaled.equal, off / delta, 0) @ scaled.A
        right = right + pull(first)
        dx = _backsolve(factor, right)
        # Refinement: the weights are large near the solution.
        applied = curvature * dx - pull(-w * along(dx))
        applied += jnp.where(scaled.equal, scaled.A @ dx / delta, 0) @ scaled.A
        dx = dx + _backsolve(factor, right - applied)
        dy = jnp.where(scaled.equal, (scaled.A @ dx + off) / delta, 0)
        dz = first - w * along(dx)
        ds = jnp.where(scaled.held, along(dx) + gaps + delta * dz, 0)
        return dx, dy, ds, dz

    dx, _, ds, dz = direction(-products, gaps)
    length = _longest((s, z), (ds, dz))
    after = jnp.sum(jnp.where(scaled.held, (s + length * ds) * (z + length * dz), 0))
    sigma = jnp.clip(after / jnp.maximum(count * mu, epsilon**4), 0, 1) ** 3
    # What the predictor has left out: the product, and the curvature of the balls.
    bent = jnp.zeros_like(s).at[2 * scaled.lower.size :].set(dx @ dx / 2 / scaled.radii)
    step = direction(sigma * mu - products - ds * dz, gaps - bent)
    length = _longest((s, z), (step[2], step[3]))
    return step, jnp.minimum(length * jnp.maximum(0.99, 1 - mu), 1)


def _longest(values, changes):
    """How far all may go until one is zero, at most 1."""
    ratio = lambda v, d: jnp.min(
        jnp.where(d < 0, -v / jnp.where(d < 0, d, -1), jnp.inf), initial=jnp.inf
    )
    lengths = [ratio(v, d) for v, d in zip(values, changes, strict=True)]
    return jnp.minimum(jnp.minimum(*lengths), 1)


def _backsolve(factor, right):
    return jax.scipy.linalg.cho_solve((factor, True), right)


def _newton(scaled, multipliers, side):
    """One step of Newton's method on the active constraints, frozen but for errors."""
    m, n = scaled.A.shape
    point = lambda scaled, mult: scaled.point(mult[:m], mult[m:])
    x = point(scaled, multipliers)
    bound = jnp.where(side[:m] < 0, scaled.lower, scaled.upper)
    bound = jnp.where(side[:m] == 0, 0, bound)
    errors = jnp.concatenate([scaled.A @ x - bound, -scaled.at_ball(x)])
    frozen, at = _tree.stop_gradient((scaled, multipliers))
    count = min(m + scaled.radii.size, n)
    # Equations and balls first, then the largest multipliers.
    score = jnp.abs(at) + jnp.where(jnp.abs(side) > 0, 1e-30, 0)
    score = jnp.where(jnp.abs(side) > 0, score, 0)
    first = jnp.concatenate([frozen.equal, jnp.ones(frozen.radii.shape, bool)])
    score = jnp.where(first & (jnp.abs(side) > 0), jnp.inf, score)
    _, chosen = jax.lax.top_k(score, count)
    normals = jnp.concatenate([frozen.A, frozen.normals(point(frozen, at))])
    active = jnp.abs(side)[chosen] > 0
    normals = jnp.where(active[:, None], normals[chosen], 0)
    gram = jnp.matmul(normals, normals.T, precision=jax.lax.Precision.HIGHEST)
    epsilon = float(jnp.finfo(x.dtype).eps)
    ridge = jnp.where(active, 32 * epsilon, 1).astype(x.dtype)
    factor = jax.lax.linalg.cholesky(gram + jnp.diag(ridge))
    curvature = frozen.weight + jnp.sum(at[m:] / frozen.radii)
    change = curvature * _backsolve(factor, jnp.where(active, errors[chosen], 0))
    kept = jnp.where(jnp.abs(side) > 0, multipliers, 0)
    return kept.at[chosen].add(jnp.where(active, change, 0))


def _finish(scaled, multipliers, side):
    """Multipliers to rounding, with the active constraints corrected as needed."""
    m = scaled.lower.size
    epsilon = float(jnp.finfo(multipliers.dtype).eps)
    equal = jnp.concatenate([scaled.equal, jnp.zeros(scaled.radii.shape, bool)])

    def look(multipliers, side):
        """The violations at the point, by side, and the multipliers' wrong signs."""
        x = scaled.point(multipliers[:m], multipliers[m:])
        c = jnp.where(scaled.held, scaled.inequalities(x), jnp.inf)
        low, high, ball = scaled.split(c)
        below = jnp.concatenate([low, jnp.full_like(ball, jnp.inf)])
        above = jnp.concatenate([high, ball])
        off = jnp.where(
            scaled.equal,
            jnp.abs(scaled.A @ x - jnp.where(scaled.equal, scaled.lower, 0)),
            0,
        )
        violation = jnp.maximum(-jnp.minimum(below, above), 0)
        wrong = jnp.where(equal | (side == 0), 0, jnp.maximum(-side * multipliers, 0))
        size = 1 + jnp.max(jnp.abs(x)) + jnp.max(jnp.abs(multipliers), initial=0)
        merit = jnp.max(jnp.concatenate([violation, off, wrong]), initial=0) / size
        return jnp.where(jnp.isfinite(merit), merit, jnp.inf), below, above

    def keep_on(carry):
        *_, merit, _, count = carry
        return ((merit > 64 * epsilon) | (count == 0)) & (count < _CORRECTIONS)

    def body(carry):
        best, best_side, best_merit, (mult, side), count = carry
        newton = lambda _, mult: _newton(scaled, mult, side)
        mult = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, mult)
        merit, below, above = look(mult, side)
        better = merit < best_merit
        best, best_side = _tree.where(better, (mult, side), (best, best_side))
        # The primal-dual active set: Newton's method on the conditions themselves.
        low, high = (mult + below) < 0, (mult - above) > 0
        new = jnp.where(high, 1.0, jnp.where(low, -1.0, 0.0)).astype(side.dtype)
        new = jnp.where(equal, 1, new)
        mult = jnp.where(new == side, mult, jnp.where(new * mult > 0, mult, 0))
        return best, best_side, jnp.minimum(merit, best_merit), (mult, new), count + 1

    merit, *_ = look(multipliers, side)
    carry = multipliers, side, merit, (multipliers, side), jnp.zeros((), jnp.int32)
    multipliers, side, *_ = jax.lax.while_loop(keep_on, body, carry)
    return multipliers, side
