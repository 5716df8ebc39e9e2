"""The linear solver on its own, against NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fixproj import _loop, _tree
from fixproj.implicit import _krylov, _linear, _neumann


def _jacobians(n):
    """Matrices J for which I - J is regular, by what their eigenvalues do."""
    draw = np.random.default_rng(n)
    normal = draw.normal(size=(n, n))
    basis, _ = np.linalg.qr(normal)
    on_line = lambda low, high: basis * np.linspace(low, high, n) @ basis.T
    rotation = basis @ np.kron(np.eye(n // 2), [[0.0, -0.9], [0.9, 0.0]]) @ basis.T
    nilpotent = np.triu(normal, 1) / n
    return {
        "zero": np.zeros((n, n)),
        "fast": 0.3 * basis,
        "slow on a line": on_line(0.0, 0.98),
        "slow on a disc": 0.9 * basis,
        "rotation": rotation,
        "expands": on_line(-4.0, 0.5),
        "expands, on both sides": on_line(-2.0, 3.0) + 0.05 * np.eye(n),
        "nilpotent": nilpotent,
    }


def _solve(j, b, moves=None, throw=False):
    tolerances = _loop.Tolerances(_loop.default_rtol(b), None, _tree.max_norm)
    return _linear.solve(lambda v: v - j @ v, b, tolerances, None, throw, moves)


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "n", [12, 60, pytest.param(400, marks=pytest.mark.slow)], ids=str
)
def test_solves_and_transposed_solves(n):
    with jax.enable_x64(True):
        jacobians = np.stack(list(_jacobians(n).values()))
        b, c = np.random.default_rng(1).normal(size=(2, n))

        @jax.jit
        @jax.vmap
        def both(j):
            x, pull = jax.vjp(lambda b: _solve(j, b), jnp.asarray(b))
            return x, pull(jnp.asarray(c))[0]

        x, w = both(jnp.asarray(jacobians))
        for i, (name, j) in enumerate(_jacobians(n).items()):
            inverse = np.linalg.inv(np.eye(n) - j)
            atol = float(np.linalg.norm(inverse, 2)) * 1e-10
            np.testing.assert_allclose(x[i], inverse @ b, atol=atol, err_msg=name)
            np.testing.assert_allclose(w[i], c @ inverse, atol=atol, err_msg=name)


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("n", [60, 3000])
def test_by_products_only(n):
    # A tridiagonal J with eigenvalues on a line, and one that is far from symmetric.
    with jax.enable_x64(True):
        b = jnp.asarray(np.random.default_rng(0).normal(size=n))
        lean = jnp.array([0.5, 0.3, 0.9])

        @jax.jit
        @jax.vmap
        def solve(lean):
            def matvec(v):
                left, right = jnp.roll(v, 1).at[0].set(0), jnp.roll(v, -1).at[-1].set(0)
                return v - 0.99 * (lean * left + (1 - lean) * right)

            start = _neumann.start(b)
            target = _neumann.Target(jnp.asarray(1e-12), start.size)
            x, solved = _krylov.solve(matvec, b, start, target, 10_000, 10_000)
            return x, solved, jnp.max(jnp.abs(matvec(x) - b))

        _, solved, error = solve(lean)
        assert bool(jnp.all(solved))
        np.testing.assert_array_less(error, 1e-9)


def _singular(n, rank, symmetric, seed=0):
    """I - A for an A of this rank."""
    draw = np.random.default_rng(seed)
    left, _ = np.linalg.qr(draw.normal(size=(n, n)))
    right, _ = np.linalg.qr(draw.normal(size=(n, n)))
    right = left if symmetric else right
    values = np.where(np.arange(n) < rank, np.linspace(1, 2, n), 0)
    return np.eye(n) - left * values @ right.T, left[:, rank:]


@pytest.mark.parametrize(
    "n, symmetric",
    [
        (10, False),
        pytest.param(40, False, marks=pytest.mark.slow),
        pytest.param(40, True, marks=pytest.mark.slow),
        pytest.param(300, False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.one_precision
def test_singular_systems(n, symmetric):
    with jax.enable_x64(True):
        j, null = _singular(n, n - 3, symmetric)
        a = np.eye(n) - j
        draw = np.random.default_rng(5)
        # One push that the solutions can follow, and one that they cannot.
        allowed = a @ draw.normal(size=n)
        refused = allowed + null[:, 0]
        c = draw.normal(size=n)

        @jax.jit
        @jax.vmap
        def both(push):
            moves = lambda u: jnp.abs(jnp.vdot(push, u))
            solve = lambda t: _solve(jnp.asarray(j), t * push, moves)
            x, pull = jax.vjp(solve, jnp.ones(()))
            return x, pull(jnp.asarray(c))[0]

        x, slope = both(jnp.asarray(np.stack([allowed, refused])))
        inverse = np.linalg.pinv(a)
        if symmetric or n <= 16:
            np.testing.assert_allclose(x[0], inverse @ allowed, atol=1e-7)
        else:
            np.testing.assert_allclose(a @ x[0], allowed, atol=1e-7)
        np.testing.assert_allclose(slope[0], c @ inverse @ allowed, rtol=1e-5)
        assert np.isnan(x[1]).all()
        assert np.isnan(slope[1])


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("n", [500, 5000])
def test_singular_systems_by_products_only(n):
    # A = H D H with a reflection H and zeros in D.
    with jax.enable_x64(True):
        draw = np.random.default_rng(0)
        unit = draw.normal(size=n)
        unit = jnp.asarray(unit / np.linalg.norm(unit))
        reflect = lambda v: v - 2 * unit * jnp.vdot(unit, v)
        d = jnp.where(jnp.arange(n) % 7 == 0, 0, jnp.linspace(0.5, 1.5, n))
        inverse = lambda v: reflect(jnp.where(d > 0, reflect(v) / d, 0))
        matvec = lambda v: reflect(d * reflect(v))
        b, c = jnp.asarray(draw.normal(size=(2, n)))
        tolerances = _loop.Tolerances(_loop.default_rtol(b), None, _tree.max_norm)

        @jax.jit
        def both(push):
            moves = lambda u: jnp.abs(jnp.vdot(push, u))
            solve = lambda t: _linear.solve(
                matvec, t * push, tolerances, None, False, moves
            )
            x, pull = jax.vjp(solve, jnp.ones(()))
            return x, pull(c)[0]

        allowed = matvec(b)
        x, slope = both(allowed)
        np.testing.assert_allclose(x, inverse(allowed), atol=1e-8)
        np.testing.assert_allclose(slope, jnp.vdot(c, inverse(allowed)), rtol=1e-6)
        x, slope = both(allowed + reflect(jnp.zeros(n).at[7].set(1.0)))
        assert np.isnan(x).all()
        assert np.isnan(slope)


@pytest.mark.one_precision
def test_failure_raises():
    with pytest.raises(Exception, match="derivative was not solved"):
        solve = eqx.filter_jit(lambda b: _solve(jnp.eye(2), b, throw=True))
        jax.block_until_ready(solve(jnp.ones(2)))


@pytest.mark.one_precision
def test_a_cotangent_whose_square_underflows_is_not_lost():
    j = 0.5 * jnp.eye(20)
    x = jax.jit(lambda b: _solve(j, b))(jnp.full(20, 1e-25, jnp.float32))
    np.testing.assert_allclose(x, 2e-25, rtol=1e-5)
    assert not jnp.any(jax.jit(lambda b: _solve(j, b))(jnp.zeros(20, jnp.float32)))
