"""Solves that go on from disk as if nothing had happened."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import fixproj as fp
from fixproj import _checkpoint, projections as proj


pytestmark = pytest.mark.one_precision


def _problem(shift=0.0, rate=0.003):
    start = jnp.linspace(0.0, 1.0, 5) + shift
    return fp.FixedPoint(lambda y, args: y + rate * (jnp.cos(y) - y), start)


def _last(problem, checkpoint=None, iteration=None, **options):
    *_, last = fp.solve_in_chunks(
        problem, iteration=iteration, seconds=1e-3, checkpoint=checkpoint, **options
    )
    return last


def _savings(path):
    return sorted(int(name) for name in os.listdir(path) if name.isdigit())


@pytest.mark.parametrize("iteration", [fp.Picard(), fp.Anderson()], ids=repr)
def test_goes_on_bit_by_bit(iteration, tmp_path):
    whole = fp.solve(_problem(), iteration=iteration)
    every = 100 if isinstance(iteration, fp.Picard) else 2
    checkpoint = fp.Checkpoint(tmp_path / "solve", steps=every)
    for solution in fp.solve_in_chunks(
        _problem(), iteration=iteration, checkpoint=checkpoint
    ):
        if solution.stats["num_steps"] >= 2 * every:
            break
    left = _savings(tmp_path / "solve")
    assert left and len(left) <= 2 and left[-1] < int(whole.stats["num_steps"])
    resumed = _last(_problem(), checkpoint, iteration)
    assert resumed.result == fp.RESULTS.successful
    np.testing.assert_array_equal(resumed.value, whole.value)
    assert resumed.stats["num_steps"] == int(whole.stats["num_steps"])
    again = _last(_problem(), checkpoint, iteration)
    np.testing.assert_array_equal(again.value, whole.value)


def test_random_orders_go_on_with_their_keys(tmp_path):
    sets = [proj.Halfspace(jnp.eye(4)[i] - 0.3, 0.5) for i in range(4)]
    problem = fp.Feasibility([*sets, proj.L2Ball(3.0)], jnp.arange(4.0) + 9)
    method = fp.CyclicProjections(key=jr.key(3))
    whole = fp.solve(problem, method, rtol=1e-5)
    path = tmp_path / "solve"
    first = next(
        fp.solve_in_chunks(
            problem, method, rtol=1e-5, checkpoint=fp.Checkpoint(path, steps=1)
        )
    )
    assert not bool(first.result == fp.RESULTS.successful)
    *_, last = fp.solve_in_chunks(problem, method, rtol=1e-5, checkpoint=path)
    np.testing.assert_array_equal(last.value, whole.value)


def test_other_solves_are_refused(tmp_path):
    path = tmp_path / "solve"
    _last(_problem(), path, max_steps=20, throw=False)
    with pytest.raises(fp.CheckpointError, match="another solve.*start anew"):
        _last(_problem(shift=1.0), path)
    with pytest.raises(fp.CheckpointError, match="another solve"):
        _last(_problem(), path, fp.Anderson())
    with pytest.raises(ValueError, match="`state` is given"):
        _last(_problem(), path, state=fp.solve(_problem()).state)
    with pytest.raises(ValueError, match="`steps` must be"):
        fp.Checkpoint(path, steps=0)
    assert _savings(path) == [20]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Savings after 10 and 20 steps, and where the solve then ends."""
    path = tmp_path_factory.mktemp("saved") / "solve"
    checkpoint = fp.Checkpoint(path, steps=10)
    _last(_problem(), checkpoint, max_steps=20, throw=False)
    assert _savings(path) == [10, 20]
    return path


@pytest.mark.parametrize("damage", ["truncated", "flipped", "format", "header"])
def test_damage_is_found_and_nothing_is_lost(damage, saved, tmp_path):
    path = tmp_path / "solve"
    shutil.copytree(saved, path)
    files = [f for f in (path / "20").rglob("*") if f.is_file()]
    header = next(f for f in files if "header" in str(f) and "{" in f.read_text("l1"))
    data = [f for f in files if f.parent.name == "d"]
    assert data
    if damage == "truncated":
        for file in data:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "flipped":
        for file in data:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 255
            file.write_bytes(content)
    elif damage == "format":
        header.write_text(header.read_text().replace("solve-1", "solve-9"))
    else:
        header.write_text("{")
    with pytest.raises(fp.CheckpointError, match=r"Remove .*20 to go on from step 10"):
        _last(_problem(), path)
    assert _savings(path) == [10, 20]


