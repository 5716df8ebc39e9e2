"""The same answers on one device, on eight, and on four processes."""

import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest


pytestmark = pytest.mark.one_precision
DEVICES = "--xla_force_host_platform_device_count="


def _start(*arguments, devices):
    environment = {**os.environ, "XLA_FLAGS": f"{DEVICES}{devices}"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(*processes):
    outputs = [process.communicate(timeout=600) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in outputs]


def _coordinator():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "answers.npz"
    _finish(_start("-m", "tests.scale.workloads", path, devices=1))
    return np.load(path)


def _assert_same(found, alone):
    assert set(found) == set(alone)
    for name in set(alone) - {"devices", "processes"}:
        np.testing.assert_allclose(found[name], alone[name], atol=3e-6, err_msg=name)


@pytest.mark.slow
def test_eight_devices(alone, tmp_path):
    path = tmp_path / "answers.npz"
    _finish(_start("-m", "tests.scale.workloads", path, devices=8))
    found = np.load(path)
    assert found["devices"] == 8 and alone["devices"] == 1
    _assert_same(found, alone)


@pytest.mark.slow
@pytest.mark.distributed
def test_four_processes(alone, tmp_path):
    path, coordinator = tmp_path / "answers.npz", _coordinator()
    run = ("-m", "tests.scale.workloads", path, coordinator, 4)
    _finish(*(_start(*run, rank, devices=1) for rank in range(4)))
    found = np.load(path)
    assert found["processes"] == 4 and found["devices"] == 4
    _assert_same(found, alone)


COMMUNICATION = """
import jax, jax.numpy as jnp
from jax.sharding import Mesh
from tests.scale import workloads

mesh = Mesh(jax.devices(), ("rows",))
problem = workloads.halfspaces(mesh, count=64, n=20)
print(jax.jit(workloads.feasible_point).lower(*problem).compile().as_text())
"""


def _computations(text):
    """The lines of every computation of a compiled program, by name."""
    out, name = {}, None
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if head:
            name = head.group(1)
            out[name] = []
        elif name is not None:
            out[name].append(line)
    return out


def _inside(name, computations, seen):
    """A computation and all that it calls."""
    if name in computations and name not in seen:
        seen.add(name)
        for line in computations[name]:
            for called in re.findall(r"=%?([\w.\-]+)", line):
                _inside(called, computations, seen)
            for branches in re.findall(r"branch_computations=\{([^}]*)\}", line):
                for called in branches.replace("%", "").split(", "):
                    _inside(called, computations, seen)
    return seen


def test_one_all_reduce_an_iteration():
    """Of the point and of the length of the long step, together.

    What else is sent is sent once, when the iteration has ended: how far the sets are.
    """
    (text,) = _finish(_start("-c", COMMUNICATION, devices=8))
    computations = _computations(text)
    loops = set()
    for body in re.findall(r"body=%?([\w.\-]+)", text):
        _inside(body, computations, loops)
    loop = [line for name in loops for line in computations[name]]
    talks = [
        line for line in loop if re.search(r" (all|reduce|collective)-\w+\(", line)
    ]
    step = "/".join(["while", "body"] * 3)
    talks = [line for line in talks if step in line]
    assert len(talks) == 1, talks
    assert " all-reduce(" in talks[0] and "f32[20]" in talks[0]
