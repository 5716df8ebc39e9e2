"""Programs of several processes, one of which is killed."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest


pytestmark = [
    pytest.mark.one_precision,
    pytest.mark.slow,
    pytest.mark.distributed,
]
FOLDER = pathlib.Path(__file__).parents[2] / "examples" / "distributed"
SLOW = """
import sys
import jax, jax.numpy as jnp, numpy as np
import cluster
import fixproj as fp

mesh = cluster.join()
block = lambda i: np.linspace(i, i + 1, 3, dtype=np.float32)
start = cluster.by_blocks(mesh, 4, block, block(0))
problem = fp.FixedPoint(lambda y, args: y + 3e-4 * (jnp.cos(y) - y), start)
checkpoint = fp.Checkpoint(sys.argv[1], steps=200)
for solution in fp.solve_in_chunks(problem, checkpoint=checkpoint):
    cluster.say("step", solution.stats["num_steps"])
total = jax.jit(lambda x: (jnp.sum(x), jnp.max(x)))(solution.value)
if jax.process_index() == 0:
    np.save(sys.argv[2], np.array([float(x) for x in total]))
"""


def _launched(*program, processes=4):
    command = [sys.executable, str(FOLDER / "launch.py"), "--processes", str(processes)]
    return subprocess.Popen(
        [*command, *map(str, program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{FOLDER}:{FOLDER.parents[1]}"},
    )


def _group(mark):
    """The numbers of the processes that carry a mark, by rank."""
    members = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if mark in variables and variable.startswith(b"FIXPROJ_PROCESS="):
                members[int(variable.split(b"=")[1])] = int(entry.name)
    return members


@pytest.mark.kill
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_one_of_four_is_killed(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    mark = f"FIXPROJ_TEST={tmp_path}".encode()
    os.environ["FIXPROJ_TEST"] = str(tmp_path)
    try:
        path, value = tmp_path / "solve", tmp_path / "value.npy"
        running = _launched(script, path, value)
        assert running.stdout is not None
        seen = []
        for line in running.stdout:
            seen.append(line)
            if line.startswith("step") and int(line.split()[1]) >= 600:
                break
        else:
            pytest.fail("".join(seen)[-2000:])
        members = _group(mark)
        assert set(members) == {0, 1, 2, 3}
        start = time.monotonic()
        os.kill(members[2], signal.SIGKILL)
        output, _ = running.communicate(timeout=60)
        assert running.returncode == signal.SIGKILL, output
        assert time.monotonic() - start < 60
        assert "the others were stopped" in output
        assert not _group(mark) and not value.exists()
        again = _launched(script, path, value)
        output, _ = again.communicate(timeout=500)
        assert again.returncode == 0, output
        first = next(x for x in output.splitlines() if x.startswith("step"))
        assert int(first.split()[1]) > 600
        whole = _launched(script, tmp_path / "other", tmp_path / "whole.npy")
        output, _ = whole.communicate(timeout=500)
        assert whole.returncode == 0, output
        np.testing.assert_array_equal(np.load(value), np.load(tmp_path / "whole.npy"))
    finally:
        del os.environ["FIXPROJ_TEST"]


PROGRAMS = {
    "halfspaces.py": (["--count", "4000", "--dimension", "20"], r"is (\S+) away"),
    "lasso.py": (["--rows", "800", "--features", "16"], r"(\d+) of 16 coefficients"),
    "training.py": (["--epochs", "1"], r"accuracy (\S+)"),
    "least_squares.py": (["--examples", "4000"], r"accuracy ([\d.]+)"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_examples_do_not_depend_on_the_processes(program):
    options, pattern = PROGRAMS[program]
    found = []
    for processes in (1, 2):
        run = _launched(FOLDER / program, *options, processes=processes)
        output, _ = run.communicate(timeout=500)
        assert run.returncode == 0, output
        found.append([float(x) for x in re.findall(pattern, output)])
    assert found[0]
    # One example in 360 may fall to the other side of a boundary.
    np.testing.assert_allclose(*found, atol=4e-3)
