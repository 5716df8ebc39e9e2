"""Expectation maximisation for mixtures of distributions.

Posterior weights of each component given the parameters (E), then the weighted maximum
likelihood estimates (M); theta <- M(E(theta)).
"""

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast
from ._random import StableRandom, normal_quantile


# Deaths of women of 80 or more reported per day in The Times, 1910-1912:
# number of days with 0, 1, ..., 9 deaths.
_DEATHS = np.array([162.0, 267.0, 271.0, 185.0, 111.0, 61.0, 27.0, 8.0, 3.0, 1.0])
_SMALLEST = 1e-7


def _poisson_step(p, mean1, mean2, counts):
    days = jnp.arange(counts.shape[0]).astype(counts.dtype)
    log_odds = jnp.log1p(-p) - jnp.log(p) - mean2 + mean1
    log_odds = log_odds + days * (jnp.log(mean2) - jnp.log(mean1))
    first = counts / (1 + jnp.exp(log_odds))
    second = counts - first
    return jnp.stack(
        [
            jnp.sum(first) / jnp.sum(counts),
            jnp.sum(days * first) / jnp.sum(first),
            jnp.sum(days * second) / jnp.sum(second),
        ]
    )


def _hasselblad_map(y, args):
    p = jnp.clip(y[0], _SMALLEST, 1 - _SMALLEST)
    return _poisson_step(
        p, jnp.maximum(y[1], _SMALLEST), jnp.maximum(y[2], _SMALLEST), args
    )


def _unguarded_map(y, args):
    # Outside of 0 < p < 1, means > 0 the logarithms make this NaN, as in
    # implementations that trust their input.
    return _poisson_step(y[0], y[1], y[2], args)


def _hasselblad_make(dtype):
    return _hasselblad_map, *cast((np.array([0.25, 1.0, 2.0]), _DEATHS), dtype)


def _unguarded_make(dtype):
    return _unguarded_map, *cast((np.array([0.25, 1.0, 2.0]), _DEATHS), dtype)


def _hasselblad_check(y):
    """Largest derivative of the mean log likelihood, by central differences."""
    from scipy.stats import poisson

    days = np.arange(10)

    def log_likelihood(y):
        p, mean1, mean2 = y
        density = p * poisson.pmf(days, mean1) + (1 - p) * poisson.pmf(days, mean2)
        return np.sum(_DEATHS * np.log(density)) / np.sum(_DEATHS)

    return np.max(np.abs(_gradient(log_likelihood, np.asarray(y, float))))


def _gradient(fn, y, step=1e-5):
    steps = step * np.eye(y.size)
    return np.array([(fn(y + h) - fn(y - h)) / (2 * step) for h in steps])


_POINTS = (300, 200, 500)
_MEANS = np.array([[0.0, 8.0], [-4.0, 10.0], [-3.0, 2.0]])
_COVARIANCES = np.array([[2.0, 0.5, 2.0], [2.0, -0.5, 12.0], [4.0, 2.0, 3.0]])
_START = np.concatenate(
    [
        [0.0, 7.5, 2.0, 0.0, 1.0],
        [-4.0, 12.0, 2.0, 0.0, 2.0],
        [-2.0, 0.0, 4.0, 0.0, 2.0],
        [0.4, 0.2],
    ]
)


def _normal_data():
    random, parts = StableRandom(), []
    for number, mean, (c11, c12, c22) in zip(
        _POINTS, _MEANS, _COVARIANCES, strict=True
    ):
        z = random(2, number, quantile=normal_quantile)
        slope = c12 / c11
        first = np.sqrt(c11) * z[0] + mean[0]
        rest = np.sqrt(c22 - c12**2 / c11) * z[1]
        second = first * slope + rest + mean[1] - slope * mean[0]
        parts.append(np.stack([first, second], axis=1))
    return np.concatenate(parts)


def _clip_eigenvalues(c11, c12, c22, smallest):
    """Symmetric 2x2 matrices with eigenvalues raised to `smallest`, in closed form."""
    centre, half = (c11 + c22) / 2, (c11 - c22) / 2
    # The square root's derivative at 0 is never used: a multiple of the identity
    # has nothing to clip, or both eigenvalues clipped to the same number.
    square = half**2 + c12**2
    radius = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    high = jnp.maximum(centre + radius, smallest)
    low = jnp.maximum(centre - radius, smallest)
    ratio = jnp.where(
        radius > 0, (high - low) / (2 * jnp.where(radius > 0, radius, 1)), 0
    )
    middle = (high + low) / 2
    return middle + ratio * half, ratio * c12, middle - ratio * half


