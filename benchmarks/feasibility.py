"""Feasibility: searches on sets that are not convex, by the scripts in `examples/`.

Sudoku: minimal puzzles with one solution, made here by removing clues from full grids
and checked by backtracking; solved means equal to that solution. Bit retrieval: random
starts at N = 43. Phase retrieval: four starts for each file of `--data DIR`, a folder
with files of the benchmark of Elser, Lan & Bendory.
"""

import argparse
import importlib.util
import pathlib
import random
import time

import jax.random as jr
import numpy as np


EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
# The row, column and block of each cell.
UNITS = [(i // 9, 9 + i % 9, 18 + i // 27 * 3 + i % 9 // 3) for i in range(81)]


def solutions(grid, limit, draw=None):
    """Up to `limit` solutions of a grid of 81 digits, by backtracking."""
    grid, used, found = list(grid), [0] * 27, []
    for i, digit in enumerate(grid):
        for unit in UNITS[i] if digit else ():
            used[unit] |= 1 << digit

    def search():
        best, fewest, mask = -1, 10, 0
        for i in range(81):
            if grid[i]:
                continue
            a, b, c = UNITS[i]
            free = ~(used[a] | used[b] | used[c]) & 0b1111111110
            if free.bit_count() < fewest:
                best, fewest, mask = i, free.bit_count(), free
                if fewest < 2:
                    break
        if best < 0:
            found.append(list(grid))
            return
        choices = [d for d in range(1, 10) if mask >> d & 1]
        if draw is not None:
            draw.shuffle(choices)
        for digit in choices:
            grid[best] = digit
            for unit in UNITS[best]:
                used[unit] ^= 1 << digit
            search()
            for unit in UNITS[best]:
                used[unit] ^= 1 << digit
            grid[best] = 0
            if len(found) >= limit:
                return

    search()
    return found


def minimal_puzzle(draw):
    """A puzzle that has one solution, and loses that with any of its clues."""
    full = solutions([0] * 81, 1, draw)[0]
    puzzle = list(full)
    for i in draw.sample(range(81), 81):
        digit, puzzle[i] = puzzle[i], 0
        if len(solutions(puzzle, 2)) != 1:
            puzzle[i] = digit
    return puzzle, full


def _example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sudoku(count):
    """How many of `count` minimal puzzles are solved, and the time for each."""
    module, draw = _example("sudoku"), random.Random(0)
    pairs = [minimal_puzzle(draw) for _ in range(count)]
    puzzles, expected = (
        np.array(x).reshape(-1, 9, 9) for x in zip(*pairs, strict=True)
    )
    # All sizes of the batch are compiled here.
    module.solve_puzzles(puzzles)
    began = time.perf_counter()
    found, steps = module._solve(puzzles, module.MAX_STEPS, 1)
    seconds = time.perf_counter() - began
    right = (found == expected).all((1, 2)).sum()
    clues = (puzzles > 0).sum((1, 2)).mean()
    print(f"| sudoku, {count} puzzles, {clues:.1f} clues | {right} solved |", end=" ")
    print(f"{np.median(steps):.0f} | {1e3 * seconds / count:.2f} ms a puzzle |")


def bits(max_steps):
    """How many of 32 starts find a sequence of length 43."""
    module = _example("bit_retrieval")
    began = time.perf_counter()
    _, steps, right = module.retrieve(43, 32, max_steps)
    seconds = time.perf_counter() - began
    print(f"| bits, N = 43, {max_steps} steps | {right.sum()} of 32 |", end=" ")
    print(f"{np.median(steps):.0f} | {seconds:.1f} s in all |")


def phases(folder, max_steps):
    """Four starts for each file."""
    module = _example("phase_retrieval")
    for path in sorted(folder.glob("data*")):
        modulus, atoms = module.read(path), int(path.name[4:7])
        began = time.perf_counter()
        runs = [
            module.retrieve(modulus, 8 * atoms, jr.key(k), max_steps) for k in range(4)
        ]
        seconds = time.perf_counter() - began
        steps = [run[1] for run in runs]
        solved = sum(run[2] > module.GOAL for run in runs)
        print(
            f"| phases, {path.name} | {solved} of 4 | {np.median(steps):.0f} |", end=""
        )
        print(f" {1e3 * seconds / sum(steps):.2f} ms a step |", flush=True)


def main(arguments=None):
    """Print a row for each search."""
    parser = argparse.ArgumentParser(description="Searches by RRR.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=pathlib.Path, default=None)
    options = parser.parse_args(arguments)
    print("| search | solved | median steps | time |\n|---|---|---|---|")
    sudoku(100 if options.quick else 1000)
    if not options.quick:
        bits(200_000)
    if options.data is not None:
        phases(options.data, 5000 if options.quick else 20_000)


if __name__ == "__main__":
    main()
