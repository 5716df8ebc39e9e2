"""Constrained problems beside scipy: solved to 1e-3 and to 1e-6, and iterations.

The problems of Hock and Schittkowski in tests/hock_schittkowski.py and, the larger and
harder ones, tests/hock_schittkowski_hard.py, from the published starts, in float64.
scipy gets exact derivatives. A problem is solved if objective (relative to
max(1, |value|)) and constraints are that close to the published minimum; a local
minimum does not count. The median of iterations is over those solved to 1e-6.
"""

import argparse
import pathlib
import statistics
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import fixproj as fp
from fixproj import competitive


# The collections are modules of the tests, which import one another by name.
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from hock_schittkowski import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    EQUALITY,
    INEQUALITY,
    compiled,
    error,
    solve,
)
from hock_schittkowski_hard import HARD  # noqa: E402  # pyright: ignore[reportMissingImports]


OURS = {
    "SQP": fp.SQP(),
    "SQP, BFGS": fp.SQP("bfgs"),
    "LagrangianCGA": competitive.LagrangianCGA(),
}
PEERS = ("SLSQP", "trust-constr")


def _scipy(problem, name):
    constraints = []
    for kind, fn in (("eq", problem.equations()), ("ineq", problem.inequalities())):
        if fn is None:
            continue
        plain = lambda x, fn=fn: fn(x, None)
        fun, jac = compiled(plain), compiled(jax.jacfwd(plain))
        if name == "SLSQP":
            constraints.append({"type": kind, "fun": fun, "jac": jac})
        else:
            upper = 0.0 if kind == "eq" else np.inf
            hess = compiled(
                lambda x, v, fn=plain: jax.hessian(lambda x: jnp.vdot(v, fn(x)))(x)
            )
            constraints.append(
                scipy.optimize.NonlinearConstraint(fun, 0.0, upper, jac, hess)  # pyright: ignore[reportArgumentType]
            )
    exact = {} if name == "SLSQP" else {"hess": compiled(jax.hessian(problem.f))}
    options = {"ftol": 1e-12, "maxiter": 1000} if name == "SLSQP" else {"gtol": 1e-9}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scipy.optimize.minimize(
            compiled(problem.f),
            np.asarray(problem.x0, float),
            jac=compiled(jax.grad(problem.f)),
            constraints=constraints,
            method=name,
            options=options,
            **exact,
        )
    return found.x, int(found.nit)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every eighth problem")
    quick = parser.parse_args(arguments).quick
    print("| problems | method | to 1e-3 | to 1e-6 | median iterations |")
    print("|---|---|---|---|---|")
    groups = {"equations": EQUALITY, "inequalities": INEQUALITY, "harder": HARD}
    with jax.enable_x64(True):
        for title, group in groups.items():
            group = group[::8] if quick else group
            for name in (*OURS, *PEERS):
                errors, steps = [], []
                for problem in group:
                    try:
                        if name in OURS:
                            x, count, _ = solve(problem, OURS[name], 1000)
                        else:
                            x, count = _scipy(problem, name)
                    except (ValueError, np.linalg.LinAlgError) as failure:
                        if "nan" not in str(failure).lower():
                            raise
                        continue
                    errors.append(error(problem, x))
                    steps += [count] if errors[-1] <= 1e-6 else []
                rough = sum(e <= 1e-3 for e in errors)
                median = statistics.median(steps) if steps else float("nan")
                print(
                    f"| {title} ({len(group)}) | {name} | {rough} | {len(steps)} "
                    f"| {median:g} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
