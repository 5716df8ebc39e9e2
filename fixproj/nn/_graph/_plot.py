"""A picture of a traced model: its nodes and wires, and the two sets they belong to.

Either node constraints (each node on the graph of its function) are the one set, and
equality of all copies of a variable, through the wires, is the other. Or every node
sees to the copies its users have of it, and nodes, parameters and the loss are split
into two sets without neighbours, as in `nn.TrainingProblem`.
"""

from typing import Any

from fixproj.nn._graph._constraints import LOSS, Constraints, Numerics
from fixproj.nn._graph._trace import Trace


_NODE, _VARIABLE, _ENDS = "tab:orange", "tab:blue", "tab:green"
_SETS = ("tab:orange", "tab:purple")


def plot_graph(trace: Trace, axes: Any = None, *, two_sets: bool = False) -> Any:
    """Draws the nodes (squares), the variables between them (dots) and the wires.

    Nodes, the first set, are orange; variables, whose copies must agree in the second
    set, are blue; x, the parameters and the output are green. Solid lines carry what
    can move, dotted ones what cannot; a line through wires is labelled with them. Time
    runs from left to right.

    Args:
        trace: from `nn.trace`.
        axes: matplotlib axes to draw in; None makes a new figure.
        two_sets: draw the two sets of `nn.TrainingProblem` instead, in orange (with the
            loss) and purple: operations, parameters and the loss, no two neighbours of
            a colour, with the identities that this takes.

    Returns:
        The axes.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: if `trace` is not a `Trace`.
    """
    if not isinstance(trace, Trace):
        raise TypeError(
            f"plot_graph draws what nn.trace returns, got {type(trace).__name__}."
        )
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "nn.plot_graph needs matplotlib: pip install matplotlib."
        ) from error

    colours = {}
    if two_sets:
        constraints = Constraints(trace, Numerics(neurons=False))
        trace = constraints.trace
        for colour, members in zip(_SETS, constraints.two_sets(), strict=True):
            colours.update(dict.fromkeys(members, colour))
    columns = _columns(trace)
    rows: dict[int, int] = {}
    taken: dict[int, int] = {}

    def place(number: int) -> tuple[float, float]:
        column = columns[number]
        if number not in rows:
            rows[number] = taken.get(column, 0)
            taken[column] = rows[number] + 1
        return float(column), float(-rows[number])

    if axes is None:
        width = min(24.0, 2.0 + 0.6 * (1 + max(columns.values(), default=0)))
        _, axes = plt.subplots(figsize=(width, 4.0), layout="constrained")
    names = dict(zip(trace.parameters, trace.names, strict=True))
    names[trace.input] = "x"
    through = _through_wires(trace)
    for op in trace.nodes:
        (out,) = op.outputs
        x, y = place(out)
        axes.plot(x - 0.5, y, "s", color=colours.get(out, _NODE), markersize=9)
        axes.annotate(op.name, (x - 0.5, y + 0.12), ha="center", fontsize=6)
        axes.plot([x - 0.5, x], [y, y], "-", color="gray", zorder=0)
        if not two_sets:
            end = _ENDS if out == trace.output else _VARIABLE
            axes.plot(x, y, "o", color=end, markersize=5)
        for i, free in zip(op.inputs, op.free, strict=True):
            for source, wires in through(i):
                if source not in columns:
                    continue
                u, v = place(source)
                style = "-" if free else ":"
                axes.plot([u, x - 0.5], [v, y], style, color="gray", zorder=0)
                if wires:
                    middle = ((u + x - 0.5) / 2, (v + y) / 2)
                    axes.annotate(", ".join(wires), middle, fontsize=4, color="gray")
    for number, name in names.items():
        if number in columns:
            x, y = place(number)
            free = two_sets and number in trace.parameters
            style = {
                "color": colours.get(number, _ENDS),
                "markersize": 9 if free else 5,
            }
            axes.plot(x, y, "s" if free else "o", **style)
            axes.annotate(name, (x, y - 0.3), ha="center", fontsize=5)
    if two_sets:
        end = float(1 + max(columns.values()))
        for source, _ in through(trace.output):
            x, y = place(source)
            axes.plot([x, end - 0.5], [y, 0], "-", color="gray", zorder=0)
        axes.plot(end - 0.5, 0, "s", color=colours[LOSS], markersize=9)
        axes.annotate("loss", (end - 0.5, 0.12), ha="center", fontsize=6)
    axes.set_axis_off()
    return axes


def _through_wires(trace):
    """The function from a variable to the ends its wires come from."""
    maker = {out: op for op in trace.operations for out in op.outputs}

    def ends(number, passed=()):
        op = maker.get(number)
        if op is None or op.kind == "node":
            return [(number, passed)]
        found = []
        for i in op.inputs:
            found += ends(i, (op.name, *passed))
        return found

    return ends


def _columns(trace) -> dict[int, int]:
    """Longest way from the inputs, counted in nodes."""
    columns = {number: 0 for number in (*trace.parameters, trace.input)}
    for op in trace.operations:
        before = [columns[i] for i in op.inputs if i in columns]
        if not before:
            continue
        step = 1 if op.kind == "node" else 0
        for out in op.outputs:
            columns[out] = max(before) + step
    return columns
