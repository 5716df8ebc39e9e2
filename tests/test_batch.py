"""`solve_batch`: what `jax.vmap` of `solve` gives, for less work."""

import math
import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

import fixproj as fp
from fixproj import projections as proj


def _relaxed_cosine(parameters):
    # Its rate is about `keep`.
    fn = lambda y, keep: keep * y + (1 - keep) * jnp.cos(y)
    return fp.FixedPoint(fn, parameters["start"], parameters["keep"])


def _affine(rate):
    return fp.FixedPoint(lambda y, rate: rate * y + 1, jnp.zeros(2), rate)


def _halfplane_and_line(parameters):
    # A halfplane and a line: the smaller their angle, the slower; or they are apart.
    angle, offset = parameters
    normal = jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    sets = [
        proj.Halfspace(normal, -offset),
        proj.Box(jnp.array([-jnp.inf, 0.0]), jnp.array([jnp.inf, 0.0])),
    ]
    return fp.Feasibility(sets, jnp.array([1.0, 2.0]))


def _in_lockstep(make_problem, parameters, *args, **kwargs):
    lane = lambda p: fp.solve(make_problem(p), *args, throw=False, **kwargs)
    return jax.jit(jax.vmap(lane))(parameters)


def _assert_same(found, expected, atol=1e-6):
    """All of a solution: answers, results, counts and what is needed to go on."""
    assert np.all(np.asarray(found.result == expected.result))
    stats = found.stats["num_steps"]
    np.testing.assert_array_equal(stats, expected.stats["num_steps"])
    names = ("residual", "violation")
    pick = lambda s: (s.value, s.state, {name: s.stats[name] for name in names})
    found, expected = pick(found), pick(expected)
    assert jtu.tree_structure(found) == jtu.tree_structure(expected)
    for f, e in zip(jtu.tree_leaves(found), jtu.tree_leaves(expected), strict=True):
        assert f.shape == e.shape and f.dtype == e.dtype
        np.testing.assert_allclose(f, e, rtol=1e-3, atol=atol)
    # Batches of other sizes may be rounded differently, by a unit in the last place.
    for f, e in zip(
        jtu.tree_leaves(found[0]), jtu.tree_leaves(expected[0]), strict=True
    ):
        epsilon = float(jnp.finfo(f.dtype).eps)
        np.testing.assert_allclose(f, e, rtol=4 * epsilon, atol=4 * epsilon)


def _work(counts):
    """The lane-steps, from the steps each lane needs, by going through all steps."""
    size, total, useful = len(counts), 0, 0
    for step in range(max(counts)):
        running = sum(count > step for count in counts)
        if 2 * running <= 2 ** math.ceil(math.log2(size)) and total > 1.25 * useful:
            size = 2 ** math.ceil(math.log2(running))
        total += size
        useful += running
    return total


@pytest.mark.one_precision
@pytest.mark.slow
def test_a_few_slow_lanes_do_not_hold_up_the_others(getkey):
    lanes, slow = 1000, [3, 200, 511, 512, 999]
    keep = jnp.full(lanes, 0.5).at[jnp.array(slow)].set(0.999)
    parameters = {"keep": keep, "start": jr.normal(getkey(), (lanes, 3))}
    found = fp.solve_batch(_relaxed_cosine, parameters, rtol=1e-5)
    expected = _in_lockstep(_relaxed_cosine, parameters, rtol=1e-5)
    _assert_same(found, expected)
    assert bool(jnp.all(found.result == fp.RESULTS.successful))
    np.testing.assert_allclose(jnp.cos(found.value), found.value, atol=1e-1)
    counts = np.asarray(expected.stats["num_steps"]).tolist()
    work = found.stats["lane_steps"]
    assert work == _work(counts)
    assert work <= 2.25 * sum(counts) + lanes
    assert 10 * work < lanes * max(counts)


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "iteration",
    [fp.Picard(0.7), fp.Anderson(), fp.ACX()],
    ids=repr,
)
def test_every_iteration_goes_on_exactly(iteration, getkey):
    # An extrapolation multiplies the rounding of float32, which depends on the size of
    # the batch, to more than a unit in the last place.
    with jax.enable_x64(True):
        keep = jnp.array([0.2, 0.97, 0.2, 0.2, 0.9])
        parameters = {"keep": keep, "start": jr.normal(getkey(), (5, 3))}
        kwargs = {"iteration": iteration, "rtol": 1e-3, "max_steps": 300}
        found = fp.solve_batch(
            _relaxed_cosine, parameters, **kwargs, chunk_steps=5, throw=False
        )
        expected = _in_lockstep(_relaxed_cosine, parameters, **kwargs)
        _assert_same(found, expected)
        counts = np.asarray(expected.stats["num_steps"]).tolist()
        assert len(set(counts)) > 1
        assert found.stats["lane_steps"] == _work(counts) <= 5 * max(counts)


