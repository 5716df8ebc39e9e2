"""Proportional hazards with interval censoring: EM with latent Poisson counts.

Cumulative hazard of person i at t: exp(x_i'b) sum_l g_l I_l(t), I_l integrated splines.
E: expected counts D_il; M: b maximises sum_il D_il (x_i'b - log F_l(b)) with
F_l(b) = sum_i C_il exp(x_i'b) by Newton's method, then g_l = D_l / F_l.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast


_PEOPLE, _DEGREE, _INTERIOR, _NEWTON_STEPS = 2000, 3, 3, 8


@functools.cache
def _data():
    from scipy.interpolate import BSpline

    rng = np.random.default_rng(2016)
    covariates = np.concatenate(
        [
            rng.normal(0.5, 0.5, (_PEOPLE, 2)),
            rng.integers(0, 2, (_PEOPLE, 2)).astype(float),
        ],
        axis=1,
    )
    rate = np.exp(covariates @ np.array([-0.5, -0.5, 0.5, 0.5]))
    target = rng.exponential(size=_PEOPLE) / rate
    low, high = np.zeros(_PEOPLE), np.full(_PEOPLE, 1e7)
    for _ in range(100):  # solve log(1 + t) + sqrt(t) = target by bisection
        middle = (low + high) / 2
        above = np.log1p(middle) + np.sqrt(middle) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    inspection = rng.exponential(size=_PEOPLE)
    failed = low < inspection
    knots = np.linspace(inspection.min() - 1e-5, inspection.max() + 1e-5, _INTERIOR + 2)
    knots = np.concatenate([[knots[0]] * _DEGREE, knots, [knots[-1]] * _DEGREE])
    basis = BSpline.design_matrix(inspection, knots, _DEGREE).toarray()
    # The l-th integrated spline is the sum of all later B-splines.
    splines = np.cumsum(basis[:, :0:-1], axis=1)[:, ::-1]
    return covariates, splines, failed


def _map(y, args):
    covariates, splines, failed = args
    b, g = y["coefficients"], jnp.maximum(y["baseline"], 1e-7)
    hazard = jnp.exp(covariates @ b)
    seen = failed / -jnp.expm1(-(splines @ g) * hazard)
    expected = splines * g[None, :] * (hazard * seen)[:, None]
    total = jnp.sum(expected, axis=0)
    linear = covariates.T @ jnp.sum(expected, axis=1)

    def newton(_, b):
        weighted = splines * jnp.exp(covariates @ b)[:, None]
        mass = jnp.maximum(jnp.sum(weighted, axis=0), 1e-5)
        per_person = weighted @ (total / mass)
        gradient = linear - covariates.T @ per_person
        means = covariates.T @ weighted
        hessian = (means * (total / mass**2)[None, :]) @ means.T - (
            covariates.T @ (per_person[:, None] * covariates)
        )
        return b - jnp.linalg.solve(hessian, gradient)

    b = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, b)
    mass = jnp.exp(covariates @ b) @ splines
    return {"coefficients": b, "baseline": total / mass}


def _make(dtype):
    covariates, splines, failed = _data()
    start = {"coefficients": np.zeros(4), "baseline": np.ones(6)}
    return _map, *cast((start, (covariates, splines, failed.astype(float))), dtype)


def _check(y):
    """Largest of |d/db| and |g d/dg| of the log likelihood per person."""
    covariates, splines, failed = _data()
    b, g = (np.asarray(y[k], float) for k in ("coefficients", "baseline"))
    hazard = np.exp(covariates @ b)
    cumulative = (splines @ g) * hazard
    # d log likelihood / d cumulative: 1 / (exp(h) - 1) if failed, else -1.
    slope = np.where(failed, 1 / np.expm1(cumulative), -1.0)
    by_b = covariates.T @ (slope * cumulative)
    by_g = g * (splines.T @ (slope * hazard))
    return max(np.max(np.abs(by_b)), np.max(np.abs(by_g))) / _PEOPLE


PROBLEMS = [
    Problem(
        name="proportional_hazards",
        make=_make,
        size=10,
        picard_steps_hint=77978,
        tuned_on=False,
        reference="L. Wang, C. S. McMahan, M. G. Hudgens and Z. P. Qureshi (2016), "
        "Biometrics 72(1), 222-231; data drawn anew from the original's design with "
        "NumPy "
        "seed 2016; the inner M step is 8 Newton steps",
        tolerance=1e-5,
        tolerance32=0.001,
        check=_check,
        accuracy=1e-06,
        accuracy32=0.0001,
        domain="baseline > 0, moved to >= 1e-7; a baseline entry at 0 stays there, so "
        "there are several fixed points; overflows for large coefficients",
        slow=True,
    ),
]
