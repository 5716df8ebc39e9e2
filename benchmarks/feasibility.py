"""Feasibility: searches on sets that are not convex, by the scripts in `examples/`.

Sudoku: minimal puzzles with one solution, made here by removing clues from full grids
and checked by backtracking; solved means equal to that solution. Bit retrieval: random
starts at N = 43. Phase retrieval: four starts for each file of `--data DIR`, a folder
with files of the benchmark of Elser, Lan & Bendory. Polyhedra: 20 random ones with 200
sides in 50 dimensions and a ball, and the nearest point of each, next to a loop over
Clarabel's own interface; ours is certified by the normals at the answer (non-negative
least squares), which leaves no more than the residual shown.
"""

import argparse
import importlib.util
import pathlib
import random
import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import fft, optimize, sparse

import fixproj as fp
from benchmarks._timing import interleaved
from fixproj import projections as proj
from fixproj.puzzles import solve_puzzles
from fixproj.puzzles._sudoku import solve_with_steps


# Compiled, without types.
clarabel: Any = importlib.import_module("clarabel")
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
    draw = random.Random(0)
    pairs = [minimal_puzzle(draw) for _ in range(count)]
    puzzles, expected = (
        np.array(x).reshape(-1, 9, 9) for x in zip(*pairs, strict=True)
    )
    # All sizes of the batch are compiled here.
    solve_puzzles(puzzles)
    began = time.perf_counter()
    found, steps = solve_with_steps(puzzles, seed=1)
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


def _step_by_numpy(modulus, bright, beta):
    """The step of `examples/phase_retrieval.py` with NumPy and SciPy's FFT."""
    shape = 2 * (modulus.shape[0],)
    forward, backward = (
        lambda x: fft.rfft2(x, norm="ortho", workers=1),
        lambda x: fft.irfft2(x, shape, norm="ortho", workers=1),
    )

    def step(z):
        x = np.zeros_like(z)
        flat = z.reshape(-1)
        best = np.argpartition(flat, -bright)[-bright:]
        x.reshape(-1)[best] = np.maximum(flat[best], 0)
        spectrum = np.asarray(forward(2 * x - z))
        size, mean = np.abs(spectrum), max(spectrum[0, 0].real, 0)
        spectrum *= modulus / np.where(size > 0, size, 1)
        spectrum[0, 0] = mean
        return z + beta * (backward(spectrum) - x)

    return step


def _seconds_of_a_step(module, modulus, bright, count=200):
    """Seconds of a step of ours and by NumPy, and how far apart these are after one."""
    shape = 2 * (modulus.shape[0],)
    start = np.random.default_rng(0).random(shape).astype(np.float32)
    measured = module.FourierModulus(jnp.asarray(modulus))
    problem = fp.Feasibility([module.FewBright(bright), measured], jnp.asarray(start))
    map_ = fp.RRR(module.BETA).make_map(problem)
    by_numpy = _step_by_numpy(modulus, bright, np.float32(module.BETA))

    @jax.jit
    def ours(z):
        return jax.lax.fori_loop(0, count, lambda _, z: map_.apply(z), z)

    def theirs():
        z = start
        for _ in range(count):
            z = by_numpy(z)
        return z

    one = np.asarray(jax.jit(lambda z: map_.apply(z))(jnp.asarray(start)))
    apart = np.abs(one - by_numpy(start)).max() / np.abs(one).max()
    timings = interleaved({"ours": lambda: ours(start), "numpy": theirs}, rounds=5)
    return timings.median("ours") / count, timings.median("numpy") / count, apart


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
        step, by_numpy, apart = _seconds_of_a_step(module, modulus, 8 * atoms)
        print(f"| phases, {path.name} | {solved} of 4 | {sorted(steps)} |", end="")
        print(
            f" {seconds:.1f} s in all, {1e3 * step:.2f} ms a step;"
            f" by NumPy {1e3 * by_numpy:.2f} ms (the same to {apart:.0e}) |",
            flush=True,
        )


def _polyhedron(draw, n=50, m=200):
    a, inside = draw.normal(size=(m, n)), draw.normal(size=n)
    b = a @ inside + draw.uniform(0, 1, m)
    center = inside + 0.3 * draw.normal(size=n) / np.sqrt(n)
    return a, b, center, 1.0, inside + 3 * draw.normal(size=n)


def _by_clarabel(a, b, center, radius, point, tolerance=1e-8):
    """The nearest point and the seconds, from its own interface."""
    m, n = a.shape
    sides = sparse.csc_matrix(np.vstack([a, np.zeros((1, n)), -np.eye(n)]))
    bounds = np.concatenate([b, [radius], -center])
    cones = [clarabel.NonnegativeConeT(m), clarabel.SecondOrderConeT(n + 1)]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
    began = time.perf_counter()
    quadratic = sparse.eye(n, format="csc")
    solver = clarabel.DefaultSolver(quadratic, -point, sides, bounds, cones, settings)
    return np.array(solver.solve().x), time.perf_counter() - began


def polyhedra(count=20):
    """Nearest points of polyhedra and balls, batched, next to Clarabel in a loop."""
    draw = np.random.default_rng(0)
    lanes = [_polyhedron(draw) for _ in range(count)]
    seconds = sum(_by_clarabel(*lane)[1] for lane in lanes)
    tight = [_by_clarabel(*lane, tolerance=1e-12)[0] for lane in lanes]
    with jax.enable_x64(True):

        @jax.jit
        @jax.vmap
        def nearest(a, b, center, radius, point):
            sets = [proj.Polyhedron(a, -jnp.inf, b), proj.L2Ball(radius, center)]
            solution = fp.nearest_point(sets, point, throw=False)
            return solution.value, solution.stats["num_steps"]

        given = [jnp.asarray(np.stack(v)) for v in zip(*lanes, strict=True)]
        jax.block_until_ready(nearest(*given))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            found, steps = jax.block_until_ready(nearest(*given))
            times.append(time.perf_counter() - began)
    errors, certificates = [], []
    for (a, b, center, radius, point), x, other in zip(
        lanes, found, tight, strict=True
    ):
        x = np.asarray(x)
        gaps = np.append(b - a @ x, radius - np.linalg.norm(x - center))
        normals = np.vstack([a, x - center])[gaps < 1e-10]
        left = optimize.nnls(normals.T, point - x)[1]
        certificates.append(max(left, -np.min(gaps)))
        errors.append(np.abs(x - other).max())
    close = sum(e <= 1e-6 for e in errors)
    print(f"| {count} polyhedra and balls | {close} within 1e-6 of Clarabel", end=" ")
    print(
        f"(largest {max(errors):.1e}), certified to {max(certificates):.1e} |", end=""
    )
    print(f" {np.median(steps):.0f} | {1e3 * min(times):.0f} ms in all,", end=" ")
    print(f"Clarabel {1e3 * seconds:.0f} ms |")


PARTS = ("polyhedra", "sudoku", "bits", "phases")


def main(arguments=None):
    """Print a row for each search."""
    parser = argparse.ArgumentParser(description="Searches by RRR.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=pathlib.Path, default=None)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args(arguments)
    print("| search | solved | median steps | time |\n|---|---|---|---|")
    if "polyhedra" in options.parts:
        polyhedra()
    if "sudoku" in options.parts:
        sudoku(100 if options.quick else 1000)
    if "bits" in options.parts and not options.quick:
        bits(200_000)
    if "phases" in options.parts and options.data is not None:
        phases(options.data, 5000 if options.quick else 20_000)


if __name__ == "__main__":
    main()
