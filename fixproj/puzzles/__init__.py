"""Puzzles as feasibility problems."""

from ._sudoku import solve_puzzles as solve_puzzles
