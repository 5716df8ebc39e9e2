import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixed_point_problems import PROBLEMS, Problem, by_name
from fixed_point_problems._random import StableRandom
from fixed_point_problems._stencil import negative_laplacian


def _distance(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jnp.sqrt(sum(jnp.sum((x - y) ** 2) for x, y in pairs))


@functools.partial(jax.jit, static_argnums=0)
def _iterate(fn, y0, args, tolerance, max_evaluations):
    """Plain iteration; returns (first y that meets the tolerance, residual, count)."""

    def go_on(carry):
        _, _, residual, count = carry
        return (residual > tolerance) & (count < max_evaluations)

    def step(carry):
        _, image, _, count = carry
        new = fn(image, args)
        return image, new, _distance(new, image), count + 1

    image = fn(y0, args)
    start = (y0, image, _distance(image, y0), 1)
    y, _, residual, count = jax.lax.while_loop(go_on, step, start)
    return y, residual, count


def _dtypes():
    return ["float32", "float64"] if jax.config.read("jax_enable_x64") else ["float32"]


def _make(problem, dtype):
    fn, y0, args = problem.make(dtype)
    return jax.jit(fn), y0, args


each = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)


@each
def test_map_keeps_structure_shape_and_dtype(problem):
    for dtype in _dtypes():
        fn, y0, args = _make(problem, dtype)
        assert sum(x.size for x in jax.tree.leaves(y0)) == problem.size
        assert all(x.dtype == dtype for x in jax.tree.leaves(y0))
        for x in jax.tree.leaves(args):
            assert x.dtype == dtype or not jnp.issubdtype(x.dtype, jnp.inexact)
        image = jax.eval_shape(fn, y0, args)
        start = jax.eval_shape(lambda y: y, y0)
        assert jax.tree.structure(image) == jax.tree.structure(start)
        assert jax.tree.leaves(image) == jax.tree.leaves(start)


