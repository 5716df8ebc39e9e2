"""The amplitude of perturbations, and whether a cost's digits can show them.

With unit roundoff u the error of a difference is about u |C| / (epsilon |g|) from
rounding, and of order epsilon^2 (central) or epsilon (forward) from curvature, so the
best epsilon goes as u^(1/3) or u^(1/2). A direction that moves all K parameters is
sqrt(K) long; its slope does not grow with K but its curvature does, which the factor
K^(-1/4) weighs up.
"""

import math
import warnings

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array

from fixproj._check import is_traced
from fixproj.nn._mgd._families import AbstractPerturbation
from fixproj.projections._precision import at_least_single


SCHEMES = ("central", "forward")
# A difference with less than this many roundings of the cost has one digit at most.
LEAST_ROUNDINGS = 8.0


class LostPerturbationWarning(UserWarning):
    """Differences of costs drown in rounding, so gradients are noise or zero.

    Compiled programs warn on CPUs only: an accelerator would have to stop for it.
    """


def check_scheme(scheme: str) -> None:
    """Raises ValueError unless it is one of `SCHEMES`."""
    if scheme not in SCHEMES:
        known = ", ".join(map(repr, SCHEMES))
        raise ValueError(f"scheme must be one of {known}; got {scheme!r}.")


def default_epsilon(
    family: AbstractPerturbation, scheme: str, leaves: list[Array]
) -> Array:
    """The amplitude for these parameters, a float32 or float64 scalar.

    It is in units of the root mean square of the parameters where that exceeds 1.
    """
    size = sum(leaf.size for leaf in leaves)
    unit = max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves)
    base = unit ** (1 / 3 if scheme == "central" else 1 / 2)
    if family.dense:
        base /= size**0.25
    dtypes = [at_least_single(leaf.dtype) for leaf in leaves]
    work = max(dtypes, key=lambda d: jnp.finfo(d).bits)
    squares = jnp.stack([jnp.sum(jnp.square(leaf.astype(work))) for leaf in leaves])
    scale = jnp.sqrt(jnp.sum(squares) / size)
    return base * jnp.maximum(scale, 1)


def warn_if_lost(
    difference: Array, cost: Array, epsilon: Array, unit: float, scheme: str
) -> None:
    """A `LostPerturbationWarning` if the measured differences are rounding.

    Args:
        difference: the root mean square of the differences of the cost.
        cost: the cost.
        epsilon: the amplitude.
        unit: relative rounding of the cost.
        scheme: the scheme.
    """
    lost = difference < LEAST_ROUNDINGS * unit * jnp.abs(cost)
    if not is_traced(lost):
        _warn(lost, difference, cost, epsilon, unit, scheme)
        return
    # The host hears of it once, also from a batch, and only where it is so. Of a batch
    # it gets the largest numbers among the lanes in which it is so.
    worst = [
        eqxi.unvmap_max(jnp.where(lost, value, jnp.zeros_like(value)))
        for value in (difference, jnp.abs(cost), epsilon)
    ]
    lost = eqxi.unvmap_any(lost)
    tell = lambda a, b, c, d: _warn(a, b, c, d, unit, scheme)
    jax.lax.platform_dependent(
        lost,
        *worst,
        cpu=lambda lost, *worst: jax.lax.cond(
            lost, lambda: jax.debug.callback(tell, lost, *worst), lambda: None
        ),
        default=lambda *_: None,
    )


def _warn(lost, difference, cost, epsilon, unit, scheme) -> None:
    if not bool(jnp.any(jnp.asarray(lost))):
        return
    cost, epsilon, difference = map(float, (cost, epsilon, difference))
    rounding = unit * abs(cost)
    power = 1 / 3 if scheme == "central" else 1 / 2
    if difference > 0:
        # The slope is known roughly, so the balance of the two errors can be struck.
        better = max(2 * epsilon, (rounding * epsilon / difference) ** power)
        advice = f"try epsilon={better:.0e}"
    else:
        advice = f"try an epsilon well above {epsilon:.0e}"
    steps = 0.0 if rounding == 0 else difference / rounding
    digits = -math.log10(unit)
    warnings.warn(
        f"Perturbations of {epsilon:.1e} change the cost {cost:.3g} only by "
        f"{difference:.1e}, {steps:.1f} times what its {digits:.0f} digits resolve: "
        f"the gradient is lost to rounding. Unless the cost is flat here, {advice} "
        "(a model that is quantised needs about one step of its grid), compute the "
        "cost in a wider dtype, or subtract its constant part.",
        LostPerturbationWarning,
        stacklevel=2,
    )
