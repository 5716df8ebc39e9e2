"""Other solvers of quadratic programs, behind one call.

Each takes `minimise x'Px/2 + q'x, lower <= Ax <= upper` with sparse matrices and gives
x and the multipliers of the rows, positive at an upper bound.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp


STEPS = 100_000
TOLERANCE = 1e-8


class Sides:
    """The rows as equations and one-sided inequalities `Gx <= h`."""

    def __init__(self, A: Any, lower: np.ndarray, upper: np.ndarray):
        A = sp.csr_array(A)
        self.equal = lower == upper
        self.up, self.low = (
            np.isfinite(b) & ~self.equal & (np.abs(b) < 1e18) for b in (upper, lower)
        )
        self.A, self.b = A[self.equal], upper[self.equal]
        self.G = sp.vstack([A[self.up], -A[self.low]])
        self.h = np.concatenate([upper[self.up], -lower[self.low]])

    def rows(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The multipliers of the rows."""
        out, k = np.zeros(self.equal.size), int(self.up.sum())
        out[self.equal] = y
        out[self.up] += z[:k]
        out[self.low] -= z[k:]
        return out


def by_fixproj(P, q, A, lower, upper, seconds):
    """`InteriorPoint`, at most 200 steps."""
    import fixproj as fp

    program = fp.QuadraticProgram(P, q, A, lower, upper)
    solution = fp.solve(program, throw=False, max_steps=200)
    return np.asarray(solution.value), np.asarray(solution.stats["dual"])


def by_splitting(P, q, A, lower, upper, seconds):
    """`OperatorSplitting`."""
    import fixproj as fp

    program = fp.QuadraticProgram(P, q, A, lower, upper)
    method = fp.OperatorSplitting()
    solution = fp.solve(program, method, throw=False, max_steps=STEPS // 5)
    return np.asarray(solution.value), np.asarray(solution.stats["dual"])


def by_osqp(P, q, A, lower, upper, seconds, eps: float = TOLERANCE):
    """With polish."""
    import osqp

    solver = osqp.OSQP()
    solver.setup(
        sp.csc_matrix(sp.triu(P)),
        q,
        sp.csc_matrix(A),
        lower,
        upper,
        eps_abs=eps,
        eps_rel=eps,
        max_iter=STEPS,
        time_limit=seconds,
        polishing=True,
        verbose=False,
    )
    found = solver.solve(raise_error=False)
    return found.x, found.y


def by_scs(P, q, A, lower, upper, seconds):
    """Equations and one-sided inequalities."""
    import scs

    sides = Sides(A, lower, upper)
    data = {
        "P": sp.csc_matrix(sp.triu(P)),
        "c": q,
        "A": sp.csc_matrix(sp.vstack([sides.A, sides.G])),
        "b": np.concatenate([sides.b, sides.h]),
    }
    cone = {"z": sides.b.size, "l": sides.h.size}
    solver = scs.SCS(
        data,
        cone,
        eps_abs=TOLERANCE,
        eps_rel=TOLERANCE,
        max_iters=STEPS,
        time_limit_secs=seconds,
        verbose=False,
    )
    found = solver.solve()
    y = found["y"]
    return found["x"], sides.rows(y[: sides.b.size], y[sides.b.size :])


def by_clarabel(P, q, A, lower, upper, seconds):
    """With its default tolerances, 1e-8."""
    import clarabel as module

    clarabel: Any = module
    sides = Sides(A, lower, upper)
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.time_limit = False, seconds
    cones = [
        clarabel.ZeroConeT(sides.b.size),
        clarabel.NonnegativeConeT(sides.h.size),
    ]
    rows = sp.csc_matrix(sp.vstack([sides.A, sides.G]))
    b = np.concatenate([sides.b, sides.h])
    P = sp.csc_matrix(sp.triu(P))
    found = clarabel.DefaultSolver(P, q, rows, b, cones, settings).solve()
    z = np.asarray(found.z)
    return np.asarray(found.x), sides.rows(z[: sides.b.size], z[sides.b.size :])


def by_box_osqp(P, q, A, lower, upper, seconds):
    """jaxopt's, with LU factorisations."""
    import jax.numpy as jnp
    import jaxopt

    solver = jaxopt.BoxOSQP(tol=1e-7, maxiter=4000, eq_qp_solve="lu")
    found = solver.run(
        params_obj=(jnp.asarray(P.toarray()), jnp.asarray(q)),
        params_eq=jnp.asarray(A.toarray()),
        params_ineq=(jnp.asarray(lower), jnp.asarray(upper)),
    ).params
    return np.asarray(found.primal[0]), np.asarray(found.dual_eq)


def by_qpax(P, q, A, lower, upper, seconds):
    """With its default settings but for the tolerance."""
    import jax.numpy as jnp
    import qpax  # pyright: ignore[reportMissingImports]

    sides = Sides(A, lower, upper)
    parts = P.toarray(), q, sides.A.toarray(), sides.b, sides.G.toarray(), sides.h
    x, _, z, y, *_ = qpax.solve_qp(*map(jnp.asarray, parts), solver_tol=TOLERANCE)
    return np.asarray(x), sides.rows(np.asarray(y), np.asarray(z))


SOLVERS = {
    "fixproj": by_fixproj,
    "OperatorSplitting": by_splitting,
    "OSQP": by_osqp,
    "SCS": by_scs,
    "Clarabel": by_clarabel,
    "jaxopt.BoxOSQP": by_box_osqp,
    "qpax": by_qpax,
}
DENSE = "jaxopt.BoxOSQP", "qpax"
