r"""A parametrised cvxpy problem as a function of its parameters.

cvxpy writes a problem that follows its rules for parameters (DPP) once as

    minimise x'P(t)x/2 + q(t)'x   subject to   A(t)x + b(t) in {0} x R+

where every entry is affine in the parameters t. Agrawal, Amos, Barratt, Boyd, Diamond &
Kolter (2019), Differentiable convex optimization layers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._problem import QuadraticProgram


def from_cvxpy(
    problem: Any,
    parameters: Sequence[Any],
    variables: Sequence[Any],
    solve: Callable[[QuadraticProgram], Any] | None = None,
) -> Callable[..., tuple[Array, ...]]:
    """A JAX function from parameter values to the solution of a cvxpy problem.

    cvxpy only writes the problem down; it is solved and differentiated here, so the
    function can be jitted, batched with `jax.vmap`, and differentiated.

    Args:
        problem: a `cvxpy.Problem` that follows DPP and is a quadratic program: a
            quadratic or piecewise linear cost and linear constraints.
        parameters: its `cvxpy.Parameter`s, all of them, in the order of the function's
            arguments.
        variables: the `cvxpy.Variable`s to return.
        solve: from a [`fixproj.QuadraticProgram`][] to its solution; None is
            [`fixproj.solve`][] with its defaults.

    Returns:
        A function of the parameters' values that returns a tuple with the values of
        `variables`.

    Raises:
        ImportError: if cvxpy is not installed.
        ValueError: if the problem does not follow DPP, is no quadratic program, or the
            parameters or variables are not the problem's.

    Examples:
        >>> import cvxpy as cp, fixproj as fp, jax, jax.numpy as jnp
        >>> x, t = cp.Variable(2), cp.Parameter(2)
        >>> problem = cp.Problem(cp.Minimize(cp.sum_squares(x - t)), [cp.sum(x) == 1])
        >>> project = fp.from_cvxpy(problem, [t], [x])
        >>> with jnp.printoptions(precision=3, suppress=True):
        ...     print(jax.jit(project)(jnp.array([1.0, 0.5]))[0])
        [0.75 0.25]
    """
    import cvxpy as cp

    _check(cp, problem, parameters)
    data, _, _ = problem.get_problem_data(cp.OSQP, solver_opts={})
    cone = data["param_prob"]
    for name in ("lower_bounds", "upper_bounds"):
        if data.get(name) is not None:
            raise ValueError(
                "from_cvxpy: a variable has `bounds=`; write them as constraints."
            )
    n, (equations, rows) = cone.x.size, (data["n_eq"], data["n_eq"] + data["n_ineq"])
    columns = [(p, cone.param_id_to_col.get(p.id)) for p in parameters]
    for p, column in columns:
        if column is None:
            raise ValueError(f"from_cvxpy: parameter {p} was rewritten by cvxpy.")
    places = [(v, cone.var_id_to_col.get(v.id)) for v in variables]
    for v, start in places:
        if start is None:
            raise ValueError(
                f"from_cvxpy: variable {v} is not in the problem, or was rewritten by "
                "cvxpy because of its attributes; write them as constraints."
            )
    maps = [None if m is None else _sparse(m) for m in (cone.P, cone.q, cone.A)]
    size = cone.total_param_size + 1

    def function(*values: Array) -> tuple[Array, ...]:
        if len(values) != len(columns):
            raise ValueError(
                f"from_cvxpy: expected {len(columns)} parameters, got {len(values)}."
            )
        dtype = jnp.result_type(float)
        theta = jnp.zeros((size,), dtype).at[-1].set(1)
        for value, (p, column) in zip(values, columns, strict=True):
            value = jnp.asarray(value).astype(dtype)
            if value.shape != tuple(p.shape):
                raise ValueError(
                    f"from_cvxpy: parameter {p} has shape {tuple(p.shape)}, got "
                    f"{value.shape}."
                )
            flat = value.T.reshape(-1)
            theta = theta.at[column : column + flat.size].set(flat)
        P, q, rows_of = (None if m is None else _apply(m, theta) for m in maps)
        assert q is not None
        P = None if P is None else P.reshape(n, n).T
        if rows_of is None or rows == 0:
            program = QuadraticProgram(P, q[:n])
        else:
            table = rows_of.reshape(n + 1, rows).T
            lower = -table[:, n]
            upper = jnp.where(jnp.arange(rows) < equations, lower, jnp.inf)
            program = QuadraticProgram(P, q[:n], table[:, :n], lower, upper)
        x = (solve or _solve)(program).value
        return tuple(
            x[start : start + v.size].reshape(tuple(v.shape)[::-1]).T
            for v, start in places
        )

    return function


def _solve(program):
    from .._solve import solve

    return solve(program)


def _check(cp, problem, parameters) -> None:
    if not isinstance(problem, cp.Problem):
        raise ValueError(f"from_cvxpy: `problem` must be a cvxpy.Problem: {problem!r}.")
    if not problem.is_dpp():
        raise ValueError(
            "from_cvxpy: the problem does not follow cvxpy's rules for parameters "
            "(`problem.is_dpp()` is false)."
        )
    if not problem.is_qp():
        raise ValueError(
            "from_cvxpy: the problem is no quadratic program (`problem.is_qp()` is "
            "false)."
        )
    given, needed = {p.id for p in parameters}, {p.id for p in problem.parameters()}
    if given != needed:
        raise ValueError(
            f"from_cvxpy: `parameters` must be all of {problem.parameters()}."
        )
    for p in parameters:
        if p.value is None:
            # cvxpy wants values before it writes a problem down; any do.
            p.value = p.project(np.ones(p.shape))


def _sparse(matrix) -> tuple:
    entries = matrix.tocoo()
    return entries.data, entries.row, entries.col, matrix.shape[0]


def _apply(matrix, theta) -> Array:
    data, row, col, size = matrix
    products = jnp.asarray(data, theta.dtype) * theta[np.asarray(col, np.int32)]
    return jnp.zeros((size,), theta.dtype).at[np.asarray(row, np.int32)].add(products)
