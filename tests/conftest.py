"""Every test runs under both precisions; sloppy broadcasting is an error."""

import gc
import os
import signal
from importlib.metadata import version

import jax
import jax.random as jr
import pytest


# Most of a test's time is the compilation of a program that then runs for milliseconds.
# The last flag is of XLA's newer versions; older ones end at a flag they do not know.
_CHEAP = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
if tuple(map(int, version("jaxlib").split(".")[:2])) >= (0, 10):
    _CHEAP += ["--xla_cpu_use_fusion_emitters=false"]
os.environ.setdefault("XLA_FLAGS", " ".join(_CHEAP))
# A run in the background inherits that interrupts are ignored; the tests send some.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Tracing makes objects by the million that live as long as the program.
gc.set_threshold(200_000, 20, 50)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker
    if marker("one_precision") is None:
        second = [pytest.mark.slow] if marker("slow_in_x64") else []
        precisions = [False, pytest.param(True, marks=second)]
        metafunc.parametrize("_x64", precisions, ids=["x32", "x64"], indirect=True)


@pytest.fixture(autouse=True)
def _x64(request):
    with jax.enable_x64(getattr(request, "param", False)):
        yield


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs pile up until the process runs out of memory maps."""
    yield
    jax.clear_caches()


@pytest.fixture
def getkey():
    """A function that returns a fresh PRNG key at every call."""
    counter = iter(range(1 << 30))
    return lambda: jr.key(next(counter))
