"""Timing and memory helpers that every benchmark script shares.

Machines drift: other load, clock frequency, caches. So competitors are timed in turns
(ABAB...), each number is a median, and a ratio is the median of the ratios within a
round, which drift does not touch.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Timings:
    """Seconds per call of several callables, round by round.

    Args:
        samples: For each name, one number per round.
    """

    samples: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Median seconds per call."""
        return statistics.median(self.samples[name])

    def best(self, name: str) -> float:
        """Least seconds per call."""
        return min(self.samples[name])

    def ratio(self, name: str, base: str) -> float:
        """Median over rounds of time of `name` / time of `base` (> 1: slower)."""
        pairs = zip(self.samples[name], self.samples[base], strict=True)
        return statistics.median(a / b for a, b in pairs)


def interleaved(
    callables: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 11,
    least_sample: float = 2e-3,
    budget: float | None = None,
    warm_up: bool = True,
) -> Timings:
    """Times callables in turns.

    Args:
        callables: Functions of no arguments; every JAX array in what they return is
            waited for.
        rounds: Samples per callable.
        least_sample: A callable faster than this many seconds is repeated within a
            sample until the sample lasts as long.
        budget: If given, rounds end early once this many seconds have passed (never
            before the first).
        warm_up: Whether to call each once untimed, to compile. Turn it off if that
            has been done.

    Returns:
        The timings, one sample per callable and round.

    Raises:
        ValueError: If `rounds` is less than 1.

    >>> timings = interleaved({"sum": lambda: sum(range(9))}, rounds=3)
    >>> timings.ratio("sum", "sum")
    1.0
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    start = time.perf_counter()
    trial = {}
    for name, fn in callables.items():
        if warm_up:
            jax.block_until_ready(fn())
        trial[name] = _seconds(fn, 1)
    if budget is not None and sum(trial.values()) > budget:
        return Timings({name: [seconds] for name, seconds in trial.items()})
    repeats = {n: max(1, round(least_sample / max(s, 1e-9))) for n, s in trial.items()}
    samples: dict[str, list[float]] = {name: [] for name in callables}
    for _ in range(rounds):
        for name, fn in callables.items():
            samples[name].append(_seconds(fn, repeats[name]))
        if budget is not None and time.perf_counter() - start > budget:
            break
    return Timings(samples)


def _seconds(fn: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(fn())
    return (time.perf_counter() - start) / repeats


def fresh_process_seconds(setup: str, statement: str) -> float:
    """Time of a statement in a new Python process.

    Args:
        setup: Python code that is not timed.
        statement: Python code that is.

    Raises:
        RuntimeError: If the process fails; with what it wrote to standard error.
    """
    code = "\n".join(
        [
            "import time",
            setup,
            "_start = time.perf_counter()",
            statement,
            "print('seconds', time.perf_counter() - _start)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the timed process failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def first_call_seconds(setup: str, expression: str) -> float:
    """Time of the first evaluation of an expression, mostly compilation.

    Args:
        setup: Python code that is not timed: imports, data, and whatever else should
            be warm. A first trivial JAX computation, which starts the backend, is
            made before it.
        expression: JAX arrays in its value are waited for.

    Raises:
        RuntimeError: If the process fails; with what it wrote to standard error.
    """
    start_backend = "import jax\njax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))"
    return fresh_process_seconds(
        f"{start_backend}\n{setup}", f"jax.block_until_ready({expression})"
    )


def temporary_bytes(fn: Callable, *args: Any) -> int:
    """Bytes of temporary buffers of the compiled `fn(*args)`.

    Raises:
        RuntimeError: If the backend does not report them.
    """
    analysis = jax.jit(fn).lower(*args).compile().memory_analysis()
    if analysis is None:
        raise RuntimeError(f"{jax.default_backend()} does not report memory")
    return analysis.temp_size_in_bytes


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A markdown table; floats get three significant digits, `None` a dash.

    >>> print(markdown_table(["name", "seconds"], [["a", 0.12345], ["b", None]]))
    | name | seconds |
    | ---- | ------- |
    | a    | 0.123   |
    | b    | -       |
    """
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "| " + " | ".join("-" * w for w in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