@pytest.mark.one_precision
def test_answers_do_not_depend_on_the_chunks():
    rates = jnp.array([0.5, 0.99, 0.9, 0.0, 0.95])
    expected = _in_lockstep(_affine, rates, rtol=1e-3)
    for chunk_steps in (1, 100_000):
        found = fp.solve_batch(_affine, rates, rtol=1e-3, chunk_steps=chunk_steps)
        _assert_same(found, expected)
        assert found.stats["lane_steps"] == _work(
            np.asarray(expected.stats["num_steps"]).tolist()
        )


@pytest.mark.one_precision
def test_max_steps_is_kept_across_chunks():
    rates = jnp.array([0.0, 0.5, 0.9])
    expected = _in_lockstep(_affine, rates, max_steps=7)
    for chunk_steps in (3, 50):
        found = fp.solve_batch(
            _affine, rates, max_steps=7, chunk_steps=chunk_steps, throw=False
        )
        _assert_same(found, expected)
        assert found.stats["max_steps"] == 7
    np.testing.assert_array_equal(found.stats["num_steps"], [2, 7, 7])


@pytest.mark.one_precision
def test_failed_lanes_keep_their_own_results():
    rates = jnp.array([0.5, 2.0, jnp.nan, -1.0, 0.99999, 0.2])
    found = fp.solve_batch(_affine, rates, max_steps=2000, throw=False)
    _assert_same(found, _in_lockstep(_affine, rates, max_steps=2000))
    names = "successful diverged nonfinite stagnated max_steps_reached successful"
    for lane, name in enumerate(names.split()):
        result = jtu.tree_map(lambda x, i=lane: x[i], found.result)
        assert result == getattr(fp.RESULTS, name), fp.RESULTS[result]


@pytest.mark.one_precision
def test_feasibility_with_an_infeasible_lane():
    angles = jnp.array([0.3, 1.0, 0.0, 0.15, 1.5])
    parameters = (angles, jnp.array([0.5, 0.0, 0.5, 1.0, 0.2]))
    kwargs = {"rtol": 1e-4, "max_steps": 5000}
    found = fp.solve_batch(_halfplane_and_line, parameters, **kwargs, throw=False)
    _assert_same(found, _in_lockstep(_halfplane_and_line, parameters, **kwargs))
    infeasible = found.result == fp.RESULTS.infeasible_suspected
    np.testing.assert_array_equal(infeasible, np.arange(5) == 2)
    good = np.array([0, 1, 3, 4])
    points, normals = np.asarray(found.value)[good], np.asarray(angles)[good]
    height = np.sin(normals) * points[:, 0] + np.cos(normals) * points[:, 1]
    assert np.all(height <= -np.asarray(parameters[1])[good] + 3e-2)
    np.testing.assert_allclose(points[:, 1], 0, atol=1e-2)
    with pytest.raises(RuntimeError, match="1 of 5 lanes failed.*lane 2: The sets"):
        fp.solve_batch(_halfplane_and_line, parameters, **kwargs)


@pytest.mark.slow_in_x64
def test_throw_names_how_many_the_first_and_why():
    rates = jnp.array([0.5, 0.2, 2.0, jnp.nan])
    with pytest.raises(RuntimeError, match="2 of 4 lanes .* lane 2: The residual grew"):
        fp.solve_batch(_affine, rates)


