"""Derivatives of every set, in the point and in every parameter."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_derivatives
from set_cases import INNER, every_case, few_cases

from fixproj import projections as proj


def _norm(x):
    return float(np.linalg.norm(np.asarray(x, float)))


@few_cases
@pytest.mark.one_precision
def test_derivatives_are_those_of_finite_differences(case):
    names = list(case.parameters)

    def run(x, *parameters):
        return case.build(**dict(zip(names, parameters, strict=True))).project(x)

    def distance(x, *parameters):
        return case.build(**dict(zip(names, parameters, strict=True))).distance(x)

    with jax.enable_x64(True):
        parameters = [jnp.asarray(p) for p in case.parameters.values()]
        # One point outside, one inside where there is an inside.
        outside = jnp.array([1.7, -0.4, 2.1, 0.6])
        check_derivatives(run, outside, *parameters)
        check_derivatives(distance, outside, *parameters)
        center = run(jnp.zeros(4), *parameters)
        inside = 0.5 * (run(-outside, *parameters) + center)
        if case.has_inside:
            check_derivatives(run, inside, *parameters)


@every_case
@pytest.mark.slow_in_x64
def test_derivatives_are_finite_at_kinks(case):
    """At zero, at ties, at a centre, and at a point of the boundary."""
    zero, ties = jnp.zeros(4), jnp.array([1.0, 1.0, -1.0, -1.0])
    boundary = case.set().project(jnp.array([3.0, -1.0, 2.0, 0.5]))
    x = jnp.stack([zero, ties, jnp.ones(4), jnp.asarray(INNER), boundary])
    names = list(case.parameters)
    parameters = [jnp.asarray(p) for p in case.parameters.values()]
    weights = jnp.array([1.0, -2.0, 0.5, 3.0])

    def projected(x, *parameters):
        made = case.build(**dict(zip(names, parameters, strict=True)))
        return jnp.sum(weights * made.project(x))

    def distance(x, *parameters):
        made = case.build(**dict(zip(names, parameters, strict=True)))
        return made.distance(x)

    argnums = tuple(range(1 + len(parameters)))
    axes = (0, *[None] * len(parameters))
    for function in (projected, distance):
        for mode in (jax.grad, jax.jacfwd):
            derivative = jax.jit(jax.vmap(mode(function, argnums), axes))
            result = derivative(x, *parameters)
            assert all(bool(jnp.all(jnp.isfinite(g))) for g in result)
            # A projection is nonexpansive, which bounds the gradient.
            bound = _norm(weights) if function is projected else 1
            assert np.linalg.norm(result[0], axis=-1).max() <= bound * (1 + 1e-5)


@every_case
@pytest.mark.slow_in_x64
def test_gradients_land_on_the_leaves_of_the_set(case):
    """Differentiating a set that is already built gives the same gradients."""
    if not case.has_leaves or not case.parameters:
        pytest.skip("it has no leaves, or they are not its parameters")
    x = jnp.array([1.7, -0.7, 2.1, 0.6])
    names = list(case.parameters)
    parameters = [jnp.asarray(p) for p in case.parameters.values()]

    def built(convex_set):
        return jnp.sum(jnp.sin(convex_set.project(x)))

    def from_parameters(*parameters):
        return built(case.build(**dict(zip(names, parameters, strict=True))))

    leaves = eqx.filter_grad(built)(case.set())
    expected = jax.grad(from_parameters, tuple(range(len(names))))(*parameters)
    # Of two bounds at most one is met.
    assert max(_norm(gradient) for gradient in expected) > 0
    for name, gradient in zip(names, expected, strict=True):
        np.testing.assert_allclose(
            getattr(leaves, name), gradient, rtol=1e-5, atol=1e-6
        )


def test_on_the_bounds_of_a_box_the_derivative_is_that_of_the_bound():
    def run(lower, upper, x):
        return proj.Box(lower, upper).project(x)

    bounds = jnp.array([0.0, -1.0]), jnp.array([1.0, 2.0])
    on_bounds = jnp.array([0.0, 2.0])
    lower, upper, x = jax.jacfwd(run, (0, 1, 2))(*bounds, on_bounds)
    np.testing.assert_array_equal(lower, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(upper, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(x, 0)


def test_fixed_entries_of_a_box_do_not_depend_on_the_point():
    box = proj.Box(jnp.array([2.0, 0.0]), jnp.array([2.0, 1.0]))
    jacobian = jax.jacfwd(box.project)(jnp.array([2.0, 0.5]))
    np.testing.assert_array_equal(jacobian, [[0, 0], [0, 1]])
