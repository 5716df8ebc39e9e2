"""Small maps: a vector, square roots, the perceptron, and NLsolve.jl's systems."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast, to_numpy


def _vector_map(y, args):
    return jnp.stack([jnp.sqrt(jnp.abs(y[0] + y[1])) / 2, 1.5 * y[0] + 0.5 * y[1]])


def _vector_make(dtype):
    return _vector_map, cast(np.array([0.3, 900.0]), dtype), None


_SQUARES = np.array([2.0, 10.0, 100.0, 1e4])


def _babylonian_map(y, args):
    return (y + args / y) / 2


def _babylonian_make(dtype):
    return _babylonian_map, *cast((_SQUARES, _SQUARES), dtype)


@functools.cache
def _perceptron_data():
    """Forty points in two classes that a line separates."""
    rng = np.random.default_rng(_PERCEPTRON_SEED)
    negative = np.stack([rng.normal(3, 2, 20), rng.normal(8, 2, 20)], axis=1)
    positive = np.stack([rng.normal(-4, 2, 20), rng.normal(10, 12, 20)], axis=1)
    points = np.concatenate([negative, positive])
    points = np.concatenate([np.ones((40, 1)), points], axis=1)
    return points, np.repeat([-1.0, 1.0], 20)


_PERCEPTRON_SEED = 11


def _perceptron_map(y, args):
    def one(weights, observation):
        point, target = observation
        score = jnp.vdot(weights, point)
        guess = jnp.where(score > 0, 1, -1).astype(score.dtype)
        return weights + (target - guess) / 2 * point, None

    return jax.lax.scan(one, y, args)[0]


def _perceptron_make(dtype):
    start = np.array([1.0, -2.0, 0.5])
    return _perceptron_map, *cast((start, _perceptron_data()), dtype)


def _misclassified(y):
    """Number of points on the wrong side."""
    points, target = _perceptron_data()
    return np.sum((points @ np.asarray(y, float) > 0) != (target > 0))


def _affine_map(y, args):
    matrix, b = args
    return matrix @ y + b


def _affine_make(dtype):
    args = (np.diag([0.7, 0.3]), np.array([1.5, 3.2]))
    return _affine_map, *cast((np.array([3.4, 4.3]), args), dtype)


def _exponential_map(y, args):
    return jnp.exp(-y)


def _exponential_make(dtype):
    return _exponential_map, cast(np.array([50.0]), dtype), None


def _omega(dtype):
    from scipy.special import lambertw

    return to_numpy(np.real(lambertw(np.ones(1))), dtype)


def _nocedal_map(y, args):
    first = (y[0] + 3) * (y[1] ** 3 - 7) + 18
    second = jnp.sin(y[1] * jnp.exp(y[0]) - 1)
    return y + args * jnp.stack([first, second])


def _nocedal_make(dtype):
    return _nocedal_map, *cast((np.array([0.01, 0.99]), np.array(0.01)), dtype)


PROBLEMS = [
    Problem(
        name="simple_vector",
        make=_vector_make,
        size=2,
        picard_steps_hint=105,
        tuned_on=True,
        reference="(sqrt|x + y| / 2, 3x/2 + y/2) from (0.3, 900): "
        "FixedPointAcceleration.jl",
        tolerance=1e-10,
        tolerance32=1e-06,
        solution=lambda dtype: np.array([1.0, 3.0], dtype),
        accuracy=5e-09,
        accuracy32=2e-05,
        domain="everywhere; not differentiable where x + y = 0",
    ),
    Problem(
        name="babylonian_roots",
        make=_babylonian_make,
        size=4,
        picard_steps_hint=12,
        tuned_on=False,
        reference="Babylonian square roots of 2, 10, 100, 1e4: "
        "FixedPointAcceleration.jl "
        "section 1; quadratically convergent by itself",
        tolerance32=5e-05,
        solution=lambda dtype: to_numpy(np.sqrt(_SQUARES), dtype),
        accuracy=1e-06,
        accuracy32=0.0002,
        domain="y > 0; inf or NaN at 0, negative roots below",
    ),
    Problem(
        name="perceptron",
        make=_perceptron_make,
        size=3,
        picard_steps_hint=91,
        tuned_on=False,
        reference="F. Rosenblatt's perceptron (1958), one pass per step: "
        "FixedPointAcceleration.jl section 4.2, points drawn with NumPy seed "
        f"{_PERCEPTRON_SEED}; piecewise a translation, so only plain steps are sure to "
        "end (Novikoff 1962), in finitely many",
        check=_misclassified,
        accuracy=0.0,
        accuracy32=0.0,
        smooth=False,
    ),
    Problem(
        name="nlsolve_affine",
        make=_affine_make,
        size=2,
        picard_steps_hint=45,
        tuned_on=False,
        reference="diag(0.7, 0.3) y + (1.5, 3.2): NLsolve.jl's fixed-point tests",
        tolerance32=5e-06,
        solution=lambda dtype: np.array([5.0, 3.2 / 0.7], dtype),
        accuracy=1e-06,
        accuracy32=5e-05,
    ),
    Problem(
        name="nlsolve_exponential",
        make=_exponential_make,
        size=1,
        picard_steps_hint=31,
        tuned_on=False,
        reference="exp(-y) from 50 (in the original from a random point below 100): "
        "NLsolve.jl's fixed-point tests",
        tolerance32=1e-06,
        solution=_omega,
        accuracy=1e-06,
        accuracy32=1e-05,
        domain="everywhere; exp overflows for y below -88 in float32",
    ),
    Problem(
        name="nlsolve_2by2",
        make=_nocedal_make,
        size=2,
        picard_steps_hint=None,
        tuned_on=False,
        reference="y + 0.01 F(y) with F of Nocedal and Wright, Numerical "
        "Optimization, p. "
        "281, from (0.01, 0.99): NLsolve.jl's local test of Anderson. The fixed point "
        "is "
        "a saddle: plain iteration leaves it",
        tolerance32=1e-06,
        solution=lambda dtype: np.array([0.0, 1.0], dtype),
        accuracy=1e-05,
        accuracy32=0.0001,
    ),
]