@pytest.mark.parametrize("lanes", [0, 1])
def test_small_batches(lanes):
    rates = jnp.linspace(0.2, 0.8, 3)[:lanes]
    found = fp.solve_batch(_affine, rates)
    _assert_same(found, _in_lockstep(_affine, rates))
    counts = np.asarray(found.stats["num_steps"]).tolist()
    assert found.value.shape == (lanes, 2) and len(counts) == lanes
    assert found.stats["lane_steps"] == (_work(counts) if lanes else 0)


@pytest.mark.one_precision
@pytest.mark.slow
def test_pytrees_keys_and_what_is_no_array(getkey):
    shared = jnp.array([0.1, 0.2])

    def make_problem(parameters):
        key, wave = parameters["key"], parameters["wave"]
        noise = jr.normal(key, (2,))

        def fn(y, power):
            a = 0.4 * wave(y["a"]) + shared + noise
            return {"a": a, "s": 0.5 * y["s"] + power.astype(y["s"].dtype)}

        y0 = {"a": jnp.zeros(2), "s": jnp.zeros((), jnp.float32)}
        return fp.FixedPoint(fn, y0, parameters["power"])

    parameters = {
        "key": jr.split(getkey(), 5),
        "power": np.arange(5),
        "wave": jnp.tanh,
        "none": None,
    }
    found = fp.solve_batch(make_problem, parameters)
    expected = _in_lockstep(
        lambda lane: make_problem({**parameters, "key": lane[0], "power": lane[1]}),
        (parameters["key"], jnp.arange(5)),
    )
    _assert_same(found, expected, atol=1e-5)
    noise = jax.vmap(lambda key: jr.normal(key, (2,)))(parameters["key"])
    a = np.asarray(found.value["a"])
    noise = np.asarray(noise) + np.asarray(shared)
    np.testing.assert_allclose(0.4 * np.tanh(a) + noise, a, atol=1e-4)
    np.testing.assert_allclose(found.value["s"], 2.0 * np.arange(5), rtol=1e-4)


@pytest.mark.one_precision
@pytest.mark.slow
def test_gradients_go_on_from_the_states():
    rates = jnp.array([0.5, 0.9, 0.0])
    states = fp.solve_batch(_affine, rates).state

    def total(rates):
        lanes = jax.vmap(lambda rate, s: fp.solve(_affine(rate), state=s))
        solution = lanes(rates, states)
        return jnp.sum(solution.value), solution.stats["num_steps"]

    gradient, steps = jax.grad(total, has_aux=True)(rates)
    np.testing.assert_array_equal(steps, 1)
    # Two entries, each 1 / (1 - rate).
    expected = 2 / (1 - np.asarray(rates)) ** 2
    np.testing.assert_allclose(gradient, expected, rtol=1e-3)


@pytest.mark.one_precision
def test_few_programs_and_none_the_second_time():
    traced = []

    def make_problem(rate):
        traced.append(None)
        return _affine(rate)

    first = jnp.linspace(0.1, 0.95, 16)
    fp.solve_batch(make_problem, first, rtol=1e-3)
    # The check, the start, at most 5 sizes (16, 8, ... 1), the finish.
    assert len(traced) <= 8
    traced.clear()
    second = fp.solve_batch(make_problem, first + 0.001, rtol=1e-3, max_steps=9999)
    assert len(traced) == 1
    np.testing.assert_allclose(second.value[0], 1 / (1 - 0.101), rtol=1e-2)


@pytest.mark.one_precision
def test_interruption_is_heard():
    def make_problem(start):
        # A chaotic map: it neither converges nor repeats itself.
        return fp.FixedPoint(lambda y, args: 3.9 * y * (1 - y), start)

    starts = jnp.linspace(0.1, 0.9, 100)
    kwargs = {"rtol": 0.0, "atol": 0.0, "throw": False}
    fp.solve_batch(make_problem, starts, max_steps=10, **kwargs)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    start = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            fp.solve_batch(make_problem, starts, max_steps=2_000_000_000, **kwargs)
        assert time.perf_counter() - start < 30
    finally:
        timer.cancel()