def test_goes_on_from_the_saving_before(saved, tmp_path):
    path = tmp_path / "solve"
    shutil.copytree(saved, path)
    shutil.rmtree(path / "20")
    last = _last(_problem(), path)
    np.testing.assert_array_equal(last.value, fp.solve(_problem()).value)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(fp.CheckpointError, match="cannot be read.*file"):
        _last(_problem(), tmp_path / "file" / "solve")


def test_interruption_is_saved(tmp_path):
    starts = jnp.linspace(0.1, 0.9, 1000)
    problem = fp.FixedPoint(lambda y, args: 3.9 * y * (1 - y), starts)
    path = tmp_path / "solve"
    pieces = fp.solve_in_chunks(
        problem, max_steps=10**9, rtol=0.0, atol=0.0, checkpoint=path, seconds=0.01
    )
    next(pieces)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    *_, last = pieces
    assert last.result == fp.RESULTS.interrupted
    assert _savings(path)[-1] == last.stats["num_steps"]


SCRIPT = """
import resource, signal, sys, time
import numpy as np
import fixproj as fp
from tests.test_checkpoint import _problem

if len(sys.argv) > 4:
    largest_file = int(sys.argv[4])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
pieces = fp.solve_in_chunks(
    _problem(rate=3e-4), seconds=0.1, checkpoint=fp.Checkpoint(sys.argv[1], steps=40)
)
for solution in pieces:
    print("going", flush=True)
    time.sleep(float(sys.argv[2]))
np.save(sys.argv[3], solution.value)
"""


def _process(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_full_disk_is_named(tmp_path):
    """A limit on the size of files fails in the same place as a full disk."""
    _last(
        _problem(rate=3e-4),
        fp.Checkpoint(tmp_path / "solve", 40),
        max_steps=40,
        throw=False,
    )
    process = _process(tmp_path / "solve", 0, tmp_path / "value", 300)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "CheckpointError" in errors and "cannot be written" in errors, errors
    assert _savings(tmp_path / "solve") == [40]
    whole = _last(_problem(rate=3e-4), tmp_path / "solve")
    np.testing.assert_array_equal(whole.value, fp.solve(_problem(rate=3e-4)).value)


@pytest.mark.kill
@pytest.mark.slow
def test_twenty_kills(tmp_path):
    path, value = tmp_path / "solve", tmp_path / "value.npy"
    survived, reached = 0, [0]
    while survived < 20:
        process = _process(path, 0.01, value)
        assert process.stdout is not None
        for _ in range(random.randint(1, 8)):
            process.stdout.readline()
        # A saving takes a tenth of a second: many a kill falls into one.
        time.sleep(random.uniform(0.0, 0.2))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        survived += 1
        reached.append([0, *(_savings(path) if path.exists() else [])][-1])
        assert reached[-1] >= reached[-2]
    assert len(set(reached)) > 5
    process = _process(path, 0, value)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    whole = fp.solve(_problem(rate=3e-4))
    np.testing.assert_array_equal(np.load(value), whole.value)
    print(f"kills survived: {survived}, steps saved at each: {reached}")


def test_what_an_interruption_left_is_waited_for(tmp_path, monkeypatch):
    """Threads that still write a cut-off saving are in the way of the next one."""
    problem = fp.FixedPoint(lambda y, args: 0.5 * jnp.cos(y), jnp.ones(3))
    checkpoint = fp.Checkpoint(tmp_path / "solve", steps=5)
    monkeypatch.setattr(_checkpoint, "_PAUSE", 0.0)
    with _checkpoint.Store(checkpoint, problem) as store:
        save, refused = store._manager.save, [errno.ENOTEMPTY, errno.EEXIST]

        def busy(*args, **options):
            if refused:
                raise OSError(refused.pop(), "in the way")
            return save(*args, **options)

        monkeypatch.setattr(store._manager, "save", busy)
        store.save(5, {"z": jnp.ones(3)})
        assert store.newest == 5 and not refused
        refused += [errno.ENOSPC]
        with pytest.raises(fp.CheckpointError, match="in the way"):
            store.save(10, {"z": jnp.ones(3)})
