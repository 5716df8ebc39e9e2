"""Where the players of f(x, y) = x y go, method by method and step by step.

Gradient descent-ascent spirals out, alternating it circles, extragradient and the
optimistic gradient converge for small steps, and competitive gradient descent for every
step (Schaefer & Anandkumar, 2019, figure 2).

Run `python examples/bilinear_games.py [--out DIR]`. Prints the distance from the
equilibrium after 50 moves and writes `out/bilinear_games.png`.
"""

import argparse
import pathlib

import jax
import matplotlib
import numpy as np

from fixproj import competitive


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


MOVES = 50
STEPS = (0.2, 0.6, 1.2)
METHODS = {
    "gradient": competitive.SimultaneousGradient,
    "alternating": competitive.AlternatingGradient,
    "extragradient": competitive.Extragradient,
    "optimistic": competitive.OptimisticGradient,
    "competitive": competitive.CGD,
}


def path(method):
    """The points of the first moves from (0.5, 0.5), one in a row."""
    problem = competitive.MinMax(lambda x, y, args: x * y, 0.5, 0.5)
    map_ = method.make_map(problem)

    def move(z, _):
        return map_.apply(z), z.players

    _, (x, y) = jax.lax.scan(move, map_.init(), None, MOVES + 1)
    return np.stack([x, y], axis=1)


def main():
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description="Bilinear games.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    out = parser.parse_args().out
    figure, panels = plt.subplots(1, len(STEPS), figsize=(12, 4), layout="constrained")
    print(f"|(x, y)| after {MOVES} moves, from 0.71\n")
    print(f"{'step':<8}" + "".join(f"{name:>15}" for name in METHODS))
    for axes, step in zip(panels, STEPS, strict=True):
        row = f"{step:<8}"
        for name, method in METHODS.items():
            points = path(method(step))
            row += f"{np.linalg.norm(points[-1]):>15.2e}"
            axes.plot(*points.T, ".-", ms=3, lw=0.8, label=name)
        print(row)
        axes.set(title=f"step {step}", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xlabel="x")
        axes.plot(0, 0, "k+", ms=10)
        axes.set_aspect("equal")
    panels[0].set_ylabel("y")
    panels[-1].legend(loc="upper right", fontsize=8)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "bilinear_games.png", dpi=110)
    plt.close(figure)
    print(f"\nWrote {out / 'bilinear_games.png'}")


if __name__ == "__main__":
    main()
