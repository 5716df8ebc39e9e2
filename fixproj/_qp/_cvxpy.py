r"""A parametrised cvxpy problem as a function of its parameters.

cvxpy writes a problem that follows its rules for parameters (DPP) once as

    minimise x'P(t)x/2 + q(t)'x   subject to   A(t)x + b(t) in K

where every entry is affine in the parameters t and K is a product of cones. Agrawal,
Amos, Barratt, Boyd, Diamond & Kolter (2019), Differentiable convex optimization layers.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.experimental import sparse as jsparse
from jaxtyping import Array, Float, Int

from ..projections import (
    ExponentialCone,
    NonNegative,
    PowerCone,
    PSDCone,
    SecondOrderCone,
    ZeroCone,
)
from ._conic import ConicProgram
from ._problem import QuadraticProgram


def from_cvxpy(
    problem: Any,
    parameters: Sequence[Any],
    variables: Sequence[Any],
    solve: Callable[[Any], Any] | None = None,
) -> Callable[..., tuple[Array, ...]]:
    """A JAX function from parameter values to the solution of a cvxpy problem.

    cvxpy only writes the problem down; it is solved and differentiated here, so the
    function can be jitted, batched with `jax.vmap`, and differentiated. With linear
    constraints only it becomes a [`fixproj.QuadraticProgram`][], otherwise a
    [`fixproj.ConicProgram`][]; both with sparse matrices.

    Args:
        problem: a convex `cvxpy.Problem` that follows DPP and has no integer variables.
        parameters: its `cvxpy.Parameter`s, all of them, in the order of the function's
            arguments.
        variables: the `cvxpy.Variable`s to return.
        solve: from the program to its solution; None is [`fixproj.solve`][] with its
            defaults.

    Returns:
        A function of the parameters' values that returns a tuple with the values of
        `variables`. Of a parameter that is declared symmetric, diagonal or sparse, only
        the upper triangle, the diagonal, or the entries declared are looked at.

    Raises:
        ImportError: if cvxpy is not installed.
        ValueError: if the problem does not follow DPP, has integer variables, or the
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
    # The form of SCS is that of ConicProgram; SCS itself is not run.
    data, chain, _ = problem.get_problem_data(cp.SCS, solver_opts={})
    form, dims = data["param_prob"], data["dims"]
    reduced_parameters, reduced_variables = {}, {}
    for reduction in chain.reductions:
        reduced_parameters |= getattr(reduction, "_parameters", {})
        reduced_variables |= getattr(reduction, "_variables", {})
    columns = [
        form.param_id_to_col[reduced_parameters.get(p, p).id] for p in parameters
    ]
    places = []
    for v in variables:
        lowered = reduced_variables.get(v, v)
        start = form.var_id_to_col.get(lowered.id)
        if start is None:
            raise ValueError(f"from_cvxpy: variable {v} is not in the problem.")
        places.append((v, start))
    n = form.x.size
    program = _Form(
        None if form.P is None else _Affine.of(form.P),
        _Affine.of(form.q),
        _Affine.of(_with_whole_matrices(form.A, dims, n)),
        _cones(dims),
        n,
    )
    size = form.total_param_size + 1

    def function(*values: Array) -> tuple[Array, ...]:
        if len(values) != len(columns):
            raise ValueError(
                f"from_cvxpy: expected {len(columns)} parameters, got {len(values)}."
            )
        dtype = jnp.result_type(float)
        theta = jnp.zeros((size,), dtype).at[-1].set(1)
        for value, p, column in zip(values, parameters, columns, strict=True):
            value = jnp.asarray(value).astype(dtype)
            if value.shape != tuple(p.shape):
                raise ValueError(
                    f"from_cvxpy: parameter {p} has shape {tuple(p.shape)}, got "
                    f"{value.shape}."
                )
            flat = _lowered(p, value)
            theta = theta.at[column : column + flat.size].set(flat)
        x = (solve or _solve)(program.at(theta)).value
        return tuple(_raised(v, x[start:]) for v, start in places)

    return function


