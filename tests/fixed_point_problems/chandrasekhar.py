"""Chandrasekhar's H-equation, by the midpoint rule with 100 nodes.

H_i <- 1 / (1 - c/(2N) sum_j mu_i H_j / (mu_i + mu_j)),  mu_i = (i - 1/2) / N.
"""

import numpy as np

from ._problem import Problem, cast, to_numpy


_NODES = 100
_MU = (np.arange(_NODES) + 0.5) / _NODES


def _kernel(albedo):
    return albedo / (2 * _NODES) * _MU[:, None] / (_MU[:, None] + _MU)


def _map(y, args):
    return 1 / (1 - args @ y)


def _problem(name, albedo, steps):
    def make(dtype):
        return _map, *cast((np.ones(_NODES), _kernel(albedo)), dtype)

    def solution(dtype):
        from scipy.optimize import root

        kernel = _kernel(albedo)

        def residual(h):
            return h * (1 - kernel @ h) - 1

        def jacobian(h):
            return np.diag(1 - kernel @ h) - h[:, None] * kernel

        h = root(residual, np.ones(_NODES), jac=jacobian, tol=1e-14).x
        h = h - np.linalg.solve(jacobian(h), residual(h))
        return to_numpy(h, dtype)

    return Problem(
        name=name,
        make=make,
        size=_NODES,
        picard_steps_hint=steps,
        tuned_on=False,
        reference="C. T. Kelley, Iterative Methods for Linear and Nonlinear Equations "
        f"(1995), section 5.6; c = {albedo}",
        solution=solution,
        accuracy=5e-6,
        domain="kernel @ y < 1; has a second, unphysical fixed point; inf at the pole",
    )


PROBLEMS = [
    _problem("chandrasekhar_90", 0.9, 25),
    _problem("chandrasekhar_9999", 0.9999, 505),
]
