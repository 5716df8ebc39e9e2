"""`solve` on fixed-point problems: answers, counts, results, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest

import fixproj as fp


ITERATIONS = [
    fp.Picard(),
    fp.Picard(relaxation=0.7),
    fp.Anderson(),
    fp.Anderson(memory=2, mixing=0.8),
    fp.Anderson(memory=8),
    optx.FixedPointIteration(rtol=1e-5, atol=1e-6),
    optx.Newton(rtol=1e-5, atol=1e-6),
]


def _tolerance(dtype=None):
    dtype = jnp.zeros(()).dtype if dtype is None else dtype
    return 30 * float(jnp.finfo(dtype).eps) ** 0.75


def _linear(key, n=12, rho=0.8, dtype=None):
    """x = Mx + b with the dense solution in float64."""
    matrix_key, b_key = jr.split(key)
    matrix = np.asarray(jr.normal(matrix_key, (n, n)), np.float64)
    matrix = matrix * (rho / np.linalg.norm(matrix, 2))
    b = np.asarray(jr.normal(b_key, (n,)), np.float64)
    solution = np.linalg.solve(np.eye(n) - matrix, b)
    fn = lambda x, args: args[0] @ x + args[1]
    return fn, (jnp.asarray(matrix, dtype), jnp.asarray(b, dtype)), solution


@pytest.mark.parametrize("iteration", ITERATIONS, ids=repr)
def test_linear_against_dense_solve(iteration, getkey):
    fn, args, expected = _linear(getkey())
    solution = fp.solve(fp.FixedPoint(fn, jnp.zeros(12), args), iteration=iteration)
    assert solution.result == fp.RESULTS.successful
    loose = 1e-3 if isinstance(iteration, optx.FixedPointIteration) else 100
    tolerance = loose if loose < 1 else 100 * _tolerance()
    np.testing.assert_allclose(solution.value, expected, atol=tolerance)


def test_residual_is_that_of_the_value(getkey):
    fn, args, _ = _linear(getkey())
    solution = fp.solve(fp.FixedPoint(fn, jnp.zeros(12), args))
    x = solution.value
    measured = float(jnp.max(jnp.abs(fn(x, args) - x)))
    noise = 10 * float(jnp.finfo(x.dtype).eps) * float(jnp.max(jnp.abs(x)))
    assert abs(float(solution.stats["residual"]) - measured) <= noise


@pytest.mark.parametrize("rtol, atol", [(1e-3, 0.0), (0.0, 1e-3), (1e-4, 1e-4)])
@pytest.mark.slow_in_x64
def test_tolerances_are_kept_and_not_overdone(rtol, atol, getkey):
    fn, args, _ = _linear(getkey())
    problem = fp.FixedPoint(fn, jnp.zeros(12), args)
    solution = fp.solve(problem, rtol=rtol, atol=atol)
    allowed = atol + rtol * float(jnp.max(jnp.abs(solution.value)))
    assert float(solution.stats["residual"]) <= allowed
    steps = int(solution.stats["num_steps"])
    before = fp.solve(problem, rtol=rtol, atol=atol, max_steps=steps - 1, throw=False)
    assert before.result == fp.RESULTS.max_steps_reached


def test_anderson_on_a_linear_map_stops_like_gmres(getkey):
    # Walker & Ni (2011), theorem 2.2: with full memory the iterates are GMRES's, which
    # ends within n steps; one evaluation more to see it.
    fn, args, expected = _linear(getkey(), n=5, rho=3.0)
    problem = fp.FixedPoint(fn, jnp.zeros(5), args)
    iteration = fp.Anderson(memory=5, period=1)
    solution = fp.solve(problem, iteration=iteration, rtol=1e-4, atol=0.0)
    assert int(solution.stats["num_steps"]) <= 5 + 3
    np.testing.assert_allclose(solution.value, expected, atol=1e-2)


@pytest.mark.parametrize("iteration", [fp.Picard(0.5), fp.Anderson()], ids=repr)
@pytest.mark.slow_in_x64
def test_an_iteration_by_hand_gives_the_same_iterates(iteration):
    fn = lambda y, args: jnp.stack([jnp.cos(y[1]), 0.5 * jnp.sin(y[0]) + 1])
    z = jnp.zeros(2)
    state = iteration.init(z)
    for _ in range(4):
        z, state = iteration.step(z, fn(z, None), state)
    problem = fp.FixedPoint(fn, jnp.zeros(2))
    solution = fp.solve(problem, iteration=iteration, max_steps=4, throw=False)
    np.testing.assert_allclose(solution.value, z, rtol=1e-5)


@pytest.mark.parametrize("iteration", [fp.Picard(), fp.Anderson()], ids=repr)
@pytest.mark.slow_in_x64
def test_state_goes_on_exactly_where_it_stopped(iteration, getkey):
    fn, args, _ = _linear(getkey(), rho=0.97)
    problem = fp.FixedPoint(fn, jnp.zeros(12), args)
    whole = fp.solve(problem, iteration=iteration)
    part = fp.solve(problem, iteration=iteration, max_steps=7, throw=False)
    assert part.result == fp.RESULTS.max_steps_reached
    rest = fp.solve(problem, iteration=iteration, state=part.state)
    np.testing.assert_array_equal(rest.value, whole.value)
    assert int(part.stats["num_steps"]) == 7
    assert int(rest.stats["num_steps"]) == int(whole.stats["num_steps"]) - 7


def test_pytree_with_none_zero_size_and_mixed_leaves():
    y0 = {"a": jnp.zeros((2, 3)), "none": None, "empty": jnp.zeros((0, 4)), "s": 0}

    def fn(y, args):
        a = jnp.tanh(0.5 * y["a"] + y["s"])
        return {"a": a, "none": None, "empty": y["empty"], "s": 0.1 + 0.3 * y["s"]}

    value = fp.solve(fp.FixedPoint(fn, y0), iteration=fp.Anderson()).value
    assert value["none"] is None and value["empty"].shape == (0, 4)
    s = 0.1 / 0.7
    root = optx.root_find(
        lambda a, _: jnp.tanh(0.5 * a + s) - a, optx.Newton(1e-6, 1e-6), jnp.array(0.1)
    ).value
    np.testing.assert_allclose(value["a"], np.full((2, 3), root), atol=1e-4)
    np.testing.assert_allclose(value["s"], s, atol=1e-4)


@pytest.mark.parametrize("iteration", [fp.Picard(), fp.Anderson()], ids=repr)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.complex64])
def test_dtype_is_kept_whatever_the_x64_setting(dtype, iteration):
    y0 = jnp.ones(3, dtype)
    shift = jnp.asarray([1, 2, 3], dtype)
    solution = fp.solve(
        fp.FixedPoint(lambda y, c: 0.5 * y + c, y0, shift), iteration=iteration
    )
    assert solution.value.dtype == dtype
    found = np.asarray(solution.value).astype(np.complex64)
    np.testing.assert_allclose(found, [2, 4, 6], rtol=_tolerance(dtype))


def test_complex_rotation_and_shrink():
    fn = lambda y, args: 0.9 * jnp.exp(1j * 2.0).astype(y.dtype) * y + 1
    expected = 1 / (1 - 0.9 * np.exp(2j))
    for iteration in (fp.Picard(), fp.Anderson(memory=2)):
        y0 = jnp.zeros((), complex)
        value = fp.solve(fp.FixedPoint(fn, y0), iteration=iteration).value
        np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_empty_tree_and_zero_size_array_are_solved_at_once():
    for y0 in ({}, jnp.zeros((0,))):
        solution = fp.solve(fp.FixedPoint(lambda y, args: y, y0))
        assert int(solution.stats["num_steps"]) == 1
        assert solution.result == fp.RESULTS.successful


@pytest.mark.slow_in_x64
def test_vmap_lanes_stop_at_their_own_convergence():
    def solve(rho, iteration):
        problem = fp.FixedPoint(lambda y, r: r * jnp.cos(y), 1.0, rho)
        return fp.solve(problem, iteration=iteration, throw=False)

    rhos = jnp.array([0.1, 0.5, 0.9, 0.0])
    for iteration in (fp.Picard(), fp.Anderson()):
        lanes = jax.vmap(lambda r, i=iteration: solve(r, i))(rhos)
        assert bool(jnp.all(lanes.result == fp.RESULTS.successful))
        for i, rho in enumerate(rhos):
            alone = solve(rho, iteration)
            assert int(alone.stats["num_steps"]) == int(lanes.stats["num_steps"][i])
            np.testing.assert_allclose(alone.value, lanes.value[i], rtol=1e-5)


def test_jit_closure_over_a_traced_value_and_a_module_as_function(getkey):
    @jax.jit
    def solve(c):
        return fp.solve(fp.FixedPoint(lambda y, args: c * jnp.cos(y), 1.0)).value

    expected = fp.solve(fp.FixedPoint(lambda y, c: c * jnp.cos(y), 1.0, 0.5)).value
    np.testing.assert_allclose(solve(0.5), expected, rtol=1e-5)

    layer = eqx.nn.Linear(3, 3, key=getkey())
    layer = eqx.tree_at(lambda m: m.weight, layer, 0.1 * layer.weight)

    class Map(eqx.Module):
        layer: eqx.nn.Linear

        def __call__(self, y, args):
            return jnp.tanh(self.layer(y))

    y = fp.solve(fp.FixedPoint(Map(layer), jnp.zeros(3))).value
    np.testing.assert_allclose(jnp.tanh(layer(y)), y, atol=1e-4)


def test_integer_and_key_arguments_pass_through(getkey):
    def fn(y, args):
        key, power, name = args
        assert name == "static"
        return 0.5 * y + jr.normal(key, y.shape) + power.astype(y.dtype)

    key, power = getkey(), jnp.array(3)
    y = fp.solve(fp.FixedPoint(fn, jnp.zeros(2), (key, power, "static"))).value
    np.testing.assert_allclose(y, 2 * (jr.normal(key, (2,)) + 3), rtol=1e-4)


def test_small_unknowns_are_not_taken_for_solved():
    scale = 1e-7
    solution = fp.solve(
        fp.FixedPoint(lambda y, args: 0.9 * y + 0.1 * scale, jnp.zeros(3))
    )
    np.testing.assert_allclose(solution.value, scale, rtol=1e-2)


RESULT_CASES = {
    "nan map": (lambda y, a: y * jnp.nan, 1.0, fp.RESULTS.nonfinite),
    "nan later": (
        lambda y, a: jnp.where(y > 3, jnp.nan, y + 1),
        0.0,
        fp.RESULTS.nonfinite,
    ),
    "doubling": (lambda y, a: 2 * y, 1.0, fp.RESULTS.diverged),
    "translation": (lambda y, a: y + 1, 0.0, fp.RESULTS.diverged),
    "two-cycle": (lambda y, a: 3 - y, 1.0, fp.RESULTS.stagnated),
    "three-cycle": (lambda y, a: jnp.roll(y, 1), jnp.arange(3.0), fp.RESULTS.stagnated),
    "too slow": (lambda y, a: 0.99999 * y + 1, 0.0, fp.RESULTS.max_steps_reached),
    "nan start": (lambda y, a: 0.5 * y, jnp.nan, fp.RESULTS.nonfinite),
    "infinite start": (lambda y, a: jnp.tanh(y), jnp.inf, fp.RESULTS.nonfinite),
}


@pytest.mark.parametrize("case", RESULT_CASES)
@pytest.mark.slow_in_x64
def test_failures_are_named(case):
    fn, y0, expected = RESULT_CASES[case]
    problem = fp.FixedPoint(fn, y0)
    solution = fp.solve(problem, max_steps=2000, throw=False)
    assert solution.result == expected, fp.RESULTS[solution.result]
    assert solution.result != fp.RESULTS.successful
    error = ValueError if "start" in case else eqx.EquinoxRuntimeError
    with pytest.raises(error) as info:
        fp.solve(problem, max_steps=2000)
    text = "y0" if "start" in case else fp.RESULTS[expected][:30]
    assert text in str(info.value)


def test_relaxation_repairs_the_two_cycle():
    problem = fp.FixedPoint(lambda y, args: 3 - y, 1.0)
    solution = fp.solve(problem, iteration=fp.Picard(relaxation=0.5))
    np.testing.assert_allclose(solution.value, 1.5, rtol=1e-5)


def test_failure_inside_jit_raises_too():
    @eqx.filter_jit
    def f(x):
        return fp.solve(fp.FixedPoint(lambda y, args: 2 * y, x)).value

    with pytest.raises(Exception, match="grew without bound"):
        jax.block_until_ready(f(jnp.array(1.0)))


def test_progress_shows_steps_and_residual(capsys, getkey):
    fn, args, _ = _linear(getkey(), rho=0.99)
    problem = fp.FixedPoint(fn, jnp.zeros(12), args)
    solution = fp.solve(problem, progress=True)
    shown = capsys.readouterr().err
    assert f"{int(solution.stats['num_steps'])}/10000" in shown
    assert "residual" in shown
    quiet = fp.solve(problem)
    np.testing.assert_array_equal(quiet.value, solution.value)


BAD_CALLS = {
    "structure": (
        lambda: fp.solve(fp.FixedPoint(lambda y, a: (y, y), jnp.zeros(2))),
        ValueError,
        "`fn` must return the structure",
    ),
    "shape": (
        lambda: fp.solve(
            fp.FixedPoint(lambda y, a: {"w": y["w"][:2]}, {"w": jnp.ones(3)})
        ),
        ValueError,
        r"\['w'\]' expected float\d\d\[3\], got float\d\d\[2\]",
    ),
    "broadcast": (
        lambda: fp.solve(
            fp.FixedPoint(lambda y, a: y + jnp.ones((2, 1)), jnp.ones(()))
        ),
        ValueError,
        r"expected float\d\d\[\], got float\d\d\[2,1\]",
    ),
    "dtype": (
        lambda: fp.solve(
            fp.FixedPoint(lambda y, a: y.astype(jnp.bfloat16), jnp.ones(2))
        ),
        ValueError,
        "got bfloat16",
    ),
    "not callable": (
        lambda: fp.FixedPoint(3, 1.0),  # pyright: ignore
        TypeError,
        "`fn` must be a func",
    ),
    "string": (
        lambda: fp.FixedPoint(lambda y, a: y, {"a": "x"}),
        TypeError,
        r"`y0`\['a'\] must be a number",
    ),
    "bool": (
        lambda: fp.FixedPoint(lambda y, a: y, jnp.array(True)),
        TypeError,
        "got bool",
    ),
    "key": (
        lambda: fp.FixedPoint(lambda y, a: y, (jr.key(0),)),
        TypeError,
        r"`y0`\[0\] is a PRNG key",
    ),
    "max_steps": (lambda: _trivial(max_steps=0), ValueError, "`max_steps` must be"),
    "max_steps kind": (lambda: _trivial(max_steps=1.5), ValueError, "got 1.5"),
    "rtol": (lambda: _trivial(rtol=-1.0), ValueError, "`rtol` must be a scalar >= 0"),
    "atol": (
        lambda: _trivial(atol=jnp.nan),
        ValueError,
        "`atol` must be a scalar >= 0",
    ),
    "method": (
        lambda: _trivial(method=fp.DouglasRachford()),
        TypeError,
        "does not apply to a FixedPoint",
    ),
    "iteration as method": (
        lambda: _trivial(method=fp.Picard()),
        TypeError,
        "pass `iteration=`",
    ),
    "iteration": (lambda: _trivial(iteration="picard"), TypeError, "`iteration` must"),
    "adjoint": (lambda: _trivial(adjoint="implicit"), TypeError, "`adjoint` must be"),
    "problem": (
        lambda: fp.solve(jnp.cos),  # pyright: ignore
        TypeError,
        "`problem` must be a",
    ),
    "memory": (lambda: fp.Anderson(memory=0), ValueError, "`memory` must be an int"),
    "relaxation": (lambda: fp.Picard(relaxation=2.5), ValueError, "between 0 and 2"),
    "relaxation nan": (lambda: fp.Picard(relaxation=jnp.nan), ValueError, "between"),
    "mixing": (lambda: fp.Anderson(mixing=-1.0), ValueError, "`mixing` must be > 0"),
}


def _trivial(**kwargs):
    return fp.solve(fp.FixedPoint(lambda y, args: 0.5 * y, 1.0), **kwargs)


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_an_error_that_names_it(case):
    call, error, message = BAD_CALLS[case]
    with pytest.raises(error, match=message):
        call()


def test_integer_start_becomes_float():
    value = fp.solve(
        fp.FixedPoint(lambda y, args: 0.5 * y + 1, jnp.array([1, 2]))
    ).value
    assert value.dtype == jnp.zeros(()).dtype
    np.testing.assert_allclose(value, [2, 2], rtol=1e-4)


def test_callers_iterate_is_not_promoted_silently():
    # Under x64 a float64 constant would turn a float32 iterate into float64.
    y0 = jnp.ones(2, jnp.float32)
    constant = jnp.ones(2)
    with jax.numpy_dtype_promotion("standard"):
        problem = fp.FixedPoint(lambda y, args: 0.5 * y + constant, y0)
        if constant.dtype == jnp.float64:
            with pytest.raises(ValueError, match="expected float32.*got float64"):
                fp.solve(problem)
        else:
            assert fp.solve(problem).value.dtype == jnp.float32
