"""What a user waits for before the first number: the import and the first call.

Each figure is the median over fresh processes, ours and the peer's in turn:

- `import fixproj` against `import optimistix`;
- the first jitted solve of the fixed point y = cos(y) / 2 of a 3-vector against a bare
  `jax.lax.while_loop` that does the same iteration.
"""

import argparse
import statistics

from benchmarks._timing import (
    first_call_seconds,
    fresh_process_seconds,
    markdown_table,
)


_PROBLEM = """
import jax.numpy as jnp
f = lambda y, args: jnp.cos(y) / 2
y0 = jnp.ones(3)
"""
_OURS = _PROBLEM + "import fixproj as fp"
_BARE = (
    _PROBLEM
    + """
def bare(y):
    def body(carry):
        y, step, _ = carry
        fy = f(y, None)
        return fy, step + 1, jnp.max(jnp.abs(fy - y))
    keep_on = lambda carry: (carry[2] > 1e-6) & (carry[1] < 10_000)
    return jax.lax.while_loop(keep_on, body, (y, 0, jnp.inf))
"""
)
_SOLVE = "fp.solve(fp.FixedPoint(f, y0){}).value"

MEASURES = {
    "import optimistix": lambda: fresh_process_seconds("", "import optimistix"),
    "import fixproj": lambda: fresh_process_seconds("", "import fixproj"),
    "first call, bare loop": lambda: first_call_seconds(_BARE, "jax.jit(bare)(y0)"),
    "first call, Picard": lambda: first_call_seconds(_OURS, _SOLVE.format("")),
    "first call, Anderson": lambda: first_call_seconds(
        _OURS, _SOLVE.format(", iteration=fp.Anderson()")
    ),
}
PAIRS = {
    "import fixproj": ("import optimistix", "< 1.3"),
    "first call, Picard": ("first call, bare loop", "< 3"),
    "first call, Anderson": ("first call, bare loop", None),
}


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time imports and first calls.")
    parser.add_argument("--rounds", type=int, default=7, help="fresh processes each")
    rounds = parser.parse_args(arguments).rounds
    samples = {name: [] for name in MEASURES}
    for _ in range(rounds):
        for name, seconds in MEASURES.items():
            samples[name].append(seconds())
    median = {name: statistics.median(values) for name, values in samples.items()}
    rows = [
        (name, median[name], peer, median[peer], median[name] / median[peer], aim)
        for name, (peer, aim) in PAIRS.items()
    ]
    header = ["what", "seconds", "against", "seconds", "ratio", "aim"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
