"""Why a sudoku has no solution: two equal clues, or every attempt ends in one.

The search for a solution can fail without there being none, so what it leaves unsolved
is looked at once more by an exhaustive search, which fills the cell with the fewest
candidates first and gives up after a number of cells.
"""

import math
from collections.abc import Iterator

import numpy as np


_MOST_CELLS = 20_000


def why_infeasible(puzzle: np.ndarray, cells: int = _MOST_CELLS) -> str | None:
    """The reason why there is no solution, or None if none was found.

    Args:
        puzzle: integers of shape (n, n), 0 for an empty cell.
        cells: how many cells the exhaustive search may fill before it gives up.

    Returns:
        A phrase such as "row 1 has two 5s", or None.
    """
    for name, group in _groups(puzzle):
        digits, counts = np.unique(group[group > 0], return_counts=True)
        if np.any(counts > 1):
            return f"{name} has {counts.max()} clues {digits[counts.argmax()]}"
    left = [cells]
    return "every way to fill it ends in a conflict" if _stuck(puzzle, left) else None


def _groups(puzzle) -> Iterator[tuple[str, np.ndarray]]:
    n = len(puzzle)
    box = math.isqrt(n)
    for i in range(n):
        yield f"row {i + 1}", puzzle[i]
        yield f"column {i + 1}", puzzle[:, i]
        row, column = i // box * box, i % box * box
        yield f"block {i + 1}", puzzle[row : row + box, column : column + box].ravel()


def _stuck(puzzle, left) -> bool:
    """Whether no solution exists; False if the allowance runs out."""
    n = len(puzzle)
    box = math.isqrt(n)
    grid = puzzle.copy()
    rows, columns, blocks = ([0] * n for _ in range(3))

    def mark(cell, bit):
        i, j = cell
        for group, at in ((rows, i), (columns, j), (blocks, i // box * box + j // box)):
            group[at] ^= bit

    empty = set()
    for i in range(n):
        for j in range(n):
            if grid[i, j]:
                mark((i, j), 1 << int(grid[i, j]))
            else:
                empty.add((i, j))
    every = (1 << (n + 1)) - 2

    def free(cell):
        i, j = cell
        return every & ~(rows[i] | columns[j] | blocks[i // box * box + j // box])

    def solvable() -> bool:
        """Whether the empty cells can be filled, or the allowance has run out."""
        if not empty:
            return True
        cell = min(empty, key=lambda cell: free(cell).bit_count())
        candidates = free(cell)
        empty.remove(cell)
        while candidates:
            if left[0] == 0:
                return True
            left[0] -= 1
            bit = candidates & -candidates
            candidates ^= bit
            mark(cell, bit)
            if solvable():
                return True
            mark(cell, bit)
        empty.add(cell)
        return False

    return not solvable()
