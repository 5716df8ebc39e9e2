"""Many forms of one hard sudoku, solved side by side by RRR.

The rules are four sets of one-hot vectors, each with its own copy of the grid, and the
copies agree: `fixproj.puzzles` says how, and solves.

Run `python examples/sudoku.py [--count N] [--out DIR]`. Prints how many were solved and
how fast, and writes `out/sudoku.png`.
"""

import argparse
import pathlib
import time

import numpy as np

from fixproj.puzzles import solve_puzzles as solve_puzzles
from fixproj.puzzles._sudoku import solve_with_steps


# Royle's list of puzzles with 17 clues has this as its first.
EXAMPLE = (
    "000000010400000000020000000000050407008000300001090000300400200050100000000806000"
)


def _shuffled(puzzle, draw):
    """The same puzzle in another form: digits renamed, lines exchanged."""
    names = np.concatenate([[0], 1 + draw.permutation(9)])
    lines = lambda: np.concatenate(
        [3 * band + draw.permutation(3) for band in draw.permutation(3)]
    )
    return names[puzzle][lines()][:, lines()]


def draw_picture(path, puzzle, solution, steps):
    """A puzzle with its solution, and how many steps the others took."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    left.set(xlim=(0, 9), ylim=(9, 0), aspect="equal", xticks=[], yticks=[])
    for k in range(10):
        width = 2 if k % 3 == 0 else 0.5
        left.plot([k, k], [0, 9], "k", lw=width)
        left.plot([0, 9], [k, k], "k", lw=width)
    for (row, column), digit in np.ndenumerate(solution):
        given = puzzle[row, column] > 0
        style = {"color": "k", "weight": "bold"} if given else {"color": "tab:blue"}
        left.text(
            column + 0.5, row + 0.5, digit, ha="center", va="center", size=13, **style
        )
    right.hist(steps, bins=40, color="tab:blue")
    right.set(xlabel="steps", ylabel="puzzles", title="Steps of RRR, beta = 1")
    figure.savefig(path, dpi=80)


def main():
    """Solve many forms of a hard puzzle and report."""
    parser = argparse.ArgumentParser(description="Sudoku by RRR.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    draw = np.random.default_rng(0)
    base = np.array(list(EXAMPLE), int).reshape(9, 9)
    puzzles = np.stack([_shuffled(base, draw) for _ in range(options.count)])
    solve_puzzles(puzzles[:1])
    began = time.perf_counter()
    solutions, steps = solve_with_steps(puzzles)
    seconds = time.perf_counter() - began
    solved = solutions.any((1, 2))
    print(f"solved {solved.sum()} of {len(puzzles)} puzzles with 17 clues")
    print(f"steps: median {np.median(steps):.0f}, mean {steps.mean():.0f}")
    print(f"{1e3 * seconds / len(puzzles):.2f} ms for each, compilation included")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "sudoku.png"
    draw_picture(path, puzzles[0], solutions[0], steps)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
