r"""Between a norm |x|_p, 1 < p < infinity, and its dual: for the norm's epigraph.

A point (t, x) is the sum of a point (s, s w) of the epigraph of |.|_p and a point
(-d, d w^(p-1)) of its polar cone, entry by entry with w >= 0 and sum w^p = 1:

    s - d = t,    s w_i + d w_i^(p-1) = |x_i|.

The last is increasing in w, and in u = log w convex after a logarithm, so Newton's
method from the right is monotone. w decreases with v = min(s, d), which is the root of
log sum w^p = 0: a bracketed Newton's method. All sizes are kept as logarithms, so no
power overflows. Derivatives are those of the equations, by Newton steps at their roots.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fixproj.projections._scalar_root import bracketed_root, with_derivative


_INNER_STEPS = 12


def power_norm(p: float, x: Float[Array, "... n"]) -> Float[Array, "... 1"]:
    """|x|_p along the last axis, without overflow; zero has derivative zero."""
    size = jnp.abs(x)
    largest = lax.stop_gradient(jnp.max(size, -1, keepdims=True, initial=0))
    is_zero = largest == 0
    ratio = size / jnp.where(is_zero, 1, largest)
    # The power of zero may have no derivative.
    power = jnp.where(ratio == 0, 0, jnp.where(ratio == 0, 1, ratio) ** p)
    total = jnp.sum(power, -1, keepdims=True)
    return largest * jnp.where(total == 0, 1, total) ** (1 / p)


@partial(jax.jit, static_argnums=0)
def shared_excess(
    p: float, height: Float[Array, "... 1"], vector: Float[Array, "... n"]
) -> tuple[Float[Array, "... 1"], Float[Array, "... n"]]:
    """The nearest point of the surface |x|_p = t.

    Args:
        p: strictly between 1 and infinity.
        height: t.
        vector: x, such that |x|_p > t and |x|_q > -t with 1/p + 1/q = 1; elsewhere what
            is returned has no meaning, but is finite.

    Returns:
        s and s w, with the signs of the entries.
    """
    eps = float(jnp.finfo(vector.dtype).eps)
    scale = jnp.maximum(jnp.max(jnp.abs(vector), -1, keepdims=True, initial=0), 0)
    scale = lax.stop_gradient(jnp.maximum(scale, jnp.abs(height)))
    # A power of two, so that nothing is rounded.
    unit = jnp.exp2(jnp.floor(jnp.log2(jnp.where(scale == 0, 1, scale))))
    t, x = height / unit, jnp.abs(vector) / unit
    is_zero = x == 0
    log_x = jnp.log(jnp.where(is_zero, 1, x))
    rises = t >= 0
    gap = jnp.abs(t)

    def sizes(v):
        """Log s and log d."""
        small, large = jnp.log(v), jnp.log(v + gap)
        return jnp.where(rises, large, small), jnp.where(rises, small, large)

    def equation(v):
        log_s, log_d = sizes(v)

        def mismatch(u):
            return jnp.logaddexp(log_s + u, log_d + (p - 1) * u) - log_x

        return mismatch

    def logarithms(v):
        """U for every entry, with derivatives in v and all else."""
        log_s, log_d = lax.stop_gradient(sizes(v))
        target = lax.stop_gradient(log_x)
        u = jnp.minimum(target - log_s, (target - log_d) / (p - 1))

        def newton(_, u):
            first, second = log_s + u, log_d + (p - 1) * u
            share = jax.nn.sigmoid(second - first)
            rest = jnp.logaddexp(first, second) - target
            return u - rest / (1 + (p - 2) * share)

        u = lax.fori_loop(0, _INNER_STEPS, newton, u)
        return with_derivative(equation(v), u)

    def excess(v):
        """Increasing in v, with root zero."""
        u = jnp.where(is_zero, -jnp.inf, logarithms(v))
        largest = lax.stop_gradient(jnp.max(u, -1, keepdims=True, initial=-1e30))
        total = jnp.sum(
            jnp.where(is_zero, 0, jnp.exp(p * (jnp.where(is_zero, 0, u) - largest))),
            -1,
            keepdims=True,
        )
        return -(p * largest + jnp.log(jnp.where(total == 0, 1, total)))

    q = p / (p - 1)
    upper = jnp.where(
        rises,
        jnp.minimum(power_norm(p, x) - t, power_norm(q, x)),
        jnp.minimum(power_norm(q, x) + t, power_norm(p, x)),
    )
    upper = jnp.maximum(lax.stop_gradient(upper), 4 * eps**2)
    steps = 60 if vector.dtype == jnp.float64 else 40
    v = bracketed_root(excess, eps**2 + 0 * upper, upper, 0.5 * upper, steps)
    v = with_derivative(excess, v)
    log_s, _ = sizes(v)
    w = jnp.where(is_zero, 0, jnp.exp(log_s + logarithms(v)))
    # Near zero the smaller power counts.
    z = jnp.where(is_zero & (p > 2), vector, jnp.sign(vector) * w * unit)
    return jnp.exp(log_s) * unit, z
