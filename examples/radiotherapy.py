"""Planning a radiation treatment: thousands of linear inequalities.

Beams from a few directions, each of narrow pencils, deposit dose D w in the voxels of a
slice, for intensities w >= 0 of the pencils. Wanted: at least 1 and at most 1.15 in the
tumour, at most 0.55 in the organ at risk, and at most 1.1 elsewhere, that is

    lower <= D w <= upper,    w >= 0

Every voxel is a hyperslab. Averaged projections with Pierra's long step treat them all
at once (Censor, Altschuler & Powlis, 1988). The doses and shapes are made up.

Run `python examples/radiotherapy.py [--size N] [--out DIR]`. Prints how well the bounds
are kept, and writes `out/radiotherapy.png`.
"""

import argparse
import pathlib
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float

import fixproj as fp
from fixproj import projections as proj


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


class Doses(eqx.Module):
    """All hyperslabs lower <= D w <= upper in one: the long step of their projections.

    The mean of the projections, extrapolated as by Pierra, is the projection onto a
    halfspace that holds the intersection; here all rows are one product with a matrix.
    """

    D: Float[Array, "voxels pencils"]
    lower: Float[Array, " voxels"]
    upper: Float[Array, " voxels"]
    axis: ClassVar[None] = None

    def project(self, w: Float[Array, " pencils"]):
        """The nearest point of a halfspace that holds all solutions."""
        dose = self.D @ w
        excess = dose - jnp.clip(dose, self.lower, self.upper)
        length = jnp.sum(self.D**2, axis=1)
        weighted = excess / jnp.where(length > 0, length, 1)
        move = weighted @ self.D
        square = jnp.sum(move**2)
        step = jnp.sum(weighted * excess) / jnp.where(square > 0, square, 1)
        return w - step * move


def case(size: int, beams: int):
    """The dose matrix, and masks of the tumour, the organ and the body."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = x**2 + y**2 < 0.95
    # The tumour is bent around the organ.
    organ = (x - 0.12) ** 2 + y**2 < 0.02
    ring = np.hypot(x - 0.12, y)
    tumour = (ring > 0.24) & (ring < 0.46) & (x < 0.17)
    columns = []
    for angle in np.arange(beams) * 2 * np.pi / beams:
        depth = x * np.cos(angle) + y * np.sin(angle)
        side = y * np.cos(angle) - x * np.sin(angle)
        for center in np.linspace(-0.55, 0.55, size // 2):
            profile = np.exp(-((side - center) ** 2) / (2 * 0.03**2))
            columns.append((profile * np.exp(-0.7 * (depth + 1)))[body])
    return np.stack(columns, axis=1), tumour[body], organ[body], body


def plan(D, tumour, organ, max_steps: int = 5000) -> fp.Solution:
    """Intensities that keep all bounds."""
    lower = np.where(tumour, 1.0, -np.inf)
    upper = np.where(tumour, 1.15, np.where(organ, 0.55, 1.1))
    arrays = [jnp.asarray(a, jnp.float32) for a in (D, lower, upper)]
    start = jnp.full(D.shape[1], 0.05, jnp.float32)
    problem = fp.Feasibility([Doses(*arrays), proj.NonNegative()], start)
    return fp.solve(
        problem, fp.CyclicProjections(), rtol=1e-5, max_steps=max_steps, throw=False
    )


def main():
    """Plan a treatment and report."""
    parser = argparse.ArgumentParser(description="A plan by projections.")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--beams", type=int, default=9)
    parser.add_argument("--max-steps", type=int, default=5000)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    D, tumour, organ, body = case(options.size, options.beams)
    solution = plan(D, tumour, organ, options.max_steps)
    dose = D @ np.maximum(np.asarray(solution.value), 0)
    print(f"{D.shape[0]} voxels, {D.shape[1]} pencils, {2 * D.shape[0]} inequalities")
    print(f"{int(solution.stats['num_steps'])} steps", end=", ")
    print(fp.RESULTS[solution.result] or "all bounds are kept to the tolerance")
    for name, part in (("tumour", tumour), ("organ", organ)):
        print(f"{name}: dose {dose[part].min():.3f} to {dose[part].max():.3f}")
    rest = ~tumour & ~organ
    print(f"elsewhere: dose up to {dose[rest].max():.3f}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    picture = np.full(body.shape, np.nan)
    picture[body] = dose
    shown = left.imshow(picture, cmap="inferno")
    for part, color in ((tumour, "cyan"), (organ, "lime")):
        picture = np.zeros(body.shape)
        picture[body] = part
        left.contour(picture, [0.5], colors=color)
    figure.colorbar(shown, ax=left, label="dose")
    left.set(title="tumour (cyan), organ at risk (green)", xticks=[], yticks=[])
    for name, part in (("tumour", tumour), ("organ", organ), ("elsewhere", rest)):
        levels = np.sort(dose[part])[::-1]
        right.plot(levels, np.linspace(0, 1, levels.size), label=name)
    right.set(xlabel="dose", ylabel="share of the volume with at least that dose")
    right.legend()
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "radiotherapy.png", dpi=70)
    print(f"wrote {options.out / 'radiotherapy.png'}")


if __name__ == "__main__":
    main()
