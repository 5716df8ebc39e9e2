r"""A convex quadratic program whose constraints may give way, in a trust region.

    minimise    d'Md/2 + g'd + weight (sum_E |A d + b| + sum_I max(0, -(A d + b)))
    subject to  -radius <= d <= radius

E are the first rows of A, I the others. With slacks A d + b + p - q = 0, p, q >= 0, the
multipliers y of the rows lie in [-weight, weight] (E) and in [0, weight] (I), so there
is always a solution, and where the rows can be met and `weight` exceeds their
multipliers, it is that of the program with hard constraints.

Mehrotra's predictor-corrector (1992) on the perturbed conditions

    M d + g - A'y - l + u = 0            p (weight - y) = t     (d + radius) l = t
    A d + b + p - q = 0                  q (floor + y)  = t     (radius - d) u = t

with floor = weight on E and 0 on I; a step costs one LU factorisation of order n + m.
A last linear system with the active set that was found removes the rounding of the
interior point (as the polishing of OSQP does).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Bool, Float


_MAX_STEPS = 50


class QuadraticSolution(eqx.Module):
    """The step, the multipliers of the rows, and what is left of the constraints."""

    d: Float[Array, " n"]
    y: Float[Array, " m"]
    gap: Float[Array, " m"]  # p - q on E, p on I: by how much a row gave way


class _Iterate(eqx.Module):
    d: Float[Array, " n"]
    y: Float[Array, " m"]
    p: Float[Array, " m"]
    q: Float[Array, " m"]
    lower: Float[Array, " n"]
    upper: Float[Array, " n"]


def solve_elastic(
    matrix: Float[Array, "n n"],
    g: Float[Array, " n"],
    rows: Float[Array, "m n"],
    b: Float[Array, " m"],
    equalities: int,
    weight: Float[Array, ""],
    radius: Float[Array, ""],
) -> QuadraticSolution:
    """Solve the program above.

    Args:
        matrix: M, positive semidefinite.
        g: the linear term.
        rows: A, best with rows of norm 1.
        b: the constant terms of the rows.
        equalities: how many of the rows, the first ones, are equations.
        weight: the price of violation, a scalar > 0.
        radius: the trust region, a scalar > 0.
    """
    n, m = g.size, b.size
    dtype = g.dtype
    epsilon = float(jnp.finfo(dtype).eps)
    is_equality = jnp.arange(m) < equalities
    # One unit of objective is what a step of one unit length may change.
    unit = jnp.maximum(jnp.max(jnp.abs(g)), jnp.max(jnp.abs(matrix)))
    unit = jnp.where(unit > 0, unit, 1)
    matrix, g, weight = matrix / unit, g / unit, weight / unit
    # Likewise one unit of length: a tiny trust region must not look like a point.
    length = jnp.minimum(radius, 1)
    matrix, b, radius = matrix * length, b / length, radius / length
    floor = jnp.where(is_equality, weight, 0)
    one = jnp.ones((), dtype)
    start = _Iterate(
        d=jnp.zeros_like(g),
        y=jnp.where(is_equality, 0, jnp.minimum(one, weight / 2)),
        p=jnp.maximum(-b, 0) + one / jnp.maximum(weight, 1),
        q=jnp.maximum(b, 0) + jnp.where(is_equality, one / jnp.maximum(weight, 1), 1),
        lower=jnp.full_like(g, 1) / jnp.maximum(radius, 1),
        upper=jnp.full_like(g, 1) / jnp.maximum(radius, 1),
    )
    tolerance = 10 * epsilon**0.75

    def residuals(s):
        dual = matrix @ s.d + g - rows.T @ s.y - s.lower + s.upper
        return dual, rows @ s.d + b + s.p - s.q

    def products(s):
        return (
            s.p * (weight - s.y),
            s.q * (floor + s.y),
            (s.d + radius) * s.lower,
            (radius - s.d) * s.upper,
        )

    def mean(s):
        total = sum(jnp.sum(x) for x in products(s))
        return total / (2 * (n + m))

    def keep_on(carry):
        s, count, before = carry
        dual, primal = residuals(s)
        now = mean(s)
        error = jnp.maximum(jnp.max(jnp.abs(dual)), now)
        if m:
            error = jnp.maximum(error, jnp.max(jnp.abs(primal)))
        # Steps that still halve the complementarity tell active rows from others whose
        # multipliers are small beside the unit.
        improves = (now < before / 2) & (now > epsilon**1.5)
        return (count < _MAX_STEPS) & (~(error <= tolerance) | improves)

    def body(carry):
        s, count, _ = carry
        dual, primal = residuals(s)
        slack_p, slack_q = weight - s.y, floor + s.y
        low, high = s.d + radius, radius - s.d
        give = s.p / slack_p + s.q / slack_q
        barrier = s.lower / low + s.upper / high
        system = jnp.block(
            [[matrix + jnp.diag(barrier), -rows.T], [rows, jnp.diag(give)]]
        )
        factors = jsl.lu_factor(system)

        def direction(targets):
            """Newton's step to where the four products are `targets`."""
            tp, tq, tl, tu = targets
            rp, rq = tp / slack_p - s.p, tq / slack_q - s.q
            rl, ru = tl / low - s.lower, tu / high - s.upper
            right = jnp.concatenate([-dual + rl - ru, -primal - rp + rq])
            solution = jsl.lu_solve(factors, right)
            d, y = solution[:n], solution[n:]
            return _Iterate(
                d,
                y,
                rp + s.p / slack_p * y,
                rq - s.q / slack_q * y,
                rl - s.lower / low * d,
                ru + s.upper / high * d,
            )

        def longest(step):
            """How far `step` may go before something that is positive is zero."""
            pairs = (
                (s.p, step.p),
                (s.q, step.q),
                (slack_p, -step.y),
                (slack_q, step.y),
                (low, step.d),
                (high, -step.d),
                (s.lower, step.lower),
                (s.upper, step.upper),
            )
            value = jnp.concatenate([x for x, _ in pairs])
            change = jnp.concatenate([x for _, x in pairs])
            ratio = jnp.where(change < 0, -value / jnp.minimum(change, -1e-30), jnp.inf)
            return jnp.minimum(jnp.min(ratio), 1)

        zero = jnp.zeros((), dtype)
        affine = direction((zero, zero, zero, zero))
        far = longest(affine)
        moved = jax.tree.map(lambda x, d: x + far * d, s, affine)
        now = mean(s)
        t = now * jnp.clip(mean(moved) / now, 1e-4, 1) ** 3
        corrected = direction(
            (
                t + affine.p * affine.y,
                t - affine.q * affine.y,
                t - affine.d * affine.lower,
                t + affine.d * affine.upper,
            )
        )
        length = longest(corrected)
        length = jnp.where(length < 1, jnp.maximum(0.9, 1 - t) * length, 1)
        length = jnp.minimum(length, 1)
        after = jax.tree.map(lambda x, d: x + length * d, s, corrected)
        # Rounding has the last word where the system is as good as singular.
        fine = jnp.isfinite(mean(after) + jnp.sum(after.d) + jnp.sum(after.y))
        after = jax.tree.map(lambda new, old: jnp.where(fine, new, old), after, s)
        return after, jnp.where(fine, count + 1, _MAX_STEPS), now

    count = jnp.zeros((), jnp.int32)
    s, _, _ = jax.lax.while_loop(
        keep_on, body, (start, count, jnp.asarray(jnp.inf, dtype))
    )
    s = _polish(s, matrix, g, rows, b, is_equality, weight, radius)
    gap = -(rows @ s.d + b)
    gap = jnp.where(is_equality, gap, jnp.maximum(gap, 0))
    return QuadraticSolution(length * s.d, unit * s.y, length * gap)


