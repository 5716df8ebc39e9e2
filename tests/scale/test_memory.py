"""The memory of solves against what docs/reliability.md says of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp


pytestmark = pytest.mark.one_precision
N = 100_000

# Vectors of the size of the unknowns that a compiled solve needs for itself.
VECTORS = {
    "Picard": (fp.Picard(), 2),
    "Halpern": (fp.Halpern(), 5),
    "ACX": (fp.ACX(), 6),
    "Squarem": (fp.Squarem(), 9),
    "Anderson, memory 5": (fp.Anderson(memory=5), 2 * 5 + 8),
    "Anderson, memory 10": (fp.Anderson(memory=10), 2 * 10 + 8),
    "Broyden, memory 5": (fp.Broyden(memory=5), 3 * 5 + 7),
    "Broyden, memory 10": (fp.Broyden(memory=10), 3 * 10 + 7),
}


def _problem(b):
    return fp.FixedPoint(lambda y, b: 0.5 * jnp.tanh(y) + b, jnp.zeros_like(b), b)


def _temporary_vectors(fn, *arguments):
    compiled = jax.jit(fn).lower(*arguments).compile()
    analysis = compiled.memory_analysis()
    return analysis.temp_size_in_bytes / (4 * N)


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
