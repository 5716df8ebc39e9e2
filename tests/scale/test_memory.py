"""The memory of solves against what docs/reliability.md says of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp
from benchmarks._timing import temporary_bytes
from fixproj import projections as proj


pytestmark = pytest.mark.one_precision
N = 100_000

# Vectors of the size of the unknowns that a compiled solve needs for itself.
VECTORS = {
    "Picard": (fp.Picard(), 2),
    "Halpern": (fp.Halpern(), 5),
    "ACX": (fp.ACX(), 7),
    "Squarem": (fp.Squarem(), 9),
    "Anderson, memory 5": (fp.Anderson(memory=5), 2 * 5 + 8),
    "Anderson, memory 10": (fp.Anderson(memory=10), 2 * 10 + 8),
    "Broyden, memory 5": (fp.Broyden(memory=5), 3 * 5 + 7),
    "Broyden, memory 10": (fp.Broyden(memory=10), 3 * 10 + 7),
}


def _problem(b):
    return fp.FixedPoint(lambda y, b: 0.5 * jnp.tanh(y) + b, jnp.zeros_like(b), b)


def _temporary_vectors(fn, *arguments):
    return temporary_bytes(fn, *arguments) / (4 * N)


@pytest.mark.parametrize("name", VECTORS)
def test_a_solve_takes_the_vectors_it_says(name):
    iteration, most = VECTORS[name]
    b = jax.ShapeDtypeStruct((N,), jnp.float32)

    def solve(b):
        return fp.solve(_problem(b), iteration=iteration, throw=False).value

    assert _temporary_vectors(solve, b) <= most


@pytest.mark.parametrize("steps", [10, 100_000])
def test_a_derivative_does_not_grow_with_the_steps(steps):
    b = jax.ShapeDtypeStruct((N,), jnp.float32)

    def loss(b):
        solution = fp.solve(_problem(b), max_steps=steps, throw=False)
        return jnp.sum(solution.value)

    assert _temporary_vectors(jax.grad(loss), b) <= 50


def test_a_history_takes_one_number_for_each_step():
    b = jax.ShapeDtypeStruct((N,), jnp.float32)

    def solve(b):
        solution = fp.solve(_problem(b), history=True, max_steps=N, throw=False)
        return solution.value, solution.stats["residual_history"]

    assert _temporary_vectors(solve, b) <= VECTORS["Picard"][1] + 1
    solution = fp.solve(_problem(jnp.ones(2)), history=True, max_steps=50)
    history = solution.stats["residual_history"]
    assert history.shape == (50,) and np.isfinite(history[0])


@pytest.mark.parametrize("count", [6000, 6007])
def test_a_family_is_projected_onto_in_blocks(count):
    """No copy of the point for every set, and the answer of a plain loop over them."""
    n = 1000
    rng = np.random.default_rng(0)
    a = rng.normal(size=(count, n)).astype(np.float32)
    b = a @ np.ones(n, np.float32) + 1
    halfspaces = proj.Family(eqx.filter_vmap(proj.Halfspace)(a, b))
    start = jnp.zeros(n)

    @eqx.filter_jit
    def step(halfspaces, z):
        problem = fp.Feasibility([halfspaces], z)
        return fp.AveragedProjections().make_map(problem).apply(z)

    analysis = step.lower(halfspaces, start).compile().compiled.memory_analysis()
    # A prime number of sets has no blocks.
    if count == 6000:
        assert analysis.temp_size_in_bytes < 0.15 * a.nbytes
    expected = np.zeros(n)
    for normal, bound in zip(a.astype(float), b.astype(float), strict=True):
        expected -= max(-bound / (normal @ normal), 0) * normal / count
    np.testing.assert_allclose(step(halfspaces, start), expected, atol=1e-7)
    gradient = jax.grad(lambda z: jnp.sum(step(halfspaces, z) ** 2))
    z = start + 1.1
    slopes = a.astype(float) @ np.asarray(z, float) > b
    units = a / np.linalg.norm(a, axis=1, keepdims=True)
    moved = 2 * np.asarray(step(halfspaces, z), float)
    pulled = (slopes * (units @ moved)) @ units / count
    np.testing.assert_allclose(gradient(z), moved - pulled, atol=1e-5)
