"""What a user waits for before the first number: the import and the first call.

Each figure is the median over fresh processes, ours and the peer's in turn:

- `import fixproj` against `import optimistix`;
- the first jitted solve of the fixed point y = cos(y) / 2 of a 3-vector against a bare
  `jax.lax.while_loop` that does the same iteration.
"""

import argparse
import statistics
import subprocess
import sys


_CALL = """
import time, jax, jax.numpy as jnp
{imports}
y0 = jnp.ones(3)
f = lambda y, args: jnp.cos(y) / 2
jax.block_until_ready(y0 + 1)
start = time.perf_counter()
jax.block_until_ready({call})
print(time.perf_counter() - start)
"""

_BARE = """
def bare(y):
    def body(carry):
        y, step, _ = carry
        fy = f(y, None)
        return fy, step + 1, jnp.max(jnp.abs(fy - y))
    keep_on = lambda carry: (carry[2] > 1e-6) & (carry[1] < 10_000)
    return jax.lax.while_loop(keep_on, body, (y, 0, jnp.inf))
"""


def _import_of(module):
    return f"""
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


SCRIPTS = {
    "import optimistix": _import_of("optimistix"),
    "import fixproj": _import_of("fixproj"),
    "first call, bare while_loop": _CALL.format(
        imports=_BARE, call="jax.jit(bare)(y0)"
    ),
    "first call, Picard": _CALL.format(
        imports="import fixproj as fp", call="fp.solve(fp.FixedPoint(f, y0)).value"
    ),
    "first call, Anderson": _CALL.format(
        imports="import fixproj as fp",
        call="fp.solve(fp.FixedPoint(f, y0), iteration=fp.Anderson()).value",
    ),
}
PAIRS = {
    "import fixproj": ("import optimistix", 1.3),
    "first call, Picard": ("first call, bare while_loop", 3.0),
    "first call, Anderson": ("first call, bare while_loop", None),
}


def measure(rounds):
    """Median seconds of every script, run in turn in fresh processes."""
    seconds = {name: [] for name in SCRIPTS}
    for _ in range(rounds):
        for name, script in SCRIPTS.items():
            done = subprocess.run(
                [sys.executable, "-c", script], capture_output=True, text=True
            )
            if done.returncode != 0:
                raise RuntimeError(f"{name} failed:\n{done.stderr}")
            seconds[name].append(float(done.stdout))
    return {name: statistics.median(values) for name, values in seconds.items()}


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(arguments).rounds
    seconds = measure(rounds)
    print("| what | seconds | against | ratio | aim |")
    print("|---|---|---|---|---|")
    for name, (peer, aim) in PAIRS.items():
        ratio = seconds[name] / seconds[peer]
        aim = "" if aim is None else f"< {aim}"
        print(
            f"| {name} | {seconds[name]:.3f} | {peer} ({seconds[peer]:.3f}) "
            f"| {ratio:.2f} | {aim} |"
        )


if __name__ == "__main__":
    main()
