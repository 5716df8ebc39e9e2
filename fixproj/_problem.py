"""Problems say what is asked, never how it is solved."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.dtypes
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree

from .projections import Family


class FixedPoint(eqx.Module):
    """Find `y` with `y = fn(y, args)`.

    Args:
        fn: a function of `(y, args)` that returns a pytree with the structure, shapes
            and dtypes of `y`. It may close over arrays, traced ones included, and may
            be a pytree itself (an `equinox.Module`): the solution is differentiable
            with respect to all of them.
        y0: the start, a pytree of real or complex arrays. Python numbers and integer
            arrays become arrays of JAX's default float dtype.
        args: passed on to `fn`: any pytree, integer arrays and PRNG keys included.

    Raises:
        TypeError: if `fn` is not callable, or a leaf of `y0` is not numeric.
        ValueError: on solving, if `fn` returns another structure, shape or dtype.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> solution = fp.solve(fp.FixedPoint(lambda y, args: jnp.cos(y), y0=1.0))
        >>> print(f"{solution.value:.4f}")
        0.7391
    """

    fn: Callable[[PyTree, Any], PyTree]
    y0: PyTree
    args: Any

    def __init__(
        self, fn: Callable[[PyTree, Any], PyTree], y0: PyTree, args: Any = None
    ):
        self.fn = _function("FixedPoint", fn, "fn(y, args) -> y")
        self.y0 = inexact_arrays(y0, "FixedPoint: `y0`")
        self.args = args


class Root(eqx.Module):
    """Find `y` with `fn(y, args) = 0`.

    Args:
        fn: a function of `(y, args)` that returns a pytree with the structure, shapes
            and dtypes of `y`; otherwise as for [`fixproj.FixedPoint`][].
        y0: the start, a pytree of real or complex arrays.
        args: passed on to `fn`.

    Raises:
        TypeError: if `fn` is not callable, or a leaf of `y0` is not numeric.
        ValueError: on solving, if `fn` returns another structure, shape or dtype.

    Examples:
        >>> import fixproj as fp, jax
        >>> def root(c):
        ...     return fp.solve(fp.Root(lambda y, c: y**3 - c, 1.0, c)).value
        >>> print(f"{root(8.0):.3f} {jax.grad(root)(8.0):.4f}")
        2.000 0.0833
    """

    fn: Callable[[PyTree, Any], PyTree]
    y0: PyTree
    args: Any

    def __init__(
        self, fn: Callable[[PyTree, Any], PyTree], y0: PyTree, args: Any = None
    ):
        self.fn = _function("Root", fn, "fn(y, args) -> residual")
        self.y0 = inexact_arrays(y0, "Root: `y0`")
        self.args = args


class Constrained(eqx.Module):
    """Minimise `f(x, args)` subject to `eq(x, args) = 0` and `ineq(x, args) >= 0`.

    The solution carries the multipliers of `f - <eq multipliers, eq> - <ineq
    multipliers, ineq>` in `stats["multipliers"]`, a pair with the fields `eq` and
    `ineq`: how fast the optimal value changes with the right-hand side of a
    constraint. Value and multipliers are differentiable through the
    Karush-Kuhn-Tucker (KKT) conditions.

    Args:
        f: a function of `(x, args)` that returns a real scalar; twice differentiable
            by JAX, like the constraints.
        y0: the start, a pytree of real arrays; it need not meet the constraints.
        eq: a function of `(x, args)` that returns an array, or a pytree of arrays,
            each entry of which has to be 0; None for no equations.
        ineq: likewise, with entries that must not be negative. Bounds are inequalities
            too: `lambda x, args: x - lower`.
        args: passed on to all three.

    Raises:
        TypeError: if a function is not callable, a leaf of `y0` is not real, or, on
            solving, a function does not return real numbers.
        ValueError: on solving, if `f` does not return a scalar, or there are more
            equations than unknowns.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> problem = fp.Constrained(
        ...     lambda x, args: jnp.sum(x**2),
        ...     jnp.zeros(2),
        ...     eq=lambda x, args: x[0] + x[1] - 1,
        ...     ineq=lambda x, args: x[0] - 0.75,
        ... )
        >>> solution = fp.solve(problem)
        >>> print(solution.value, solution.stats["multipliers"].ineq)
        [0.75 0.25] 1.0
    """

    f: Callable[[PyTree, Any], Any]
    y0: PyTree
    eq: Callable[[PyTree, Any], PyTree] | None
    ineq: Callable[[PyTree, Any], PyTree] | None
    args: Any

    def __init__(
        self,
        f: Callable[[PyTree, Any], Any],
        y0: PyTree,
        eq: Callable[[PyTree, Any], PyTree] | None = None,
        ineq: Callable[[PyTree, Any], PyTree] | None = None,
        args: Any = None,
    ):
        for name, fn in (("f", f), ("eq", eq), ("ineq", ineq)):
            if not callable(fn) and (fn is not None or name == "f"):
                raise TypeError(
                    f"Constrained: `{name}` must be a function {name}(x, args), got "
                    f"{type(fn).__name__}."
                )
        self.f, self.eq, self.ineq = f, eq, ineq
        self.y0 = real_arrays(y0, "Constrained: `y0`")
        self.args = args


class Feasibility(eqx.Module):
    """Find a point that lies in every one of the given sets.

    Args:
        sets: one or more sets: anything with a method `project(x)` that returns the
            nearest point (the members of `fixproj.projections` are such). The solution
            is differentiable with respect to their arrays. A
            [`fixproj.projections.Family`][] stands for all its members.
        y0: the start, a pytree of real or complex arrays that every set can project.

    Raises:
        ValueError: if `sets` is empty, or a set cannot project a point of the shape of
            `y0`, or returns another shape or dtype.
        TypeError: if a member of `sets` has no `project`, or a leaf of `y0` is not
            numeric.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> sets = [proj.Halfspace(jnp.array([1.0, 1.0]), 1.0), proj.Box(0.5, 2.0)]
        >>> solution = fp.solve(fp.Feasibility(sets, jnp.zeros(2)))
        >>> print(solution.value)
        [0.5 0.5]
    """

    sets: tuple[Any, ...]
    y0: PyTree

    def __init__(self, sets: Sequence[Any], y0: PyTree):
        if isinstance(sets, eqx.Module) or not isinstance(sets, Sequence):
            raise TypeError(
                "Feasibility: `sets` must be a list or tuple of sets, got "
                f"{type(sets).__name__}."
            )
        if len(sets) == 0:
            raise ValueError("Feasibility: `sets` is empty; at least one is needed.")
        self.sets = tuple(sets)
        self.y0 = inexact_arrays(y0, "Feasibility: `y0`")
        for i, set_ in enumerate(self.sets):
            _check_projection(i, set_, self.y0)

    @property
    def count(self) -> int:
        """The number of sets, all members of families among them."""
        return sum(s.size if isinstance(s, Family) else 1 for s in self.sets)


def _function(owner: str, fn: Any, form: str) -> Callable:
    if not callable(fn):
        raise TypeError(
            f"{owner}: `fn` must be a function {form}, got {type(fn).__name__}."
        )
    return fn


def inexact_arrays(tree: PyTree, name: str) -> PyTree:
    """Every leaf as a real or complex array, or an error that names the leaf."""

    def convert(path, leaf):
        where = f"{name}{jtu.keystr(path)}"
        dtype = getattr(leaf, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
            raise TypeError(
                f"{where} is a PRNG key; an iterate is made of numbers. "
                "Pass keys through `args`."
            )
        try:
            numeric = jnp.issubdtype(jnp.result_type(leaf), jnp.number)
        except (TypeError, ValueError):
            numeric = False
        if not numeric:
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise TypeError(
                f"{where} must be a number or an array of floats, got {kind}."
            )
        array = jnp.asarray(leaf)
        if jnp.issubdtype(array.dtype, jnp.inexact):
            # An explicit dtype drops weak typing, which a loop's carry cannot keep.
            return array.astype(array.dtype)
        return array.astype(float)

    return jtu.tree_map_with_path(convert, tree)


def real_arrays(tree: PyTree, name: str) -> PyTree:
    """`inexact_arrays`, or an error that names a complex leaf."""
    tree = inexact_arrays(tree, name)
    for path, leaf in jtu.tree_leaves_with_path(tree):
        if jnp.iscomplexobj(leaf):
            raise TypeError(
                f"{name}{jtu.keystr(path)} must be real, got {leaf.dtype}. Pass real "
                "and imaginary part as two arrays."
            )
    return tree


def check_same_struct(expected: PyTree, got: PyTree, name: str) -> None:
    """A ValueError naming the first leaf in which two trees of structs differ."""
    expected_structure, got_structure = map(jtu.tree_structure, (expected, got))
    if expected_structure != got_structure:
        raise ValueError(
            f"{name} must return the structure of its input: expected "
            f"{expected_structure}, got {got_structure}."
        )
    for (path, e), (_, g) in zip(
        jtu.tree_leaves_with_path(expected), jtu.tree_leaves_with_path(got), strict=True
    ):
        if (e.shape, e.dtype) != (g.shape, g.dtype):
            raise ValueError(
                f"{name} must return the shapes and dtypes of its input: at leaf "
                f"'{jtu.keystr(path) or '.'}' expected {_describe(e)}, got "
                f"{_describe(g)}."
            )


def _describe(struct) -> str:
    return f"{struct.dtype}[{','.join(map(str, struct.shape))}]"


def _check_projection(index: int, set_: Any, y0: PyTree) -> None:
    name = f"Feasibility: `sets[{index}]` ({type(set_).__name__})"
    project = set_.project_all if isinstance(set_, Family) else None
    project = getattr(set_, "project", project)
    if not callable(project):
        raise TypeError(f"{name} is not a set: it has no method `project(x)`.")
    expected = jax.eval_shape(lambda: y0)
    if isinstance(set_, Family):
        rows = lambda x: jax.ShapeDtypeStruct((set_.size, *x.shape), x.dtype)
        expected = jtu.tree_map(rows, expected)
    try:
        got = jax.eval_shape(project, y0)
    except Exception as error:
        shapes = ", ".join(_describe(x) for x in jtu.tree_leaves(expected))
        raise ValueError(f"{name} cannot project `y0` = {shapes}: {error}") from error
    check_same_struct(expected, got, f"{name}.project")
