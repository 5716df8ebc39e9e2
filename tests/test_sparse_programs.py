"""Programs with sparse matrices and operators against the same with dense ones."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse as sp
from jax.experimental import sparse as jsparse

import fixproj as fp
from fixproj._qp import _band, _canonical, _factor, _plan
from fixproj.projections import NonNegative, SecondOrderCone


N = 200


def _chain(seed: int) -> Any:
    """A chain of unknowns with bounds, a few short rows and one that meets them all."""
    rng = np.random.default_rng(seed)
    P = sp.diags_array(
        [-np.ones(N - 1), np.full(N, 2.1), -np.ones(N - 1)], offsets=[-1, 0, 1]
    )
    short = sp.random_array((9, N), density=2 / N, rng=rng)
    A = sp.coo_array(sp.vstack([short, sp.csr_array(np.ones((1, N))), sp.eye_array(N)]))
    q = 0.2 * rng.standard_normal(N)
    lower = np.concatenate([np.full(9, -0.1), [0.5], np.full(N, -0.3)])
    upper = np.concatenate([np.full(9, 0.1), [0.5], np.full(N, 0.3)])
    return P, q, A, lower, upper


@pytest.fixture
def no_dense(monkeypatch):
    """As if the programs of these tests were large."""
    monkeypatch.setattr(_plan, "_SMALL", 0)
    monkeypatch.setattr(_plan, "_DENSE_UNKNOWNS", 0)
    monkeypatch.setattr(_band, "_APART_FROM", 0)


@pytest.mark.one_precision
@pytest.mark.parametrize("where", ["outside", "in jit"])
def test_factor_solves_the_condensed_system(no_dense, where):
    with jax.enable_x64(True):
        P, q, A, lower, upper = _chain(0)
        places = np.stack([A.row, A.col], axis=1)
        # One more entry at a place that has one, and padding behind the last row.
        places = jnp.asarray(np.concatenate([places, places[:1], [[A.shape[0], N]]]))
        data = jnp.asarray(np.concatenate([A.data, [1.5], [0.0]]))

        def program_of(data):
            A = jsparse.BCOO((data, places), shape=(N + 10, N))
            program = fp.QuadraticProgram(P, q, A, lower, upper)
            plan = _plan.plan(program)
            assert plan.kind == "sparse" and plan.band is not None
            assert (plan.layout is None) == (where == "in jit")
            assert plan.band.blocks == 5 and plan.band.long_rows.size == 1
            return program, plan

        @eqx.filter_jit
        def run(program, plan):
            made: Any = _canonical.canonical(program, plan)
            canonical = made[0]
            rows = canonical.rows(canonical.q)
            weights = 1.0 + jnp.arange(float(rows.size)) % 7
            factor = _factor.factorise(canonical, weights, jnp.asarray(0.1))
            b = jnp.cos(jnp.arange(float(N)))
            columns = jax.vmap(canonical.rows, out_axes=1)(jnp.eye(N))
            return columns, weights, b, factor.solve(b), canonical.transposed(rows)

        whole = lambda data: run(*program_of(data))
        found: Any = (jax.jit(whole) if where == "in jit" else whole)(data)
        rows, weights, b, x, pulled = map(np.asarray, found)
        H = P.toarray() + 0.1 * np.eye(N) + rows.T @ (weights[:, None] * rows)
        np.testing.assert_allclose(x, np.linalg.solve(H, b), atol=1e-12)
        np.testing.assert_allclose(pulled, rows.T @ (rows @ q), atol=1e-12)
        if where == "in jit":  # no row became a bound
            dense = A.toarray()
            dense[A.row[0], A.col[0]] += 1.5
            np.testing.assert_allclose(rows, dense, atol=1e-12)


def _as_kind(kind: str, P: Any, A: Any) -> Any:
    if kind == "sparse":
        return P, A
    P, A = jsparse.BCOO.from_scipy_sparse(P), jsparse.BCOO.from_scipy_sparse(A)
    structure = jax.ShapeDtypeStruct((N,), P.dtype)
    return (
        lx.FunctionLinearOperator(lambda x: P @ x, structure),
        lx.FunctionLinearOperator(lambda x: A @ x, structure),
    )


@pytest.mark.one_precision
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sparse", "products"])
@pytest.mark.parametrize("method", [fp.InteriorPoint(), fp.OperatorSplitting()])
def test_sparse_and_matrix_free_programs(no_dense, kind, method):
    with jax.enable_x64(True):
        P, q, A, lower, upper = _chain(1)
        q, lower, upper = map(jnp.asarray, (q, lower, upper))
        dense = jnp.asarray(P.toarray()), jnp.asarray(A.toarray())
        other = _as_kind(kind, P, A)

        def loss(q, lower, upper, matrices, method):
            P, A = matrices
            program = fp.QuadraticProgram(P, q, A, lower, upper)
            if matrices is other:
                assert _plan.plan(program).kind == kind
            solution = fp.solve(program, method)
            return jnp.sum(jnp.sin(solution.value)), solution

        both = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
        (_, expected), expected_grads = both(q, lower, upper, dense, None)
        (_, found), grads = both(q, lower, upper, other, method)
        assert 20 < jnp.sum(expected.stats["dual"] != 0) < N
        np.testing.assert_allclose(found.value, expected.value, atol=1e-8)
        np.testing.assert_allclose(
            found.stats["dual"], expected.stats["dual"], atol=1e-7
        )
        # Conjugate gradients reach less.
        atol = 1e-7 if kind == "sparse" else 1e-5
        for got, want in zip(grads, expected_grads, strict=True):
            np.testing.assert_allclose(got, want, atol=atol)


@pytest.mark.one_precision
@pytest.mark.slow
def test_gradient_of_sparse_entries(no_dense):
    with jax.enable_x64(True):
        P, q, A, lower, upper = _chain(2)
        A = jsparse.BCOO.from_scipy_sparse(A)

        @jax.jit
        def loss(data):
            matrix = jsparse.BCOO((data, A.indices), shape=A.shape)
            program = fp.QuadraticProgram(P, q, matrix, lower, upper)
            return jnp.sum(jnp.sin(fp.solve(program).value))

        direction = jnp.cos(jnp.arange(float(A.data.size)))
        found = jax.grad(loss)(A.data) @ direction
        ends = [loss(A.data + step * direction) for step in (1e-6, -1e-6)]
        np.testing.assert_allclose(found, (ends[0] - ends[1]) / 2e-6, rtol=1e-5)


@pytest.mark.one_precision
@pytest.mark.slow
def test_sparse_conic_program(no_dense):
    with jax.enable_x64(True):
        P, q, *_ = _chain(3)
        A = -sp.eye_array(N + 1, N, k=-1).tocsr()
        b = np.concatenate([[1.0], np.zeros(N)])
        cones = [(SecondOrderCone(), N + 1)]
        found = fp.solve(fp.ConicProgram(P, 9 * q, A, b, cones))
        dense = fp.ConicProgram(P.toarray(), 9 * q, A.toarray(), b, cones)
        expected = fp.solve(dense).value
        assert abs(jnp.linalg.norm(expected) - 1) < 1e-6
        np.testing.assert_allclose(found.value, expected, atol=1e-7)


@pytest.mark.one_precision
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sparse", "products"])
def test_sparse_programs_that_are_not_convex_or_feasible(no_dense, kind):
    with jax.enable_x64(True):
        P, q, A, lower, upper = _chain(4)
        bent = P - 2.5 * sp.eye_array(N)
        matrices = _as_kind(kind, sp.coo_array(bent), A)
        program = fp.QuadraticProgram(matrices[0], q, matrices[1], lower, upper)
        solution = fp.solve(program, throw=False, max_steps=100)
        assert solution.result == fp.RESULTS.nonconvex
        lower[9] = upper[9] = N  # more than the bounds allow
        matrices = _as_kind(kind, sp.coo_array(P), A)
        program = fp.QuadraticProgram(matrices[0], q, matrices[1], lower, upper)
        solution = fp.solve(program, throw=False)
        assert solution.result == fp.RESULTS.infeasible
        y = np.asarray(solution.stats["certificate"]["dual"])
        assert np.max(np.abs(A.T @ y)) < 1e-5
        assert np.sum(np.where(y > 0, upper, lower) * y) < -0.1


@pytest.mark.one_precision
def test_bad_sparse_input_is_an_error_that_names_it():
    P, q, A, *_ = _chain(0)
    A = sp.coo_array(A)
    with pytest.raises(ValueError, match="`P` must be symmetric"):
        fp.QuadraticProgram(sp.triu(P), q)
    batch = jsparse.BCOO.fromdense(jnp.ones((2, 3, 3)), n_batch=1)
    with pytest.raises(ValueError, match="`P` must be a BCOO matrix without batch"):
        fp.QuadraticProgram(batch, jnp.ones(3))
    A.data[3] = np.nan
    with pytest.raises(ValueError, match="`A` has an entry that is NaN"):
        fp.QuadraticProgram(P, q, A)
    with pytest.raises(ValueError, match="`A` must have 4 columns"):
        fp.ConicProgram(None, jnp.ones(4), A, jnp.ones(N + 10), NonNegative())


def _lanes():
    """Five programs that differ in q alone, and their solve."""
    rng = np.random.default_rng(0)
    L, A = rng.standard_normal((6, 6)), rng.standard_normal((8, 6))
    P, A = jnp.asarray(L @ L.T), jnp.asarray(A)
    qs = jnp.asarray(3 * rng.standard_normal((5, 6)))

    def solve(q, P):
        program = fp.QuadraticProgram(P, q, A, -1.0, 1.0)
        solution = fp.solve(program, fp.OperatorSplitting(), throw=False)
        return solution.value, solution.result, solution.stats

    return P, A, qs, solve


@pytest.mark.one_precision
def test_lanes_with_common_matrices_share_the_factorisation():
    with jax.enable_x64(True):
        P, _, qs, solve = _lanes()

        def factors(P, axis):
            batched = jax.vmap(solve, in_axes=(0, axis))
            lines = str(jax.make_jaxpr(batched)(qs, P)).split("\n")
            return [x.split(":")[1].split(" ")[0] for x in lines if "= cholesky" in x]

        # Convexity, the first step size and later ones; then the polish, by lanes.
        shared, own = 3 * ["f64[6,6]"], ["f64[5,6,6]"]
        assert sorted(factors(P, None)) == own + shared
        assert factors(jnp.stack(5 * [P]), 0) == 4 * own


@pytest.mark.one_precision
@pytest.mark.slow
def test_lanes_that_share_are_solved():
    with jax.enable_x64(True):
        P, A, qs, solve = _lanes()
        x, result, stats = jax.jit(jax.vmap(solve, in_axes=(0, None)))(qs, P)
        assert bool(jnp.all(result == fp.RESULTS.successful))
        assert len(set(map(int, stats["num_steps"]))) > 1
        y, rows = stats["dual"], x @ A.T
        np.testing.assert_allclose(x @ P + qs + y @ A, 0, atol=1e-9)
        np.testing.assert_allclose(rows, jnp.clip(rows, -1, 1), atol=1e-9)
        np.testing.assert_allclose(
            jnp.where(y != 0, jnp.sign(y) - rows, 0), 0, atol=1e-9
        )