def _polish(s, matrix, g, rows, b, is_equality, weight, radius) -> _Iterate:
    """The same point from one linear system, if the active set it shows is right."""
    n, m = g.size, b.size
    epsilon = float(jnp.finfo(g.dtype).eps)
    yields: Bool[Array, " m"] = s.p * (weight + jnp.abs(s.y)) > jnp.maximum(
        weight - jnp.abs(s.y), 0
    ) * jnp.maximum(1, weight)
    yields = yields & (jnp.abs(s.y) > 0.99 * weight)
    active = (is_equality | (s.y > s.q)) & ~yields
    at_low, at_high = s.lower > s.d + radius, s.upper > radius - s.d
    fixed = at_low | at_high
    eye_n, eye_m = jnp.eye(n, dtype=g.dtype), jnp.eye(m, dtype=g.dtype)
    top = jnp.concatenate([matrix, -rows.T], axis=1)
    pinned = jnp.concatenate([eye_n, jnp.zeros((n, m), g.dtype)], axis=1)
    top = jnp.where(fixed[:, None], pinned, top)
    bottom = jnp.concatenate(
        [
            jnp.where(active[:, None], rows, 0),
            jnp.where(active[:, None], 0, eye_m),
        ],
        axis=1,
    )
    right = jnp.concatenate(
        [
            jnp.where(fixed, jnp.where(at_low, -radius, radius), -g),
            jnp.where(active, -b, jnp.where(yields, jnp.sign(s.y) * weight, 0)),
        ]
    )
    solution = jnp.linalg.solve(jnp.concatenate([top, bottom]), right)
    d, y = solution[:n], solution[n:]
    size = 1 + jnp.max(jnp.abs(d))
    slack = rows @ d + b
    tolerance = epsilon**0.6
    fine = jnp.all(jnp.isfinite(solution)) & jnp.all(
        jnp.abs(d) <= radius * (1 + tolerance)
    )
    bad_row = jnp.where(is_equality, False, ~active & ~yields & (slack < -tolerance))
    bad_sign = jnp.where(
        is_equality, jnp.abs(y) > weight * (1 + tolerance), y < -tolerance
    )
    fine = fine & ~jnp.any(bad_row) & ~jnp.any(bad_sign)
    # A nearly singular system may be solved by a point far from the one it should mend.
    fine = fine & (jnp.max(jnp.abs(d - s.d)) <= epsilon**0.25 * size)
    y = jnp.where(is_equality, y, jnp.maximum(y, 0))
    return eqx.tree_at(
        lambda s: (s.d, s.y),
        s,
        (jnp.where(fine, d, s.d), jnp.where(fine, y, s.y)),
    )
