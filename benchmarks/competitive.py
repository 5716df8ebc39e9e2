"""Constrained problems beside scipy: solved to 1e-6, and iterations.

The problems of Hock and Schittkowski in tests/hock_schittkowski.py, from the published
starts, in float64. scipy gets exact derivatives. A problem is solved if objective
(relative to max(1, |value|)) and constraints are right to 1e-6; the median of
iterations is over the solved ones.
"""

import argparse
import statistics
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import fixproj as fp
from fixproj import competitive
from tests.hock_schittkowski import EQUALITY, INEQUALITY


OURS = {
    "SQP": fp.SQP(),
    "SQP, BFGS": fp.SQP("bfgs"),
    "LagrangianCGA": competitive.LagrangianCGA(),
}
PEERS = ("SLSQP", "trust-constr")


def _ours(problem, method):
    f = lambda x, args: problem.f(x)
    x0 = jnp.asarray(problem.x0, float)
    posed = fp.Constrained(f, x0, problem.equations(), problem.inequalities())
    solution = fp.solve(posed, method, throw=False, max_steps=1000)
    return np.asarray(solution.value), int(solution.stats["num_steps"]) - 1


def _scipy(problem, name):
    constraints = []
    for kind, fn in (("eq", problem.equations()), ("ineq", problem.inequalities())):
        if fn is None:
            continue
        fun = jax.jit(lambda x, fn=fn: fn(x, None))
        jac = jax.jit(jax.jacfwd(fun))
        if name == "SLSQP":
            constraints.append({"type": kind, "fun": fun, "jac": jac})
        else:
            upper = 0.0 if kind == "eq" else np.inf
            hess = jax.jit(
                lambda x, v, fun=fun: jax.hessian(lambda x: jnp.vdot(v, fun(x)))(x)
            )
            constraints.append(
                scipy.optimize.NonlinearConstraint(fun, 0.0, upper, jac, hess)  # pyright: ignore[reportArgumentType]
            )
    exact = {} if name == "SLSQP" else {"hess": jax.jit(jax.hessian(problem.f))}
    options = {"ftol": 1e-12, "maxiter": 1000} if name == "SLSQP" else {"gtol": 1e-9}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scipy.optimize.minimize(
            jax.jit(problem.f),
            np.asarray(problem.x0, float),
            jac=jax.jit(jax.grad(problem.f)),
            constraints=constraints,
            method=name,
            options=options,
            **exact,
        )
    return found.x, int(found.nit)


def _is_solved(problem, x):
    x = jnp.asarray(x)
    error = abs(float(problem.f(x)) - problem.optimum) / max(1, abs(problem.optimum))
    if problem.eq is not None:
        error = max(error, float(jnp.max(jnp.abs(problem.equations()(x, None)))))
    if problem.inequalities() is not None:
        error = max(error, float(-jnp.min(problem.inequalities()(x, None))))
    return error <= 1e-6


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every fourth problem")
    quick = parser.parse_args(arguments).quick
    print("| problems | method | solved | median iterations |\n|---|---|---|---|")
    with jax.enable_x64(True):
        for title, group in (("equations", EQUALITY), ("inequalities", INEQUALITY)):
            group = group[::4] if quick else group
            for name in (*OURS, *PEERS):
                steps = []
                for problem in group:
                    try:
                        if name in OURS:
                            x, count = _ours(problem, OURS[name])
                        else:
                            x, count = _scipy(problem, name)
                    except (ValueError, np.linalg.LinAlgError):
                        continue
                    if _is_solved(problem, x):
                        steps.append(count)
                median = statistics.median(steps) if steps else float("nan")
                solved = f"{len(steps)} of {len(group)}"
                print(f"| {title} | {name} | {solved} | {median:g} |", flush=True)


if __name__ == "__main__":
    main()
