"""Spectral and structured sets against numpy, cvxpy and finite differences."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_derivatives

from fixproj import projections as proj


pytestmark = pytest.mark.slow_in_x64


def _matrix(seed=0, shape=(4, 4)):
    return np.random.default_rng(seed).normal(size=shape)


CONVEX = {
    "psd": (proj.PSDCone, lambda y: [y >> 0]),
    "spectraplex": (
        lambda: proj.Spectraplex(1.5),
        lambda y: [y >> 0, cp.trace(y) == 1.5],
    ),
    "correlation": (proj.CorrelationMatrices, lambda y: [y >> 0, cp.diag(y) == 1]),
    "nuclear": (lambda: proj.NuclearBall(2.0), lambda y: [cp.normNuc(y) <= 2]),
    "spectral": (lambda: proj.SpectralBall(0.8), lambda y: [cp.sigma_max(y) <= 0.8]),
}
DERIVATIVES = {
    **{name: build for name, (build, _) in CONVEX.items()},
    "low_rank": lambda: proj.LowRank(2),
    "orthogonal": proj.Orthogonal,
    "rotation": proj.Rotation,
    "toeplitz": proj.Toeplitz,
    "hankel": proj.Hankel,
}


@pytest.mark.parametrize("name", CONVEX)
@pytest.mark.one_precision
def test_nearest_point_is_the_one_of_cvxpy(name):
    build, constraints = CONVEX[name]
    x = 1.5 * _matrix()
    symmetric = name in ("psd", "spectraplex", "correlation")
    y = cp.Variable((4, 4), symmetric=symmetric)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - x)), constraints(y))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9)
    with jax.enable_x64(True):
        got = np.asarray(build().project(jnp.asarray(x)))
    np.testing.assert_allclose(got, np.asarray(y.value), atol=2e-5)


@pytest.mark.parametrize("name", DERIVATIVES)
@pytest.mark.one_precision
def test_derivatives(name):
    project = DERIVATIVES[name]().project
    basis = np.eye(9).reshape(9, 3, 3)
    with jax.enable_x64(True):
        x = jnp.asarray(_matrix(3, (3, 3)))

        @jax.jit
        def run(x):
            y, tangents = jax.linearize(project, x)
            forward = jax.vmap(tangents)(jnp.asarray(basis))
            cotangent = jnp.arange(9.0).reshape(3, 3)
            return y, forward, jax.linear_transpose(tangents, x)(cotangent)[0]

        _, forward, reverse = map(np.asarray, run(x))
        step = 1e-6
        numeric = np.stack(
            [(run(x + step * e)[0] - run(x - step * e)[0]) / (2 * step) for e in basis]
        )
        np.testing.assert_allclose(forward, numeric, atol=1e-6)
        np.testing.assert_allclose(
            reverse.ravel(), numeric.reshape(9, 9) @ np.arange(9), atol=1e-5
        )
        # Repeated values and zeros give no NaN.
        for kink in (jnp.eye(3), jnp.zeros((3, 3)), jnp.ones((3, 3))):
            assert all(np.isfinite(part).all() for part in run(kink))


def _alternating(a):
    """Dykstra's algorithm of N. J. Higham (2002), in NumPy."""
    y, correction = a, np.zeros_like(a)
    for _ in range(5000):
        shifted = y - correction
        values, u = np.linalg.eigh(shifted)
        x = (u * np.maximum(values, 0)) @ u.T
        correction, last = x - shifted, y
        y = x.copy()
        np.fill_diagonal(y, 1)
        if np.linalg.norm(y - last) < 1e-12 * np.linalg.norm(y):
            return y
    raise AssertionError("the oracle did not converge")