@pytest.mark.slow
@each
def test_deterministic(problem):
    for dtype in _dtypes():
        first = _make(problem, dtype)
        second = _make(problem, dtype)
        for a, b in zip(
            jax.tree.leaves(first[1:]), jax.tree.leaves(second[1:]), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        image = first[0](*first[1:])
        for a, b in zip(
            jax.tree.leaves(image), jax.tree.leaves(second[0](*second[1:])), strict=True
        ):
            np.testing.assert_array_equal(a, b)
            assert np.all(np.isfinite(a))


@pytest.mark.slow
@each
def test_plain_iteration_reduces_the_residual(problem):
    for dtype in _dtypes():
        fn, y0, args = problem.make(dtype)
        _, first, _ = _iterate(fn, y0, args, problem.tol(dtype), 1)
        _, last, _ = _iterate(fn, y0, args, problem.tol(dtype), 100)
        if problem.picard_steps_hint is None:
            assert last > first
        else:
            assert last < 0.9 * first


_SOLVED = [
    pytest.param(
        p, marks=[pytest.mark.slow] if p.picard_steps_hint > 30000 else [], id=p.name
    )
    for p in PROBLEMS
    if p.picard_steps_hint is not None and p.name != "lid_driven_cavity"
] + [pytest.param(by_name("lid_driven_cavity"), marks=pytest.mark.slow, id="cavity")]


@pytest.mark.parametrize("problem", _SOLVED)
@pytest.mark.slow_in_x64
def test_plain_iteration_reaches_the_independent_solution(problem):
    for dtype in _dtypes():
        fn, y0, args = problem.make(dtype)
        hint = problem.picard_steps_hint
        y, residual, count = _iterate(fn, y0, args, problem.tol(dtype), 2 * hint)
        assert residual <= problem.tol(dtype)
        assert problem.error(y) <= problem.bound(dtype)
        if dtype == "float64":
            assert abs(count - hint) <= 0.02 * hint


@each
def test_start_is_not_the_solution(problem):
    # So that the test above can fail.
    _, y0, _ = problem.make("float32")
    if problem.name == "ancestry":  # its measure is a derivative per allele copy
        assert problem.error(y0) > 1e3 * problem.accuracy32
    else:
        assert problem.error(y0) > problem.accuracy32


def test_saddle_is_a_fixed_point():
    problem = by_name("nlsolve_2by2")
    fn, y0, args = problem.make("float32")
    assert problem.solution is not None
    exact = problem.solution("float32")
    assert _distance(fn(exact, args), exact) <= problem.tolerance32
    assert problem.error(y0) > problem.accuracy32


@pytest.mark.one_precision
def test_names_and_sizes():
    names = [p.name for p in PROBLEMS]
    assert len(set(names)) == len(names) >= 30
    assert any(p.tuned_on for p in PROBLEMS) and not all(p.tuned_on for p in PROBLEMS)
    assert by_name("higham").size == 42
    with pytest.raises(ValueError, match="'no such'.*hasselblad"):
        by_name("no such")


@pytest.mark.one_precision
def test_float64_needs_x64():
    with pytest.raises(ValueError, match="jax_enable_x64"):
        by_name("linear").make("float64")
    with pytest.raises(ValueError, match="float32 or float64, not float16"):
        by_name("linear").tol("float16")
    bare = Problem("bare", lambda dtype: (min, 0, 0), 1, 1, False, "")
    with pytest.raises(ValueError, match="neither solution nor check"):
        bare.error(0)


@pytest.mark.one_precision
def test_generator_follows_its_formula():
    state, expected = 1, []
    for _ in range(400):
        state = (state * 3685477807 + 12345) // 2**16 % 2**15
        expected.append(state / 2**15)
    random = StableRandom()
    drawn = np.concatenate([random(10, 20).ravel(order="F"), random(200)])
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.one_precision
def test_guarded_and_unguarded_mixture():
    outside = jnp.array([[1.2, 1.0, 2.0], [-0.1, 1.0, 2.0], [0.3, -1.0, 2.0]])
    guarded, _, args = by_name("hasselblad").make("float32")
    unguarded, y0, _ = by_name("hasselblad_unguarded").make("float32")
    for y in outside:
        assert jnp.all(jnp.isfinite(guarded(y, args)))
        assert jnp.any(jnp.isnan(unguarded(y, args)))
    np.testing.assert_array_equal(guarded(y0, args), unguarded(y0, args))


@pytest.mark.parametrize("name, factor", [("gauss_seidel", 1.0), ("sor", 1.94)])
@pytest.mark.slow_in_x64
def test_sweeps_against_loops(name, factor):
    fn, source, args = by_name(f"electric_{name}").make("float32")
    y = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    expected, h2 = y.astype(float), 1 / 99**2
    for i, j in itertools.product(range(1, 99), range(1, 99)):
        up, down = expected[j - 1, i], expected[j + 1, i]
        left, right = expected[j, i - 1], expected[j, i + 1]
        new = (up + down + left + right + h2 * float(source[j, i])) / 4
        expected[j, i] += factor * (new - expected[j, i])
    np.testing.assert_allclose(fn(jnp.asarray(y), args), expected, atol=2e-5)


def test_jacobi_and_bratu_against_the_sparse_matrix():
    rng = np.random.default_rng(0)
    jacobi, source, args = by_name("electric_jacobi").make("float32")
    inside = rng.normal(size=(98, 98))
    laplacian = (negative_laplacian(98) @ inside.ravel()).reshape(98, 98)
    expected = inside + (np.asarray(source)[1:-1, 1:-1] / 99**2 - laplacian) / 4
    image = jacobi(jnp.pad(jnp.asarray(inside, jnp.float32), 1), args)
    np.testing.assert_allclose(image[1:-1, 1:-1], expected, atol=2e-6)

    bratu, _, args = by_name("bratu").make("float32")
    y = rng.normal(size=(100, 100))
    laplacian = (negative_laplacian(100) @ y.ravel()).reshape(100, 100)
    expected = y + (6 * np.exp(y) / 101**2 - laplacian) / 4
    image = bratu(jnp.asarray(y, jnp.float32), args)
    np.testing.assert_allclose(image, expected, atol=2e-6)


def test_ancestry_against_pairs_of_origins():
    # The posterior over ordered pairs of origins, enumerated.
    fn, y0, genotype = by_name("ancestry").make("float32")
    f = 1 / (1 + np.exp(-np.asarray(y0["frequency"], float)))
    q = np.exp(np.asarray(y0["ancestry"], float))
    q /= q.sum(axis=1, keepdims=True)
    zeros, ones = np.full(f.shape, 1e-6), np.full(f.shape, 1e-6)
    counts = np.full(q.shape, 1e-6)
    alleles = np.stack([1 - f, f])
    x = np.asarray(genotype, int)
    for i in range(len(q)):
        posterior = np.zeros((2, 2, 3, 3, len(f)))
        for a, b, j, k in itertools.product(range(2), range(2), range(3), range(3)):
            weight = q[i, j] * q[i, k] * alleles[a, :, j] * alleles[b, :, k]
            posterior[a, b, j, k] = np.where(x[i] == a + b, weight, 0)
        posterior /= posterior.sum(axis=(0, 1, 2, 3))
        by_copy = posterior.sum(axis=(1, 3)) + posterior.sum(axis=(0, 2))
        zeros += by_copy[0].T
        ones += by_copy[1].T
        counts[i] += by_copy.sum(axis=(0, 2))
    image = fn(y0, genotype)
    np.testing.assert_allclose(image["frequency"], np.log(ones / zeros), atol=1e-4)
    np.testing.assert_allclose(image["ancestry"], np.log(counts), atol=1e-4)


@pytest.mark.slow_in_x64
def test_cavity_step_is_free_of_divergence():
    fn, y0, args = by_name("lid_driven_cavity").make("float32")
    y = fn(fn(y0, args), args)
    divergence = y["u"][1:-1, 1:] - y["u"][1:-1, :-1]
    divergence = divergence + y["v"][1:, 1:-1] - y["v"][:-1, 1:-1]
    assert jnp.max(jnp.abs(y["u"][-2])) > 1e-2
    assert jnp.max(jnp.abs(divergence)) < 1e-6


def test_kepler_maps_over_its_orbits():
    fn, y0, args = by_name("kepler_batch").make("float32")
    lanes = jax.vmap(fn)(y0, args)
    np.testing.assert_array_equal(lanes, fn(y0, args))