class _Affine(eqx.Module):
    """Numbers that are affine in the parameters, at those places that have any."""

    weight: Float[np.ndarray, " e"]
    parameter: Int[np.ndarray, " e"]
    slot: Int[np.ndarray, " e"]
    place: Int[np.ndarray, " k"]

    @staticmethod
    def of(tensor: Any) -> "_Affine":
        """From a matrix with a row for every place and a column for every parameter."""
        entries = sp.coo_array(tensor)
        place, slot = np.unique(entries.row, return_inverse=True)
        return _Affine(entries.data, entries.col, slot, place)

    def at(self, theta: Float[Array, " t"]) -> Float[Array, " k"]:
        """The numbers."""
        products = jnp.asarray(self.weight, theta.dtype) * theta[self.parameter]
        return jnp.zeros((self.place.size,), theta.dtype).at[self.slot].add(products)


class _Form(eqx.Module):
    """The program as a function of the parameters; matrices column by column."""

    P: _Affine | None
    q: _Affine
    A: _Affine
    cones: list[tuple[Any, tuple[int, ...]]]
    n: int = eqx.field(static=True)

    def at(self, theta: Float[Array, " t"]) -> QuadraticProgram | ConicProgram:
        """The program for the values `theta`, which end with a 1."""
        n = self.n
        P = None
        if self.P is not None:
            P = _bcoo(self.P.at(theta), self.P.place % n, self.P.place // n, (n, n))
        q = jnp.zeros((n + 1,), theta.dtype).at[self.q.place].set(self.q.at(theta))[:n]
        m = sum(int(np.prod(shape)) for _, shape in self.cones)
        if m == 0:
            return QuadraticProgram(P, q)
        row, column = self.A.place % m, self.A.place // m
        entries, inside = self.A.at(theta), column < n
        # cvxpy has Ax + b in K.
        A = _bcoo(-entries[inside], row[inside], column[inside], (m, n))
        b = jnp.zeros((m,), theta.dtype).at[row[~inside]].set(entries[~inside])
        linear = (ZeroCone, NonNegative)
        if not all(isinstance(cone, linear) for cone, _ in self.cones):
            return ConicProgram(P, q, A, b, self.cones)
        equations = sum(s[0] for c, s in self.cones if isinstance(c, ZeroCone))
        lower = jnp.where(np.arange(m) < equations, b, -jnp.inf)
        return QuadraticProgram(P, q, A, lower, b)


def _bcoo(data: Array, row: np.ndarray, column: np.ndarray, shape) -> jsparse.BCOO:
    # Places stay known inside of `jit`, so that the solver can plan by them.
    with jax.ensure_compile_time_eval():
        places = jnp.asarray(np.stack([row, column], axis=1), jnp.int32)
    return jsparse.BCOO((data, places), shape=shape)


def _cones(dims: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """The cones in the order of the rows, equal ones together."""
    cones: list[tuple[Any, tuple[int, ...]]] = []
    cones += [(ZeroCone(), (int(dims.zero),))] if dims.zero else []
    cones += [(NonNegative(), (int(dims.nonneg),))] if dims.nonneg else []
    for size, equal in itertools.groupby(map(int, dims.soc)):
        cones.append((SecondOrderCone(), (len(list(equal)), size)))
    for size, equal in itertools.groupby(map(int, dims.psd)):
        cones.append((PSDCone(), (len(list(equal)), size, size)))
    cones += [(ExponentialCone(), (int(dims.exp), 3))] if dims.exp else []
    alphas = np.asarray(dims.p3d, float)
    cones += [(PowerCone(alphas), (alphas.size, 3))] if alphas.size else []
    return cones


def _with_whole_matrices(A: Any, dims: Any, n: int) -> sp.coo_array:
    """Rows for every entry of a semidefinite matrix.

    cvxpy has them for the lower triangle, column by column, times sqrt(2) off the
    diagonal.
    """
    before = int(dims.zero + dims.nonneg + sum(dims.soc))
    after = 3 * int(dims.exp) + 3 * len(dims.p3d)
    blocks = [sp.eye_array(before)]
    for size in map(int, dims.psd):
        column, row = np.triu_indices(size)
        k = np.arange(row.size)
        weight = np.where(row == column, 1, np.sqrt(0.5))
        off = row != column
        places = np.concatenate([row * size + column, (column * size + row)[off]])
        entries = (
            np.concatenate([weight, weight[off]]),
            (
                places,
                np.concatenate([k, k[off]]),
            ),
        )
        blocks.append(sp.csr_array(entries, shape=(size**2, row.size)))
    whole: Any = sp.csr_array(sp.block_diag([*blocks, sp.eye_array(after)]))
    m, size = whole.shape[1], A.shape[1]
    entries = sp.coo_array(A)
    # (rows, columns and parameters), to act on the rows alone.
    row, column = entries.row.astype(np.int64) % m, entries.row.astype(np.int64) // m
    flat: Any = sp.csr_array(
        (entries.data, (row, column * size + entries.col)), shape=(m, (n + 1) * size)
    )
    moved = sp.coo_array(whole @ flat)
    column, parameter = moved.col.astype(np.int64) // size, moved.col % size
    rows = moved.row + whole.shape[0] * column
    shape = (whole.shape[0] * (n + 1), size)
    return sp.coo_array((moved.data, (rows, parameter)), shape=shape)


def _is_symmetric(leaf: Any) -> bool:
    return any(leaf.attributes[name] for name in ("symmetric", "PSD", "NSD"))


def _lowered(parameter: Any, value: Array) -> Array:
    """The entries that cvxpy keeps of a parameter."""
    if _is_symmetric(parameter):
        return value[np.triu_indices(value.shape[-1])]
    if parameter.attributes["diag"]:
        return jnp.diagonal(value)
    if parameter.attributes["sparsity"]:
        return value[parameter.sparse_idx]
    return value.T.reshape(-1)


def _raised(variable: Any, x: Array) -> Array:
    """A variable from the entries of it that cvxpy keeps, with which `x` begins."""
    shape = tuple(variable.shape)
    if _is_symmetric(variable):
        upper = np.triu_indices(shape[-1])
        half = jnp.zeros(shape, x.dtype).at[upper].set(x[: upper[0].size])
        return half + jnp.triu(half, 1).T
    if variable.attributes["diag"]:
        return jnp.diag(x[: shape[0]])
    if variable.attributes["sparsity"]:
        places = variable.sparse_idx
        return jnp.zeros(shape, x.dtype).at[places].set(x[: len(places[0])])
    return x[: variable.size].reshape(shape[::-1]).T


def _solve(program):
    from .._solve import solve

    return solve(program)


def _check(cp: Any, problem: Any, parameters: Sequence[Any]) -> None:
    if not isinstance(problem, cp.Problem):
        raise ValueError(f"from_cvxpy: `problem` must be a cvxpy.Problem: {problem!r}.")
    if not problem.is_dcp(dpp=True):
        raise ValueError(
            "from_cvxpy: the problem is not convex by cvxpy's rules, or does not "
            "follow those for parameters (`problem.is_dcp(dpp=True)` is false)."
        )
    if problem.is_mixed_integer():
        raise ValueError("from_cvxpy: the problem has integer or boolean variables.")
    given, needed = {p.id for p in parameters}, {p.id for p in problem.parameters()}
    if given != needed:
        raise ValueError(
            f"from_cvxpy: `parameters` must be all of {problem.parameters()}."
        )
    for leaf in [*problem.parameters(), *problem.variables()]:
        if leaf.ndim > 2 and _is_symmetric(leaf):
            raise ValueError(f"from_cvxpy: {leaf} is a batch of symmetric matrices.")
    for p in parameters:
        if p.value is None:
            # cvxpy wants values before it writes a problem down; any do.
            p.value = p.project(np.ones(p.shape))