def _root(c):
    return fp.Root(lambda y, c: (c - y * y) / 4, 1.0, c)


@pytest.mark.slow_in_x64
def test_root_with_an_iteration_of_ours():
    squares = jnp.array([1.0, 2.0, 3.0])
    found = fp.solve_batch(_root, squares, iteration=fp.Anderson())
    np.testing.assert_allclose(found.value, np.sqrt([1, 2, 3]), rtol=1e-4)


_RATES = np.array([0.5, 0.6])
BAD_CALLS = {
    "problem": (
        lambda: fp.solve_batch(_affine(0.5), _RATES),  # pyright: ignore
        TypeError,
        "`make_problem` must be a function .* got FixedPoint",
    ),
    "no problem": (
        lambda: fp.solve_batch(lambda rate: rate, _RATES),  # pyright: ignore
        TypeError,
        "`make_problem` must return a fixproj.FixedPoint",
    ),
    "nothing": (
        lambda: fp.solve_batch(_affine, {}),
        ValueError,
        "`parameters` must hold an array",
    ),
    "scalar": (
        lambda: fp.solve_batch(_affine, {"rate": jnp.array(0.5)}),
        ValueError,
        r"`parameters\['rate'\]` must be an array with the lanes",
    ),
    "list": (
        lambda: fp.solve_batch(_affine, [0.5, 0.6]),
        ValueError,
        r"`parameters\[0\]` must .* got the scalar 0.5",
    ),
    "lengths": (
        lambda: fp.solve_batch(lambda p: _affine(p[0]), (_RATES, np.zeros((3, 2)))),
        ValueError,
        r"`parameters\[1\]` must have the 2 lanes of `parameters\[0\]`.*\(3, 2\)",
    ),
    "method": (
        lambda: fp.solve_batch(_affine, _RATES, fp.DouglasRachford()),
        TypeError,
        "does not apply to a FixedPoint",
    ),
    "iteration": (
        lambda: fp.solve_batch(_affine, _RATES, iteration="picard"),  # pyright: ignore
        TypeError,
        "`iteration` must be",
    ),
    "root": (
        lambda: fp.solve_batch(_root, _RATES),
        TypeError,
        "`iteration` must be one of fixproj's own.*Root",
    ),
    "rtol": (
        lambda: fp.solve_batch(_affine, _RATES, rtol=-1.0),
        ValueError,
        "`rtol` must be a scalar >= 0",
    ),
    "max_steps": (
        lambda: fp.solve_batch(_affine, _RATES, max_steps=0),
        ValueError,
        "`max_steps` must be an integer >= 1",
    ),
    "chunk_steps": (
        lambda: fp.solve_batch(_affine, _RATES, chunk_steps=0),
        ValueError,
        "`chunk_steps` must be an integer >= 1",
    ),
    "jit": (
        lambda: jax.jit(lambda r: fp.solve_batch(_affine, r).value)(_RATES),
        TypeError,
        "cannot be used inside of jax.jit",
    ),
    "grad": (
        lambda: jax.grad(lambda r: fp.solve_batch(_affine, r).value.sum())(_RATES),
        TypeError,
        "cannot be used inside of jax.jit",
    ),
    "closed over": (
        lambda: jax.jit(
            lambda c: fp.solve_batch(lambda r: _affine(c * r), jnp.array(_RATES)).value
        )(0.5),
        TypeError,
        "cannot be used inside of jax.jit",
    ),
    "changes shape": (
        lambda: fp.solve_batch(
            lambda r: fp.FixedPoint(lambda y, a: y[:1], jnp.ones(2), r), _RATES
        ),
        ValueError,
        "`fn` must return the shapes",
    ),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_an_error_that_names_it(case):
    call, error, message = BAD_CALLS[case]
    with pytest.raises(error, match=message):
        call()
