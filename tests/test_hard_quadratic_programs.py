"""Programs that are degenerate, badly scaled, redundant, or far from their start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp


# All of one size, so that they are compiled once: unknowns and rows are filled up.
N, ROWS = 64, 72
INF = np.inf


def _program(P, q, A, lower, upper, low, high):
    """The program with rows and bounds of the unknowns below each other."""
    n, m = len(q), len(A)
    whole = np.zeros((N, N)), np.zeros(N), np.zeros((ROWS + N, N))
    bounds = np.full(ROWS + N, -INF), np.full(ROWS + N, INF)
    whole[0][:n, :n], whole[1][:n], whole[2][:m, :n] = P, q, A
    whole[0][range(n, N), range(n, N)] = 1
    whole[2][ROWS:] = np.eye(N)
    bounds[0][:m], bounds[1][:m] = lower, upper
    bounds[0][ROWS : ROWS + n], bounds[1][ROWS : ROWS + n] = low, high
    return *whole, *bounds


def _convex_fit(target, low=-INF, high=INF):
    """The nearest convex sequence: multipliers are sums of sums of the misfit."""
    n = len(target)
    A = np.diff(np.eye(n), 2, axis=0)
    return _program(np.eye(n), -target, A, 0, INF, low, high)


def _step_of_noise():
    t = np.arange(62) / 61
    return _convex_fit(np.where(t > 0.5, 1, 0) + 0.1 * np.sin(np.arange(1, 63)))


def _concave_target():
    low, high = np.full(62, -INF), np.full(62, INF)
    low[0] = 0.08
    low[-2:] = high[-2:] = 0
    return _convex_fit(np.sin(np.arange(1, 63) / 62), low, high)


def _ring_of_growing_steps():
    n = 60
    A = np.roll(np.eye(n), 1, axis=1) - np.eye(n)
    k = np.arange(1, n + 1)
    lower = np.where(k < n, -0.5 + (-1.0) ** k * k, n - 0.5)
    return _program(np.eye(n), np.zeros(n), A, lower, INF, -INF, INF)


def _transport():
    rng = np.random.default_rng(0)
    A = np.concatenate(
        [np.kron(np.eye(8), np.ones((1, 8))), np.kron(np.ones((1, 8)), np.eye(8))]
    )
    plan = rng.integers(0, 5, 64) * (rng.uniform(size=64) < 0.3)
    costs = rng.integers(1, 30, 64).astype(float)
    return _program(np.zeros((64, 64)), costs, A, A @ plan, A @ plan, 0, INF)


def _planted(seed, quadratic, spread):
    """A vertex with half of its multipliers zero; rows repeated, unknowns fixed, free.

    Rows differ in size by 10^(2 spread). Returns the program and its least cost.
    """
    rng = np.random.default_rng(seed)
    n, m, repeated = 64, 24, 4
    A = rng.choice([1.0, -1, 2, 0.5, -3], (m, n)) * (rng.uniform(size=(m, n)) < 0.15)
    A = 10.0 ** rng.uniform(-spread, spread, (m, 1)) * A
    pairs = rng.integers(0, m, (repeated, 2))
    A = np.concatenate([A, A[pairs[:, 0]] + 2 * A[pairs[:, 1]]])
    x = np.where(rng.uniform(size=n) < 0.6, 0, rng.exponential(10, n))
    low, high = np.zeros(n), np.full(n, INF)
    kind = rng.uniform(size=n)
    high[kind < 0.2] = x[kind < 0.2]
    low[kind > 0.9] = -INF
    fixed = (kind > 0.8) & (kind < 0.9)
    low[fixed] = high[fixed] = x[fixed]
    pushes = lambda size: rng.exponential(1, size) * (rng.uniform(size=size) < 0.5)
    z = np.where(x == low, -pushes(n), np.where(x == high, pushes(n), 0))
    y = rng.standard_normal(len(A))
    ax = A @ x
    one_sided = np.arange(len(A)) < m // 3
    one_sided[pairs.ravel()] = False
    y = np.where(one_sided, np.abs(y) * (rng.uniform(size=len(A)) < 0.5), y)
    B = rng.standard_normal((6, n)) * (rng.uniform(size=(6, n)) < 0.2)
    P = B.T @ B if quadratic else np.zeros((n, n))
    q = -(P @ x + A.T @ y + z)
    lower = np.where(one_sided, -INF, ax)
    return _program(P, q, A, lower, ax, low, high), x @ P @ x / 2 + q @ x


@jax.jit
def _solve(P, q, A, lower, upper):
    solution = fp.solve(fp.QuadraticProgram(P, q, A, lower, upper), throw=False)
    return solution.value, solution.stats["dual"], solution.result


def _worst(program, x, y):
    """The largest relative residual: violation, stationarity, complementarity."""
    P, q, A, lower, upper = program
    ax, px, aty = A @ x, P @ x, A.T @ y
    ends = np.where(y == 0, 0, np.where(y > 0, upper, lower))
    big = lambda *v: max(float(np.max(np.abs(u))) for u in v)
    costs = x @ px, q @ x, y @ ends
    return max(
        big(ax - np.clip(ax, lower, upper)) / (1 + big(ax)),
        big(px + q + aty) / (1 + big(px, q, aty)),
        abs(sum(costs)) / (1 + big(*costs)),
    )


@pytest.mark.one_precision
def test_hard_programs_are_solved():
    with jax.enable_x64(True):
        programs = {
            "step": (_step_of_noise(), None),
            "concave": (_concave_target(), None),
            "ring": (_ring_of_growing_steps(), None),
            "transport": (_transport(), None),
        }
        for seed, spread in ((0, 0), (1, 1), (2, 2), (6, 3)):
            programs[f"planted {seed}"] = _planted(seed, True, spread)
            programs[f"planted linear {seed}"] = _planted(seed, False, spread)
        for name, (program, cost) in programs.items():
            x, y, result = _solve(*map(jnp.asarray, program))
            assert result == fp.RESULTS.successful, name
            x, y = np.asarray(x), np.asarray(y)
            assert _worst(program, x, y) <= 1e-7, name
            if cost is not None:
                found = x @ program[0] @ x / 2 + program[1] @ x
                np.testing.assert_allclose(found, cost, rtol=1e-6, err_msg=name)
