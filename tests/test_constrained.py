"""`solve` on constrained problems: published optima, scipy, finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hock_schittkowski import EQUALITY, INEQUALITY

import fixproj as fp
from fixproj import competitive


ALL = {p.number: p for p in EQUALITY + INEQUALITY}
# From their published starts these end elsewhere: 2 in a local minimum (4.9412), and at
# the cusp of 13 there are no multipliers.
ELSEWHERE = (2, 13)


def _constrained(p):
    x0 = jnp.asarray(p.x0, float)
    f = lambda x, args: p.f(x)
    return fp.Constrained(f, x0, p.equations(), p.inequalities())


def _check(p, solution, tolerance):
    size = max(1, abs(p.optimum))
    assert solution.result == fp.RESULTS.successful
    assert abs(float(p.f(solution.value)) - p.optimum) <= tolerance * size
    assert float(solution.stats["violation"]) <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize("number", [71])
def test_published_optimum_in_both_precisions(number):
    x64 = jax.config.read("jax_enable_x64")
    _check(ALL[number], fp.solve(_constrained(ALL[number])), 1e-6 if x64 else 2e-3)


@pytest.mark.slow
@pytest.mark.one_precision
def test_all_published_optima():
    with jax.enable_x64(True):
        steps, failed = {}, []
        for number, p in ALL.items():
            solution = fp.solve(_constrained(p), throw=False, max_steps=300)
            steps[number] = int(solution.stats["num_steps"]) - 1
            try:
                _check(p, solution, 1e-6)
            except AssertionError:
                failed.append(number)
        assert set(failed) <= set(ELSEWHERE)
        assert np.median([steps[p.number] for p in EQUALITY]) <= 12


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize(
    "method", [competitive.LagrangianCGA(), fp.SQP("bfgs")], ids=["CGA", "BFGS"]
)
def test_equality_problems_by_other_methods(method):
    with jax.enable_x64(True):
        good = 0
        for p in EQUALITY:
            solution = fp.solve(_constrained(p), method, throw=False, max_steps=3000)
            error = abs(float(p.f(solution.value)) - p.optimum)
            error = max(error, float(solution.stats["violation"]))
            good += error <= 1e-6
        assert good >= 20


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("number", sorted(set(ALL) - set(ELSEWHERE)))
def test_data_against_scipy(number):
    # A best value that SLSQP finds near our solution may not be below the published.
    with jax.enable_x64(True):
        p = ALL[number]
        x0 = np.asarray(fp.solve(_constrained(p), throw=False).value)
        constraints = []
        for kind, fn in (("eq", p.equations()), ("ineq", p.inequalities())):
            if fn is not None:
                fun = jax.jit(lambda x, fn=fn: fn(x, None))
                jac = jax.jit(jax.jacfwd(fun))
                constraints.append({"type": kind, "fun": fun, "jac": jac})
        found = scipy.optimize.minimize(
            jax.jit(p.f),
            x0 + 1e-3,
            jac=jax.jit(jax.grad(p.f)),
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        for c in constraints:
            value = np.asarray(c["fun"](found.x))
            worst = np.abs(value) if c["type"] == "eq" else np.maximum(-value, 0)
            assert np.max(worst) < 1e-5
        size = max(1, abs(p.optimum))
        np.testing.assert_allclose(found.fun, p.optimum, atol=1e-4 * size)


def _parametric(method, args):
    """Projection of `args` onto the part of a circle right of a line, by its angle."""
    problem = fp.Constrained(
        lambda x, a: jnp.sum((x["p"] - a[:2]) ** 2) + x["q"] ** 2 * x["p"][0],
        {"p": jnp.array([1.0, 0.5]), "q": jnp.array(0.3)},
        eq=lambda x, a: {"circle": jnp.sum(x["p"] ** 2) - a[2]},
        ineq=lambda x, a: jnp.stack([x["p"][0] - a[3], x["q"] - 0.1 * a[2]]),
        args=args,
    )
    solution = fp.solve(problem, method)
    multipliers = solution.stats["multipliers"]
    x = solution.value
    parts = [x["p"], x["q"][None], multipliers.eq["circle"][None], multipliers.ineq]
    parts.append(problem.f(x, args)[None])
    return jnp.concatenate(parts)


METHODS = [
    fp.SQP(),
    pytest.param(fp.AugmentedLagrangian(), marks=pytest.mark.slow),
    pytest.param(competitive.LagrangianCGA(), marks=pytest.mark.slow),
]


@pytest.mark.one_precision
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_derivatives_of_value_solution_and_multipliers(method):
    with jax.enable_x64(True):
        args = jnp.array([0.2, 1.0, 2.0, 0.8])
        solve = jax.jit(lambda a: _parametric(method, a))
        found = jax.jit(jax.jacrev(lambda a: _parametric(method, a)))(args)
        # The corner at the line is known: x = (a3, sqrt(a2 - a3^2)), q = a2 / 10.
        corner = [0.8, np.sqrt(2 - 0.64), 0.2]
        np.testing.assert_allclose(solve(args)[:3], corner, atol=1e-7)
        # Differences of the most exact method, for all.
        exact = jax.jit(lambda a: _parametric(fp.SQP(), a))
        step = 1e-5
        for j in range(4):
            move = step * jnp.eye(4)[j]
            expected = (exact(args + move) - exact(args - move)) / (2 * step)
            np.testing.assert_allclose(found[:, j], expected, atol=1e-6)
        # The envelope theorem, independent of all solving.
        slope = 2 * (args[:2] - jnp.asarray(corner[:2]))
        np.testing.assert_allclose(found[-1, :2], slope, atol=1e-6)


@pytest.mark.one_precision
def test_lanes_and_traced_closures():
    with jax.enable_x64(True):

        def nearest(scale):
            # `scale` is closed over by all three functions, and differentiated.
            return fp.solve(
                fp.Constrained(
                    lambda x, _: jnp.sum((x - 2 * scale) ** 2),
                    jnp.ones(2),
                    eq=lambda x, _: x[0] - scale * x[1],
                    ineq=lambda x, _: scale - x[0],
                )
            ).value

        scales = jnp.array([0.5, 1.0, 2.0])
        value, slope = jax.jit(
            jax.vmap(lambda s: jax.jvp(nearest, (s,), (jnp.ones_like(s),)))
        )(scales)
        for s, x, d in zip(scales, value, slope, strict=True):
            np.testing.assert_allclose(x, [s, 1.0], atol=1e-7)
            np.testing.assert_allclose(d, [1.0, 0.0], atol=1e-6)


@pytest.mark.one_precision
def test_infeasible_constraints_are_reported():
    with jax.enable_x64(True):
        problem = fp.Constrained(
            lambda x, args: jnp.sum(x**2),
            jnp.array([2.0, 1.0]),
            eq=lambda x, args: jnp.sum(x**2) + 1,
        )
        solution = fp.solve(problem, throw=False)
        assert solution.result == fp.RESULTS.infeasible_suspected
        np.testing.assert_allclose(solution.stats["violation"], 1, atol=1e-6)
        np.testing.assert_allclose(solution.value, 0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.one_precision
def test_dependent_constraints_and_their_derivative():
    with jax.enable_x64(True):

        def solve(a):
            return fp.solve(
                fp.Constrained(
                    lambda x, a: jnp.sum((x - a) ** 2),
                    jnp.array([2.0, 1.0]),
                    eq=lambda x, a: (
                        jnp.outer(jnp.array([1.0, 2.0]), x).sum(1)
                        - jnp.array([1.0, 2.0])
                    ),
                    args=a,
                )
            ).value

        a = jnp.array([1.0, 2.0])
        np.testing.assert_allclose(solve(a), [0.0, 1.0], atol=1e-7)
        expected = [[0.5, -0.5], [-0.5, 0.5]]
        np.testing.assert_allclose(jax.jacrev(solve)(a), expected, atol=1e-6)


def _f(x, args):
    return jnp.sum(x**2)


BAD = {
    "f": (lambda: fp.Constrained(1, 0.0), TypeError, "`f` must be a function"),  # pyright: ignore[reportArgumentType]
    "eq": (lambda: fp.Constrained(_f, 0.0, eq=1), TypeError, "`eq` must be a function"),  # pyright: ignore[reportArgumentType]
    "complex": (lambda: fp.Constrained(_f, 1j), TypeError, "must be real"),
    "vector": (
        lambda: fp.solve(fp.Constrained(lambda x, a: x, jnp.ones(2))),
        ValueError,
        "`f` must return a scalar",
    ),
    "too many": (
        lambda: fp.solve(
            fp.Constrained(_f, jnp.ones(2), lambda x, a: jnp.concatenate([x, x]))
        ),
        ValueError,
        "more equations than unknowns",
    ),
    "integers": (
        lambda: fp.solve(
            fp.Constrained(_f, jnp.ones(2), lambda x, a: jnp.zeros(1, jnp.int32))
        ),
        TypeError,
        "`eq` must return real floats",
    ),
    "method": (
        lambda: fp.solve(fp.Constrained(_f, jnp.ones(2)), fp.DouglasRachford()),
        TypeError,
        "does not apply to a Constrained",
    ),
    "iteration": (
        lambda: fp.solve(fp.Constrained(_f, jnp.ones(2)), iteration=fp.Picard()),
        TypeError,
        "brings its own iteration",
    ),
    "hessian": (lambda: fp.SQP("newton"), ValueError, "`hessian` must be"),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.one_precision
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_that_names_it(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.slow
@pytest.mark.one_precision
def test_nan_start():
    problem = fp.Constrained(_f, jnp.array([1.0, jnp.nan]), lambda x, a: x[0] - 1)
    with pytest.raises(ValueError, match="`y0` has an entry that is NaN"):
        fp.solve(problem)
