"""Every iteration on the shared suite of problems, and each one's own promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixed_point_problems import PROBLEMS, by_name

import fixproj as fp


GENERAL = [
    fp.Anderson(),
    fp.ACX(),
    pytest.param(fp.Squarem(), marks=pytest.mark.slow, id="Squarem"),
]
# Problems on which an iteration is known to fail or to be hopelessly slow, and how.
KNOWN_FAILURES = {
    ("Squarem", "nlsolve_2by2"): "a saddle: leaves it",
}
IN_SINGLE_PRECISION = {
    ("ACX", "nlsolve_2by2"): "near the saddle second differences are all rounding",
}
# Of several fixed points an iteration may find another than the plain one does.
OTHER_SOLUTION = {("Anderson", "chandrasekhar_9999"), ("Anderson", "babylonian_roots")}
FAST = [problem for problem in PROBLEMS if not problem.slow]


def _dtype():
    return np.dtype(jnp.zeros(()).dtype)


def _solve(problem, iteration, **kwargs):
    dtype = _dtype()
    fn, y0, args = problem.make(dtype)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return fp.solve(
            fp.FixedPoint(fn, y0, args),
            iteration=iteration,
            rtol=0.0,
            atol=problem.tol(dtype),
            norm=fp.two_norm,
            throw=False,
            **kwargs,
        )


@pytest.mark.parametrize("iteration", GENERAL, ids=lambda i: type(i).__name__)
@pytest.mark.parametrize("problem", FAST, ids=lambda p: p.name)
@pytest.mark.slow_in_x64
def test_solves_the_suite(problem, iteration):
    case = type(iteration).__name__, problem.name
    if case in KNOWN_FAILURES:
        pytest.skip(KNOWN_FAILURES[case])
    if case in IN_SINGLE_PRECISION and _dtype() == np.float32:
        pytest.skip(IN_SINGLE_PRECISION[case])
    solution = _solve(problem, iteration)
    assert solution.result == fp.RESULTS.successful, fp.RESULTS[solution.result]
    has_reference = problem.solution is not None or problem.check is not None
    if has_reference and (type(iteration).__name__, problem.name) not in OTHER_SOLUTION:
        assert problem.error(solution.value) <= problem.bound(_dtype())


@pytest.mark.parametrize(
    "name, iteration, evaluations",
    [
        ("hasselblad", fp.Anderson(), 30),
        ("mix3", fp.Anderson(), 40),
        ("higham", fp.Anderson(), 35),
        ("linear", fp.ACX(), 140),
        ("linear", fp.Broyden(), 250),
        ("chandrasekhar_9999", fp.Broyden(), 20),
        ("hasselblad", fp.Squarem(), 100),
    ],
    ids=lambda x: str(x),
)
def test_acceleration_is_worth_it(name, iteration, evaluations):
    # The plain iteration takes 2167, 429, 383, 825 and 505 (published or measured).
    problem = by_name(name)
    if _dtype() != np.float64:
        pytest.skip("counts are for the tolerance of float64")
    solution = _solve(problem, iteration)
    assert solution.result == fp.RESULTS.successful
    assert int(solution.stats["num_steps"]) <= evaluations
    assert problem.picard_steps_hint is not None
    assert int(solution.stats["num_steps"]) < problem.picard_steps_hint / 3


@pytest.mark.parametrize(
    "iteration",
    [fp.Anderson(), fp.ACX(), fp.Squarem(), fp.Broyden()],
    ids=lambda i: type(i).__name__,
)
def test_a_way_back_from_outside_of_the_domain(iteration):
    # Outside of the probabilities this map is NaN, and extrapolation goes there.
    solution = _solve(by_name("hasselblad_unguarded"), iteration)
    assert solution.result == fp.RESULTS.successful


def test_a_map_that_is_nowhere_finite_fails_after_one_way_back():
    fn = lambda y, args: jnp.where(y == 1.0, 0.5, jnp.nan)
    for iteration in (fp.Anderson(), fp.ACX(), fp.Squarem(), fp.Broyden()):
        problem = fp.FixedPoint(fn, 1.0)
        solution = fp.solve(problem, iteration=iteration, max_steps=50, throw=False)
        assert solution.result == fp.RESULTS.nonfinite
        assert int(solution.stats["num_steps"]) <= 4


def test_halpern_bound_of_lieder_on_a_rotation():
    # A rotation is nonexpansive and plain iteration never converges. Lieder (2021),
    # theorem 2.1: |z_k - T(z_k)| <= 2 |z_0 - z*| / (k + 1).
    angle = 2.0
    rotation = jnp.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    z0 = jnp.array([3.0, 4.0])
    problem = fp.FixedPoint(lambda z, args: rotation @ z, z0)
    for steps in (1, 3, 10, 100):
        solution = fp.solve(
            problem,
            iteration=fp.Halpern(restart=None),
            max_steps=steps,
            norm=fp.two_norm,
            throw=False,
        )
        # The residual reported is that of z_{steps - 1}.
        bound = 2 * 5.0 / steps
        assert float(solution.stats["residual"]) <= bound * (1 + 1e-5)
    assert fp.solve(problem, throw=False).result != fp.RESULTS.successful
    restarted = fp.solve(problem, iteration=fp.Halpern(), rtol=0.0, atol=1e-3)
    slow = fp.solve(
        problem, iteration=fp.Halpern(restart=None), rtol=0.0, atol=1e-3, throw=False
    )
    assert int(restarted.stats["num_steps"]) < int(slow.stats["num_steps"]) / 5


def test_steffensen_converges_quadratically_on_independent_scalars():
    # Kepler's equation, E = M + e sin(E), each entry its own.
    problem = by_name("kepler_batch")
    accelerated = _solve(problem, fp.Steffensen())
    plain = _solve(problem, fp.Picard())
    assert accelerated.result == fp.RESULTS.successful
    assert problem.error(accelerated.value) <= problem.bound(_dtype())
    assert int(accelerated.stats["num_steps"]) <= 12
    assert int(plain.stats["num_steps"]) > 3 * int(accelerated.stats["num_steps"])


@pytest.mark.parametrize(
    "order, power", [((2,), 2), ((3,), 3)], ids=["order 2", "order 3"]
)
def test_acx_is_exact_on_one_eigenvalue(order, power):
    # With a single eigenvalue s (1 - lambda) = 1, so a cycle ends at the fixed point.
    problem = fp.FixedPoint(lambda y, args: 0.99 * y + 1, jnp.array([0.0, 5.0]))
    solution = fp.solve(problem, iteration=fp.ACX(orders=order), rtol=1e-4)
    assert int(solution.stats["num_steps"]) == power + 1
    np.testing.assert_allclose(solution.value, 100, rtol=1e-2)


def test_broyden_ends_on_a_linear_map():
    # Gay (1979): at most 2n steps on a linear system.
    matrix = jnp.array([[2.0, 1.0, 0.0], [0.5, -1.5, 0.3], [0.0, 0.7, 3.0]])
    problem = fp.FixedPoint(lambda y, args: matrix @ y + 1, jnp.zeros(3))
    solution = fp.solve(problem, iteration=fp.Broyden(), rtol=1e-4)
    assert int(solution.stats["num_steps"]) <= 2 * 3 + 2
    expected = np.linalg.solve(np.eye(3) - np.asarray(matrix), np.ones(3))
    np.testing.assert_allclose(solution.value, expected, rtol=1e-2)


@pytest.mark.parametrize(
    "iteration",
    [
        fp.Picard(),
        fp.Picard(relaxation=0.5),
        fp.Halpern(),
        fp.Anderson(),
        fp.ACX(),
        fp.Squarem(),
        fp.Broyden(),
        fp.Steffensen(),
    ],
    ids=lambda i: type(i).__name__,
)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.one_precision
def test_lowers_for_accelerators(iteration, platform):
    def solve(x):
        problem = fp.FixedPoint(lambda y, args: jnp.cos(y) + 0.1 * args, x, x)
        return fp.solve(problem, iteration=iteration, throw=False).value

    exported = jax.export.export(jax.jit(solve), platforms=[platform])(
        jax.ShapeDtypeStruct((3,), jnp.float32)
    )
    text = exported.mlir_module()
    assert "stablehlo.while" in text
    assert "callback" not in text and "lapack" not in text and "cusolver" not in text


BAD = {
    "orders": (lambda: fp.ACX(orders=(4,)), "`orders` must be a tuple of 2s and 3s"),
    "no orders": (lambda: fp.ACX(orders=()), "`orders` must be"),
    "acx safeguard": (lambda: fp.ACX(safeguard=0.5), "`safeguard` must be > 1"),
    "squarem safeguard": (lambda: fp.Squarem(safeguard=1.0), "`safeguard` must be > 1"),
    "restart": (lambda: fp.Halpern(restart=1.0), "`restart` must be strictly between"),
    "memory": (lambda: fp.Broyden(memory=2.5), "`memory` must be an integer"),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_named(case):
    make, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.one_precision
def test_slow_progress_of_a_long_vector_is_not_stagnation():
    # In float32 its residual is below 64 eps |z| for thousands of steps.
    target = jnp.linspace(0.5, 1.5, 10_000, dtype=jnp.float32)
    problem = fp.FixedPoint(
        lambda y, args: y - jnp.float32(1e-3) * (y - target), 0.9 * target
    )
    solution = fp.solve(
        problem, rtol=0.0, atol=5e-5, norm=fp.two_norm, max_steps=20_000
    )
    assert 4000 < int(solution.stats["num_steps"]) < 10_000
    assert float(jnp.linalg.norm(solution.value - target)) < 0.1


@pytest.mark.one_precision
def test_differences_below_the_rounding_of_the_point_still_accelerate():
    problem = by_name("electric_gauss_seidel")
    fn, y0, args = problem.make(np.float32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        solution = fp.solve(
            fp.FixedPoint(fn, y0, args),
            iteration=fp.Anderson(),
            rtol=0.0,
            atol=problem.tolerance32,
            norm=fp.two_norm,
        )
    # Plain iteration needs 7651; with such differences left out it was 1570.
    assert int(solution.stats["num_steps"]) < 600
