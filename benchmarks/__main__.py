"""Run the benchmarks and write what they print to `benchmarks/RESULTS.md`.

`python -m benchmarks` runs the short form of each, `--full` the long one, and `--only
"Cones"` renews one section: each says when and on what it was measured, how long it
took, and how long its processes were busy, which other load changes less. The short
forms take less than a quarter of an hour together, on two cores.
"""

import argparse
import contextlib
import datetime
import io
import os
import pathlib
import platform
import re
import resource
import sys
import time

import jax

from benchmarks import (
    competitive,
    competitive_cost,
    composite,
    cones,
    conic,
    feasibility,
    first_call,
    fixed_point,
    implicit,
    methods,
    mgd,
    module,
    nearest_correlation,
    projections,
    projections_neuron,
    projections_parallel,
    projections_training,
    qp,
    zorb,
)


class _Tee(io.StringIO):
    """Keeps what is printed, and shows it."""

    def __init__(self, screen):
        super().__init__()
        self._screen = screen

    def write(self, s, /):
        self._screen.write(s)
        self._screen.flush()
        return super().write(s)


SECTIONS = {
    "Import and first call": (first_call, ["--rounds", "3"], ["--rounds", "15"]),
    "Fixed-point iterations": (fixed_point, ["--quick"], []),
    "Gradients": (implicit, ["--quick"], ["--full"]),
    "Feasibility": (feasibility, ["--quick"], []),
    "Methods for sets": (methods, ["--quick"], []),
    "Nearest correlation matrices": (nearest_correlation, ["--quick"], []),
    "Composite problems": (composite, ["--quick"], []),
    "Cones": (cones, ["--quick"], []),
    "Modules": (module, ["--rounds", "31"], ["--rounds", "101"]),
    "Quadratic programs": (qp, ["--quick"], []),
    "Conic programs": (conic, ["--quick"], []),
    "Constrained problems": (competitive, ["--quick"], []),
    "Competitive steps": (competitive_cost, ["--quick"], ["--rounds", "31"]),
    "Projections": (projections, ["--quick"], []),
    "Training by projections": (projections_training, [], ["--full"]),
    "Neurons as constraints": (projections_neuron, ["--cost"], []),
    "All layers at once": (projections_parallel, [], []),
    "Training by least squares": (zorb, ["--quick"], []),
    "Multiplexed gradient descent": (
        mgd,
        ["--rounds", "3", "--methods", "weights", "nodes", "backpropagation"],
        ["--seeds", "3", "--passes", "11700", "100000"],
    ),
}
RESULTS = pathlib.Path(__file__).with_name("RESULTS.md")


def main():
    """Run the sections in turn; what was measured is kept whenever the run ends."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("--full", action="store_true", help="take the time it needs")
    parser.add_argument(
        "--only", action="append", choices=list(SECTIONS), help="renew these sections"
    )
    arguments = parser.parse_args()
    for title in arguments.only or SECTIONS:
        written = _read_sections()
        written[title] = _measure(title, arguments.full)
        _write_sections(written)
    print(f"\nWrote {RESULTS.relative_to(pathlib.Path.cwd())}")


def _measure(title: str, full: bool) -> str:
    script, short, long = SECTIONS[title]
    tee = _Tee(sys.stdout)
    start, busy = time.perf_counter(), _busy()
    with contextlib.redirect_stdout(tee):
        print(f"{(script.__doc__ or '').strip()}\n")
        script.main(long if full else short)
    seconds, busy = time.perf_counter() - start, _busy() - busy
    origin = (
        f"*{'Long' if full else 'Short'} form, {datetime.date.today()}, "
        f"{os.cpu_count()} cores ({platform.machine()}), "
        f"{jax.default_backend()} backend, jax {jax.__version__}, "
        f"Python {platform.python_version()}; took {seconds:.0f} s, "
        f"busy {busy:.0f} s.*"
    )
    return f"{origin}\n\n{tee.getvalue().strip()}"


def _busy() -> float:
    """Seconds that this process and those it started were busy, on all cores."""
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    found = map(resource.getrusage, kinds)
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def _read_sections() -> dict[str, str]:
    """The sections that have been measured, by title."""
    if not RESULTS.exists():
        return {}
    parts = re.split(r"^## (.+)\n", RESULTS.read_text(), flags=re.MULTILINE)[1:]
    sections = zip(parts[::2], parts[1::2], strict=True)
    return {title: text.strip() for title, text in sections}


def _write_sections(written: dict[str, str]) -> None:
    pages = [
        f"## {title}\n\n{written[title]}" for title in SECTIONS if title in written
    ]
    RESULTS.write_text("\n\n".join(["# Measured", *pages]) + "\n")


if __name__ == "__main__":
    main()
