"""The sudoku example: its answers are checked against the rules, not against itself."""

import importlib.util
import pathlib

import numpy as np
import pytest


PATH = pathlib.Path(__file__).parents[1] / "examples" / "sudoku.py"


@pytest.fixture(scope="module")
def sudoku():
    spec = importlib.util.spec_from_file_location("sudoku_example", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _obeys_the_rules(grid):
    digits = set(range(1, 10))
    blocks = grid.reshape(3, 3, 3, 3).swapaxes(1, 2).reshape(9, 9)
    return all(set(group) == digits for g in (grid, grid.T, blocks) for group in g)


@pytest.mark.one_precision
def test_solves_keeps_the_clues_and_marks_the_impossible(sudoku):
    base = np.array(list(sudoku.EXAMPLE), int).reshape(9, 9)
    draw = np.random.default_rng(1)
    puzzles = np.stack([sudoku._shuffled(base, draw) for _ in range(4)] + [base])
    # Two equal digits in a row.
    puzzles[4, 0, :2] = 5
    solutions = sudoku.solve_puzzles(puzzles)
    for puzzle, grid in zip(puzzles[:4], solutions[:4], strict=True):
        assert _obeys_the_rules(grid)
        assert np.all(grid[puzzle > 0] == puzzle[puzzle > 0])
    assert not solutions[4].any()


@pytest.mark.one_precision
def test_bad_puzzles_are_errors(sudoku):
    for bad in (np.zeros((9, 9), int), np.zeros((1, 9, 9)), np.full((1, 9, 9), 10)):
        with pytest.raises(ValueError, match="solve_puzzles"):
            sudoku.solve_puzzles(bad)
