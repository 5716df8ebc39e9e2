"""Computed tomography: an image from few X-ray projections.

The sinogram holds the sums of the image along the rays of a few directions. From so few
data least squares shows streaks; the image with the least total variation among those
that explain the data does not:

    minimise |R x - sinogram|^2 / 2 + weight * (sum of |differences|),    x >= 0

R is written as rotations by linear interpolation, so JAX has its transpose, and PDHG
and its relatives need no more than that. The phantom, a few ellipses, is made here.

Run `python examples/tomography.py [--angles K] [--out DIR]`. Prints the errors, and
writes `out/tomography.png`.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import fixproj as fp
from fixproj import projections as proj


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def phantom(size: int):
    """An image of ellipses: centre, half axes, angle and density of each."""
    ellipses = [
        (0.0, 0.0, 0.72, 0.9, 0.0, 1.0),
        (0.0, 0.0, 0.64, 0.82, 0.0, -0.7),
        (0.24, 0.05, 0.12, 0.32, -0.3, -0.2),
        (-0.24, 0.05, 0.16, 0.4, 0.3, -0.2),
        (0.0, -0.4, 0.22, 0.18, 0.0, 0.3),
        (0.0, 0.55, 0.1, 0.07, 0.0, 0.4),
    ]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image = np.zeros((size, size), np.float32)
    for cx, cy, a, b, angle, density in ellipses:
        u = np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)
        v = np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)
        image[(u / a) ** 2 + (v / b) ** 2 <= 1] += density
    return jnp.asarray(image)


def project_rays(image, angles):
    """The sums along the rays of every direction: shape (angles, size)."""
    size = image.shape[0]
    grid = jnp.arange(size, dtype=image.dtype) - (size - 1) / 2

    def one(angle):
        c, s = jnp.cos(angle), jnp.sin(angle)
        row = c * grid[:, None] + s * grid[None, :] + (size - 1) / 2
        column = c * grid[None, :] - s * grid[:, None] + (size - 1) / 2
        sample = jax.scipy.ndimage.map_coordinates
        turned = sample(image, [row, column], order=1, mode="constant")
        return jnp.sum(turned, axis=0) / size

    return jax.vmap(one)(angles)


def reconstruct(sinogram, angles, weight, max_steps: int = 600):
    """The image, by Condat-Vu; `weight` = 0 is nonnegative least squares."""
    size = sinogram.shape[1]
    zero = jnp.zeros((size, size), sinogram.dtype)
    problem = fp.Composite(
        smooth=lambda x, data: jnp.sum((project_rays(x, data[1]) - data[0]) ** 2) / 2,
        prox=proj.NonNegative(),
        linear=[
            (lambda x: jnp.diff(x, axis=0), proj.L1(weight)),
            (lambda x: jnp.diff(x, axis=1), proj.L1(weight)),
        ],
        y0=zero,
        args=(sinogram, angles),
    )
    return fp.solve(
        problem, fp.CondatVu(), rtol=1e-4, max_steps=max_steps, throw=False
    ).value


def main():
    """Reconstruct the phantom and report."""
    parser = argparse.ArgumentParser(description="Tomography by total variation.")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--angles", type=int, default=24)
    parser.add_argument("--noise", type=float, default=0.003)
    parser.add_argument("--max-steps", type=int, default=600)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    image = phantom(options.size)
    angles = jnp.arange(options.angles, dtype=image.dtype) * (np.pi / options.angles)
    draw = np.random.default_rng(0)
    clean = project_rays(image, angles)
    noise = options.noise * draw.normal(size=clean.shape)
    sinogram = clean + jnp.asarray(noise, image.dtype)
    results = {"phantom": image, f"sinogram, {options.angles} directions": sinogram}
    for name, weight in (("least squares, x >= 0", 0.0), ("total variation", 1e-4)):
        found = reconstruct(sinogram, angles, weight, options.max_steps)
        error = jnp.linalg.norm(found - image) / jnp.linalg.norm(image)
        print(f"{name}: relative error {float(error):.3f}")
        results[f"{name}\nrelative error {float(error):.3f}"] = found
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained")
    for axis, (title, picture) in zip(axes, results.items(), strict=True):
        axis.imshow(picture, cmap="gray", aspect="auto")
        axis.set(title=title, xticks=[], yticks=[])
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "tomography.png", dpi=70)
    print(f"wrote {options.out / 'tomography.png'}")


if __name__ == "__main__":
    main()
