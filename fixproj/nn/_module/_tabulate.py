"""What a model is made of: as plain data, and as a table."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fixproj.nn._module._calls import watching
from fixproj.nn._module._filter import field_infos
from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._module import Module


def summary(model: PyTree, *inputs: Any, **options: Any) -> list[dict[str, Any]]:
    """The modules of a model, outermost first, as data that `json` can write.

    Args:
        model: a module, or any pytree.
        inputs: what it is called with, arrays or `jax.ShapeDtypeStruct`s. Without
            them, inputs and outputs are not listed.
        options: keyword arguments of that call.

    Returns:
        One dictionary per module with "path", "type", "training", "frozen", "inputs",
        "outputs", "leaves" (path, kind, shape, dtype and bytes of its own) and "kinds"
        (count and bytes per kind, of everything inside).

    Examples:
        >>> from fixproj import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).init(0)
        >>> [row["kinds"]["Parameter"]["count"] for row in nn.summary(model)]
        [13, 9, 4]
    """
    calls = _Shapes()
    if inputs or options:
        with watching(calls):
            y = []
            jax.eval_shape(lambda i: y.append(model(*i, **options)), inputs)
        if not isinstance(model, Module):
            calls.add(model, inputs, y[0])
    leaves = [
        _leaf_row(info, leaf)
        for info, leaf in zip(field_infos(model), jax.tree.leaves(model), strict=True)
    ]
    rows = []
    for path, module in _modules(model):
        inside = [row for row in leaves if _is_inside(row["path"], path)]
        children = [p for p, _ in _modules(model) if p != path and _is_inside(p, path)]
        own = [
            row
            for row in inside
            if not any(_is_inside(row["path"], child) for child in children)
        ]
        called = calls.found.get(id(module), (None, None))
        rows.append(
            {
                "path": path,
                "type": type(module).__name__,
                "training": bool(getattr(module, "training", False)),
                "frozen": bool(getattr(module, "frozen", False)),
                "inputs": called[0],
                "outputs": called[1],
                "leaves": own,
                "kinds": _totals(inside),
            }
        )
    return rows


def tabulate(
    model: PyTree,
    *inputs: Any,
    depth: int | None = None,
    width: int = 100,
    **options: Any,
) -> str:
    """A table of the modules of a model.

    Args:
        model: a module, or any pytree.
        inputs: what it is called with, to list the shapes of inputs and outputs.
        depth: how many levels of modules to list; None for all.
        width: of the table, in characters.
        options: keyword arguments of the call.

    Returns:
        The table as text, with path, type, shapes and, per kind, number and bytes.

    Raises:
        ImportError: if rich is not installed.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> model = nn.MLP([8, 2]).init(0, jnp.ones((1, 3)))
        >>> "[1,3]" in nn.tabulate(model, jnp.ones((1, 3)))
        True
    """
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
    except ImportError as error:
        raise ImportError(
            "nn.tabulate needs rich: pip install 'fixproj[nn]'; nn.summary does not."
        ) from error
    rows = summary(model, *inputs, **options)
    shown = [r for r in rows if depth is None or _depth(r["path"], rows) <= depth]
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["kinds"]))
    with_calls = bool(inputs or options)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
    table.add_column("path", footer="total", overflow="fold")
    table.add_column("type", overflow="fold")
    if with_calls:
        table.add_column("inputs", overflow="fold")
        table.add_column("outputs", overflow="fold")
    table.add_column("leaves", overflow="fold")
    for kind in kinds:
        total = rows[0]["kinds"].get(kind) if rows else None
        table.add_column(kind, footer=_amount(total), justify="right")
    for row in shown:
        frozen = " (frozen)" if row["frozen"] else ""
        cells = [row["path"] or "model", row["type"] + frozen]
        if with_calls:
            cells += [row["inputs"] or "", row["outputs"] or ""]
        prefix = len(row["path"])
        cells.append(
            "\n".join(
                f"{leaf['path'][prefix:].lstrip('.')}: {leaf['type']}"
                for leaf in row["leaves"]
            )
        )
        cells += [_amount(row["kinds"].get(kind)) for kind in kinds]
        # Square brackets are rich's markup.
        table.add_row(*(cell.replace("[", "\\[") for cell in cells))
    console = Console(width=width, color_system=None, force_terminal=False, record=True)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


class _Shapes:
    def __init__(self):
        self.found: dict[int, tuple[str, str]] = {}
        self._given: dict[int, str] = {}

    def before(self, module, inputs):
        self._given[id(module)] = _describe(inputs[0] if len(inputs) == 1 else inputs)
        return module

    def after(self, module, y):
        # The module that is returned as new state is no news.
        if isinstance(y, tuple) and len(y) == 2 and type(y[1]) is type(module):
            y = y[0]
        self.found[id(module)] = (self._given.get(id(module), ""), _describe(y))

    def add(self, module, inputs, y):
        self.before(module, inputs)
        self.after(module, y)


def _modules(model):
    """Pairs of path and module, outermost first; the root counts as one."""
    found = [("", model)]

    def visit(path, node):
        flat, _ = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda n: n is not node and isinstance(n, eqx.Module)
        )
        for steps, child in flat:
            if isinstance(child, eqx.Module):
                where = path + jax.tree_util.keystr(steps)
                found.append((where, child))
                visit(where, child)

    visit("", model)
    return found


def _is_inside(path: str, outer: str) -> bool:
    return path.startswith(outer) and path[len(outer) : len(outer) + 1] in (
        "",
        ".",
        "[",
    )


def _depth(path: str, rows) -> int:
    return sum(_is_inside(path, row["path"]) and row["path"] != path for row in rows)


def _leaf_row(info, leaf) -> dict[str, Any]:
    kind = "other" if info.kind is None else info.kind.__name__
    row = {"path": info.path, "kind": kind, "shape": None, "dtype": None, "bytes": 0}
    if isinstance(leaf, Initializer):
        return {**row, "type": "not initialised", "count": 0}
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        return {**row, "type": type(leaf).__name__, "count": 0}
    return {
        **row,
        "shape": [int(n) for n in leaf.shape],
        "dtype": str(leaf.dtype),
        "bytes": _bytes(leaf),
        "count": int(np.prod(leaf.shape, dtype=np.int64)),
        "type": _describe(leaf),
    }


def _bytes(leaf) -> int:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return int(np.prod(leaf.shape, dtype=np.int64)) * leaf.dtype.itemsize


def _totals(leaves) -> dict[str, dict[str, int]]:
    totals: dict[str, dict[str, int]] = {}
    for leaf in leaves:
        total = totals.setdefault(leaf["kind"], {"count": 0, "bytes": 0})
        total["count"] += leaf["count"]
        total["bytes"] += leaf["bytes"]
    return totals


def _amount(total) -> str:
    if total is None:
        return ""
    size, unit = float(total["bytes"]), "B"
    for larger in ("KB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{total['count']:,}\n{size:.3g} {unit}"


def _describe(tree) -> str:
    if isinstance(tree, tuple | list):
        return "(" + ", ".join(_describe(item) for item in tree) + ")"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{k}: {_describe(v)}" for k, v in tree.items()) + "}"
    if hasattr(tree, "shape") and hasattr(tree, "dtype"):
        name = str(tree.dtype)
        name = name.replace("float", "f").replace("uint", "u").replace("int", "i")
        return f"{name}[{','.join(str(n) for n in tree.shape)}]"
    return type(tree).__name__
