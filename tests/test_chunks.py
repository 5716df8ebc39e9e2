"""Solves that come back to the host on the way."""

import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp


def _slow_problem():
    return fp.FixedPoint(lambda y, args: 0.995 * y + 0.005 * jnp.cos(y), jnp.zeros(3))


@pytest.mark.parametrize("iteration", [fp.Picard(), fp.Anderson(), fp.ACX()], ids=repr)
@pytest.mark.slow_in_x64
def test_pieces_make_the_whole(iteration):
    problem = _slow_problem()
    whole = fp.solve(problem, iteration=iteration)
    pieces = list(fp.solve_in_chunks(problem, iteration=iteration, seconds=1e-4))
    for piece in pieces[:-1]:
        assert piece.result == fp.RESULTS.max_steps_reached
    last = pieces[-1]
    assert last.result == fp.RESULTS.successful
    np.testing.assert_array_equal(last.value, whole.value)
    assert last.stats["num_steps"] == int(whole.stats["num_steps"])
    if isinstance(iteration, fp.Picard):
        assert len(pieces) > 3
    again = fp.solve(problem, iteration=iteration, state=last.state)
    assert int(again.stats["num_steps"]) == 1


@pytest.mark.slow_in_x64
def test_one_program_for_all_lengths():
    traced = []

    def fn(y, args):
        traced.append(None)
        return 0.999 * y + 1

    problem = fp.FixedPoint(fn, jnp.zeros(3))
    pieces = list(fp.solve_in_chunks(problem, seconds=1e-4, rtol=1e-4))
    assert len(pieces) > 3
    # Starting a state and going on from one are two programs; each checks and traces.
    assert len(traced) <= 8


@pytest.mark.slow_in_x64
def test_interruption_gives_the_state_so_far():
    # A chaotic map: it neither converges nor repeats itself.
    starts = jnp.linspace(0.1, 0.9, 1000)
    problem = fp.FixedPoint(lambda y, args: 3.9 * y * (1 - y), starts)
    pieces = fp.solve_in_chunks(problem, max_steps=2_000_000_000, rtol=0.0, atol=0.0)
    seen = [next(pieces), next(pieces)]
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        start = time.perf_counter()
        seen.extend(pieces)
        assert time.perf_counter() - start < 30
    finally:
        timer.cancel()
    last, before = seen[-1], seen[-2]
    assert last.result == fp.RESULTS.interrupted
    np.testing.assert_array_equal(last.value, before.value)
    later = fp.solve(problem, state=last.state, max_steps=5, throw=False)
    assert np.any(np.asarray(later.value) != np.asarray(last.value))


def test_failure_is_yielded_and_then_raised():
    problem = fp.FixedPoint(lambda y, args: 2 * y, 1.0)
    pieces = fp.solve_in_chunks(problem)
    seen = []
    with pytest.raises(RuntimeError, match="grew without bound"):
        for piece in pieces:
            seen.append(piece)
    assert seen[-1].result == fp.RESULTS.diverged
    quiet = list(fp.solve_in_chunks(problem, throw=False))
    assert quiet[-1].result == fp.RESULTS.diverged


def test_max_steps_counts_all_pieces():
    pieces = list(
        fp.solve_in_chunks(_slow_problem(), max_steps=100, seconds=1e-4, throw=False)
    )
    assert pieces[-1].stats["num_steps"] == 100
    assert pieces[-1].result == fp.RESULTS.max_steps_reached


def test_bad_input_is_named():
    for kwargs, name in (
        ({"seconds": 0.0}, "seconds"),
        ({"max_steps": 0}, "max_steps"),
    ):
        with pytest.raises(ValueError, match=f"`{name}`"):
            next(fp.solve_in_chunks(_slow_problem(), **kwargs))  # pyright: ignore[reportArgumentType]


def test_history_holds_every_residual():
    problem = _slow_problem()
    solution = fp.solve(problem, history=True, max_steps=5000)
    history = np.asarray(solution.stats["residual_history"])
    steps = int(solution.stats["num_steps"])
    assert history.shape == (5000,)
    assert np.all(np.isfinite(history[:steps])) and np.all(np.isnan(history[steps:]))
    assert history[steps - 1] == solution.stats["residual"]
    z = jnp.zeros(3)
    for k in range(5):
        fz = problem.fn(z, None)
        np.testing.assert_allclose(history[k], np.max(np.abs(fz - z)), rtol=1e-4)
        z = fz
    assert "residual_history" not in fp.solve(problem).stats


@pytest.mark.slow_in_x64
def test_history_under_vmap_and_continued():
    def solve(c):
        problem = fp.FixedPoint(lambda y, c: c * jnp.cos(y), 1.0, c)
        return fp.solve(problem, history=True, max_steps=200)

    lanes = jax.vmap(solve)(jnp.array([0.1, 0.5]))
    counts = np.sum(np.isfinite(lanes.stats["residual_history"]), axis=1)
    np.testing.assert_array_equal(counts, lanes.stats["num_steps"])
    problem = _slow_problem()
    part = fp.solve(problem, max_steps=10, throw=False)
    rest = fp.solve(problem, state=part.state, history=True)
    whole = fp.solve(problem, history=True)
    steps = int(rest.stats["num_steps"])
    np.testing.assert_array_equal(
        rest.stats["residual_history"][:steps],
        whole.stats["residual_history"][10 : 10 + steps],
    )
