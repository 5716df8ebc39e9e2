"""`fixproj solve FILE`: a quadratic program, or sudokus."""

import pathlib
from typing import Any

import click
import jax
import numpy as np

import fixproj as fp
from fixproj._cli._errors import Unsolved, reports_errors
from fixproj._cli._output import print_json, shown
from fixproj._cli._problem_files import FileError, read_program, read_puzzles
from fixproj.puzzles._why import why_infeasible


_EPILOG = """\b
A program is minimise x'Px/2 + q'x subject to l <= Ax <= u, with arrays P, q, A, l, u
(lower and upper do as well) in a .npz or .mat file; matrices in .mat may be sparse.
A sudoku file has 81 characters for each puzzle, in one line or in nine; 0 . _ * x or
? is an empty cell, # starts a comment. Without --out the answer is printed; a puzzle
without a solution is all zeros, and what stands in its way is said.

\b
Examples:
  fixproj solve program.npz --json
  fixproj solve AUG2D.mat --out solution.npz
  fixproj solve puzzles.txt
"""
_SUDOKUS = (".txt", ".sdk", ".sdm", ".sudoku")
# Answers with more numbers are printed only to a file.
_FEW = 20


@click.command(epilog=_EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="Write x, y and the objective (.npz), or the solved grids (text).",
)
@click.option(
    "--solver",
    type=click.Choice(["interior-point", "splitting"]),
    default="interior-point",
    show_default=True,
    help="Of a quadratic program.",
)
@click.option("--max-steps", type=click.IntRange(1), help="Of the iteration.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the sudoku search.")
@click.option(
    "--float32", is_flag=True, help="Solve a program in single precision, not double."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_errors
def solve(file: str, **options: Any) -> None:
    """Solve the quadratic program or the sudokus in FILE."""
    ending = pathlib.Path(file).suffix.lower()
    if ending in (".npz", ".mat"):
        with jax.enable_x64(not options["float32"]):
            found, text, solved = _program(file, options)
    elif ending in _SUDOKUS:
        found, text, solved = _sudoku(file, options)
    else:
        raise FileError(
            f"{file}: a program ends in .npz or .mat, a sudoku in "
            f"{', '.join(_SUDOKUS)}."
        )
    if options["as_json"]:
        print_json(found)
    else:
        click.echo(text)
    if not solved:
        raise Unsolved("not solved" if ending in (".npz", ".mat") else _unsolved(found))


def _program(file, options):
    arrays = read_program(file)
    dtype = np.float32 if options["float32"] else np.float64
    P, q, A, lower, upper = (
        None if part is None else part.astype(dtype)
        for part in (arrays[key] for key in ("P", "q", "A", "lower", "upper"))
    )
    problem = fp.QuadraticProgram(P, q, A, lower, upper)
    methods = {
        "interior-point": fp.InteriorPoint,
        "splitting": fp.OperatorSplitting,
    }
    given = {} if options["max_steps"] is None else {"max_steps": options["max_steps"]}
    sol = fp.solve(problem, methods[options["solver"]](), throw=False, **given)
    solved = bool(sol.result == fp.RESULTS.successful)
    x = np.asarray(sol.value)
    objective = float(q @ x) + (0.0 if P is None else float(x @ (P @ x)) / 2)
    found = {
        "file": file,
        "unknowns": len(x),
        "constraints": len(lower) if lower is not None else 0,
        "solved": solved,
        "result": "successful" if solved else fp.RESULTS[sol.result],
        "objective": objective + arrays["r"],
        "steps": int(sol.stats["num_steps"]),
        "residual": float(sol.stats["residual"]),
        "violation": float(sol.stats["violation"]),
    }
    lines = [f"{name:12} {shown(value)}" for name, value in found.items()]
    lines[5] = f"{'objective':12} {found['objective']:.12g}"
    if options["out"] is not None:
        np.savez(
            options["out"],
            x=x,
            y=np.asarray(sol.stats["dual"]),
            objective=found["objective"],
            solved=solved,
        )
        lines.append(f"Wrote {options['out']}")
    elif len(x) <= _FEW:
        lines.append(f"{'x':12} {' '.join(f'{v:.8g}' for v in x)}")
    if options["out"] is None:
        found["x"] = x.tolist()
    return found, "\n".join(lines), solved


def _sudoku(file, options):
    puzzles = read_puzzles(file)
    given = {} if options["max_steps"] is None else {"max_steps": options["max_steps"]}
    grids = fp.puzzles.solve_puzzles(puzzles, seed=options["seed"], **given)
    solved = [bool(grid.any()) for grid in grids]
    lines = ["".join(map(str, grid.ravel())) for grid in grids]
    why = {i + 1: why_infeasible(puzzles[i]) for i, ok in enumerate(solved) if not ok}
    reasons = {
        i: f"infeasible: {reason}" if reason else "not found; try more --max-steps"
        for i, reason in why.items()
    }
    found = {
        "file": file,
        "puzzles": len(puzzles),
        "solved": sum(solved),
        "solutions": [
            line if ok else None for line, ok in zip(lines, solved, strict=True)
        ],
        "infeasible": [i for i, reason in why.items() if reason],
        "reasons": reasons,
    }
    if options["out"] is not None:
        options["out"].write_text("\n".join(lines) + "\n")
        text = f"Solved {sum(solved)} of {len(puzzles)}; wrote {options['out']}"
    elif len(puzzles) == 1 and solved[0]:
        text = _grid(grids[0])
    else:
        text = "\n".join(lines)
    return found, text, all(solved)


def _unsolved(found):
    reasons = [f"puzzle {i}: {reason}" for i, reason in found["reasons"].items()]
    more = [f"and {len(reasons) - _FEW} more"] if len(reasons) > _FEW else []
    return "\n  ".join(
        [
            f"{len(reasons)} of {found['puzzles']} puzzles were not solved.",
            *reasons[:_FEW],
            *more,
        ]
    )


def _grid(grid):
    n = len(grid)
    box = round(n**0.5)
    lines = []
    for i, row in enumerate(grid):
        if i and i % box == 0:
            lines.append("-+-".join(["-" * (2 * box - 1)] * box))
        parts = [" ".join(map(str, row[j : j + box])) for j in range(0, n, box)]
        lines.append(" | ".join(parts))
    return "\n".join(lines)