@pytest.mark.parametrize("n", [50, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.one_precision
def test_nearest_correlation_of_size(n):
    rng = np.random.default_rng(n)
    noisy = np.corrcoef(rng.normal(size=(n, 2 * n))) + 0.3 * rng.normal(size=(n, n))
    uniform = rng.uniform(-1, 1, (n, n))
    # From far away the oracle takes a thousand steps.
    matrices = [noisy, uniform] if n == 50 else [noisy, uniform, 10 * noisy]
    x = np.stack([0.5 * (a + a.T) for a in matrices])
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(proj.CorrelationMatrices().project)(jnp.asarray(x)))
    for a, y in zip(x, got, strict=True):
        np.testing.assert_allclose(y, _alternating(a), atol=1e-9)
        assert np.linalg.eigvalsh(y).min() > -1e-13
        np.testing.assert_array_equal(np.diag(y), 1)


@pytest.mark.one_precision
def test_second_derivatives_of_correlations_see_the_multipliers():
    rng = np.random.default_rng(7)
    with jax.enable_x64(True):
        x, direction = (jnp.asarray(v) for v in rng.normal(size=(2, 4, 4)))

        @jax.jit
        def run(x):
            def loss(x):
                return jnp.sum(jnp.sin(proj.CorrelationMatrices().project(x)))

            return jax.jvp(jax.grad(loss), (x,), (direction,))

        _, got = run(x)
        step = 1e-5
        ends = [np.asarray(run(x + h * direction)[0]) for h in (step, -step)]
        np.testing.assert_allclose(got, (ends[0] - ends[1]) / (2 * step), atol=1e-7)
        assert np.abs(got).max() > 0.01


@pytest.mark.slow
@pytest.mark.one_precision
def test_all_second_derivatives_of_correlations():
    with jax.enable_x64(True):
        check_derivatives(proj.CorrelationMatrices().project, jnp.asarray(_matrix(3)))


@pytest.mark.parametrize(
    "ball", [proj.NuclearBall, pytest.param(proj.SpectralBall, marks=pytest.mark.slow)]
)
@pytest.mark.one_precision
def test_radii_have_derivatives(ball):
    with jax.enable_x64(True):
        x = jnp.asarray(_matrix(5, (3, 2)))
        check_derivatives(lambda x, r: ball(r).project(x), x, jnp.array(0.7))


def test_repeated_eigenvalues_have_the_exact_derivative():
    change = jnp.array([[1.0, 2.0], [2.0, -3.0]])
    for scale, expected in ((1.0, change), (-1.0, 0 * change)):
        _, moved = jax.jvp(proj.PSDCone().project, (scale * jnp.eye(2),), (change,))
        np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_complex_batches_and_shapes():
    x = _matrix(1, (2, 4, 3)) + 1j * _matrix(2, (2, 4, 3))
    x = jnp.asarray(x, jnp.complex64)
    y = proj.Stiefel().project(x)
    np.testing.assert_allclose(
        jnp.conj(jnp.swapaxes(y, -1, -2)) @ y, np.stack([np.eye(3)] * 2), atol=1e-5
    )
    square = x @ jnp.conj(jnp.swapaxes(x, -1, -2)) - 3 * jnp.eye(4, dtype=x.dtype)[None]
    psd = proj.PSDCone().project(square)
    values, u = np.linalg.eigh(np.asarray(square))
    expected = np.einsum("bij,bj,bkj->bik", u, np.maximum(values, 0), u.conj())
    np.testing.assert_allclose(psd, expected, atol=2e-4)
    assert proj.PSDCone().distance(square).shape == (2,)
    assert proj.NuclearBall().project(x).dtype == x.dtype


def test_low_rank_and_rotation_are_the_known_formulas():
    x = _matrix(4, (5, 3))
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    got = proj.LowRank(1).project(jnp.asarray(x))
    np.testing.assert_allclose(got, s[0] * np.outer(u[:, 0], vh[0]), atol=1e-5)
    for seed in range(4):
        q = np.asarray(proj.Rotation().project(jnp.asarray(_matrix(seed, (3, 3)))))
        np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-5)
        np.testing.assert_allclose(np.linalg.det(q), 1, atol=1e-5)


def test_toeplitz_and_hankel_average_diagonals():
    x = _matrix(0, (3, 5))
    got = np.asarray(proj.Toeplitz().project(jnp.asarray(x)))
    for k in range(-2, 5):
        np.testing.assert_allclose(np.diag(got, k), np.diag(x, k).mean(), atol=1e-6)
    mirrored = np.asarray(proj.Hankel().project(jnp.asarray(x[:, ::-1].copy())))
    np.testing.assert_allclose(mirrored[:, ::-1], got, atol=1e-6)


def test_fourier_magnitude():
    signal = _matrix(0, (6,))
    magnitude = np.abs(np.fft.fft(_matrix(1, (6,))))
    fourier = proj.FourierMagnitude(magnitude)
    y = fourier.project(jnp.asarray(signal))
    np.testing.assert_allclose(np.abs(np.fft.fft(y)), magnitude, atol=1e-5)
    phases = np.exp(1j * np.angle(np.fft.fft(signal)))
    np.testing.assert_allclose(y, np.fft.ifft(magnitude * phases).real, atol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(fourier.project(x)))(jnp.zeros(6))
    assert bool(jnp.all(jnp.isfinite(gradient)))
    with pytest.raises(ValueError, match="`magnitude` must be symmetric"):
        proj.FourierMagnitude(np.arange(4.0)).project(jnp.ones(4))
    with pytest.raises(ValueError, match="`magnitude` must be finite"):
        proj.FourierMagnitude(-np.ones(4))
