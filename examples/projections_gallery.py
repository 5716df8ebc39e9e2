"""Sets in the plane, and where their projections move points.

    python examples/projections_gallery.py [file]

Points of a coarse grid are drawn with the way to their nearest point, over the nearest
points of a fine grid, which show the set.
"""

import pathlib
import sys

import equinox as eqx
import jax.numpy as jnp
import matplotlib


matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fixproj import projections as proj


def sets():
    """The sets that are drawn, by name."""
    corner = jnp.array([[1.0, 2.0], [-1.0, 1.0], [0.0, -1.0]])
    return {
        "NonNegative": proj.NonNegative(),
        "Box": proj.Box(-1.0, 1.0),
        "Hyperplane": proj.Hyperplane(jnp.array([1.0, 2.0]), 0.5),
        "Halfspace": proj.Halfspace(jnp.array([1.0, 2.0]), 0.5),
        "Hyperslab": proj.Hyperslab(jnp.array([1.0, 2.0]), -1.0, 1.0),
        "Simplex": proj.Simplex(1.5),
        "CappedSimplex": proj.CappedSimplex(1.5, 1.0),
        "L1Ball": proj.L1Ball(1.3),
        "WeightedL1Ball": proj.WeightedL1Ball(jnp.array([1.0, 2.0]), 1.5),
        "GroupBall": proj.GroupBall(jnp.array([0, 1]), 1.0),
        "L2Ball": proj.L2Ball(1.2),
        "L2Sphere": proj.L2Sphere(1.2),
        "L1Sphere": proj.L1Sphere(1.3),
        "LinfBall": proj.LinfBall(1.0),
        "Ellipsoid": proj.Ellipsoid(jnp.array([[1.0, 0.6], [0.6, 1.0]])),
        "Polyhedron": proj.Polyhedron(corner, -jnp.inf, 1.0),
        "Monotone": proj.Monotone(),
        "TotalVariationBall": proj.TotalVariationBall(1.0),
        "NormEpigraph": proj.NormEpigraph(1),
        "SecondOrderCone": proj.SecondOrderCone(),
        "Support": proj.Support(1),
        "Sparse": proj.Sparse(1),
        "OneHot": proj.OneHot(1.2),
        "Grid": proj.Grid(),
    }


def main(path):
    """Draw every set to one picture."""
    line = jnp.linspace(-2.4, 2.4, 9)
    coarse = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)
    line = jnp.linspace(-2.4, 2.4, 81)
    fine = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)
    project = eqx.filter_jit(
        eqx.filter_vmap(lambda s, x: s.project(x), in_axes=(None, 0))
    )
    # Narrow, so that its letters can be read where it is shrunk to a telephone.
    figure, axes = plt.subplots(6, 4, figsize=(6.2, 10.2), layout="constrained")
    for panel, (name, shape) in zip(axes.flat, sets().items(), strict=True):
        inside, nearest = project(shape, fine), project(shape, coarse)
        panel.plot(*inside.T, ",", color="tab:blue", alpha=0.5)
        for x, y in zip(coarse, nearest, strict=True):
            panel.plot(*jnp.stack([x, y]).T, color="0.75", lw=0.6, zorder=0)
        panel.plot(*nearest.T, ".", color="tab:red", ms=3)
        panel.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal")
        panel.set_title(name, fontsize=10.5)
        panel.set_xticks([])
        panel.set_yticks([])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


if __name__ == "__main__":
    given = sys.argv[1:] or ["out/projections_gallery.png"]
    main(pathlib.Path(given[0]))
