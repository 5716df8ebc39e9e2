"""Run the benchmarks and write what they print to `benchmarks/RESULTS.md`.

`python -m benchmarks` runs the short form of each, `--full` the long one.
"""

import argparse
import contextlib
import datetime
import io
import os
import pathlib
import platform
import sys

import jax

from benchmarks import (
    competitive,
    cones,
    feasibility,
    first_call,
    fixed_point,
    implicit,
    mgd,
    module,
    projections,
    qp,
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
    "Import and first call": (first_call, ["--rounds", "5"], ["--rounds", "15"]),
    "Fixed-point iterations": (fixed_point, ["--quick"], []),
    "Gradients": (implicit, [], ["--full"]),
    "Feasibility": (feasibility, ["--quick"], []),
    "Cones": (cones, ["--quick"], []),
    "Modules": (module, ["--rounds", "31"], ["--rounds", "101"]),
    "Quadratic programs": (qp, ["--quick"], []),
    "Constrained problems": (competitive, ["--quick"], []),
    "Projections": (projections, ["--quick"], []),
    "Multiplexed gradient descent": (
        mgd,
        ["--rounds", "5"],
        ["--seeds", "3", "--passes", "11700", "100000"],
    ),
}
RESULTS = pathlib.Path(__file__).with_name("RESULTS.md")


def main():
    """Run all sections in turn."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("--full", action="store_true", help="take the time it needs")
    full = parser.parse_args().full
    pages = [
        "# Measured\n\n"
        f"`make bench{'-full' if full else ''}`, {datetime.date.today()}, "
        f"{os.cpu_count()} cores ({platform.machine()}), "
        f"{jax.default_backend()} backend, jax {jax.__version__}, "
        f"Python {platform.python_version()}.\n"
    ]
    for title, (script, short, long) in SECTIONS.items():
        tee = _Tee(sys.stdout)
        with contextlib.redirect_stdout(tee):
            print(f"\n## {title}\n\n{(script.__doc__ or '').strip()}\n")
            script.main(long if full else short)
        pages.append(tee.getvalue())
    RESULTS.write_text("".join(pages))
    print(f"\nWrote {RESULTS.relative_to(pathlib.Path.cwd())}")


if __name__ == "__main__":
    main()