def _mix3_map(y, args):
    data = args
    mean = y[:15].reshape(3, 5)[:, :2]
    cov = y[:15].reshape(3, 5)[:, 2:]
    weight = jnp.stack([y[15], y[16], 1 - y[15] - y[16]])
    floor = jnp.maximum(weight, 1e-4)
    weight = jnp.where(jnp.min(weight) < 1e-4, floor / jnp.sum(floor), weight)
    c11, c12, c22 = _clip_eigenvalues(cov[:, 0], cov[:, 1], cov[:, 2], 1e-7)
    determinant = c11 * c22 - c12**2
    d = data[:, None, :] - mean[None, :, :]
    d1, d2 = d[..., 0], d[..., 1]
    square = (c22[None] * d1**2 - 2 * c12[None] * d1 * d2 + c11[None] * d2**2) / (
        determinant[None]
    )
    log_density = (jnp.log(weight) - jnp.log(determinant) / 2)[None] - square / 2
    log_density = log_density - jnp.max(log_density, axis=1, keepdims=True)
    z = jnp.exp(log_density)
    z = z / jnp.sum(z, axis=1, keepdims=True)
    total = jnp.sum(z, axis=0)
    new_mean = (z.T @ data) / total[:, None]
    d = data[:, None, :] - new_mean[None]
    d1, d2 = d[..., 0], d[..., 1]
    second = jnp.stack([z * d1**2, z * d1 * d2, z * d2**2], axis=-1)
    new_cov = jnp.sum(second, axis=0) / total[:, None]
    moments = jnp.concatenate([new_mean, new_cov], axis=1).reshape(15)
    return jnp.concatenate([moments, total[:2] / data.shape[0]])


def _mix3_make(dtype):
    return _mix3_map, *cast((_START, _normal_data()), dtype)


def _mix3_check(y):
    """Largest derivative of the mean log likelihood, by central differences."""
    data = _normal_data()

    def log_likelihood(y):
        density = np.zeros(len(data))
        weights = (y[15], y[16], 1 - y[15] - y[16])
        for weight, (m1, m2, *cov) in zip(weights, y[:15].reshape(3, 5), strict=True):
            cov = np.array([cov[:2], cov[1:]])
            d = data - np.array([m1, m2])
            square = np.sum(d * np.linalg.solve(cov, d.T).T, axis=1)
            scale = 2 * np.pi * np.sqrt(np.linalg.det(cov))
            density += weight * np.exp(-square / 2) / scale
        return np.mean(np.log(density))

    return np.max(np.abs(_gradient(log_likelihood, np.asarray(y, float))))


PROBLEMS = [
    Problem(
        name="hasselblad",
        make=_hasselblad_make,
        size=3,
        picard_steps_hint=2167,
        tuned_on=True,
        reference="V. Hasselblad (1969), JASA 64(328), 1459-1471; parameters outside "
        "of "
        "the domain are moved inside as in FixedPointTestProblems.jl",
        tolerance32=5e-06,
        check=_hasselblad_check,
        accuracy=2e-06,
        accuracy32=5e-05,
        domain="0 < p < 1, means > 0; clamped to 1e-7 inside, never NaN for finite y",
    ),
    Problem(
        name="hasselblad_unguarded",
        make=_unguarded_make,
        size=3,
        picard_steps_hint=2167,
        tuned_on=False,
        reference="V. Hasselblad (1969), JASA 64(328), 1459-1471, without the guard",
        tolerance32=5e-06,
        check=_hasselblad_check,
        accuracy=2e-06,
        accuracy32=5e-05,
        domain="0 < p < 1, means > 0; NaN elsewhere",
    ),
    Problem(
        name="mix3",
        make=_mix3_make,
        size=17,
        picard_steps_hint=429,
        tuned_on=True,
        reference="Mixture of 3 bivariate normals, 1000 points: "
        "FixedPointTestProblems.jl, "
        "after FixedPointAcceleration.jl section 4.3; its data (StableRandom)",
        tolerance32=2e-05,
        check=_mix3_check,
        accuracy=1e-06,
        accuracy32=0.0001,
        domain="weights are moved to the simplex (>= 1e-4) and covariance eigenvalues "
        "to "
        ">= 1e-7, so never NaN for finite y",
    ),
]
