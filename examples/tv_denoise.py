"""Total variation denoising, and the best weight by gradient descent.

    minimise |x - data|^2 / 2 + weight * (sum of |differences|)

removes noise and keeps edges. The solution is differentiable with respect to the
weight, so the one that comes closest to a known clean signal can be found by gradients.

Run `python examples/tv_denoise.py [--out DIR]`. Prints the weight and the errors, and
writes `out/tv_denoise.png`.
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


def denoise(image, weight):
    """The image with the least sum of the square of its change and its variation."""
    problem = fp.Composite(
        smooth=lambda x, image: jnp.sum((x - image) ** 2) / 2,
        linear=[
            (lambda x: jnp.diff(x, axis=0), proj.L1(weight)),
            (lambda x: jnp.diff(x, axis=1), proj.L1(weight)),
        ],
        y0=image,
        args=image,
    )
    return fp.solve(problem, fp.CondatVu(), rtol=1e-4, throw=False).value


def pictures(size: int = 48, seed: int = 0):
    """A clean image of a disc and a bar, and a noisy one."""
    row, column = np.mgrid[:size, :size] / size
    clean = np.where((row - 0.4) ** 2 + (column - 0.4) ** 2 < 0.07, 1.0, 0.0)
    clean[(row > 0.6) & (row < 0.8) & (column > 0.5)] = 0.6
    noise = 0.25 * np.random.default_rng(seed).normal(size=clean.shape)
    return jnp.asarray(clean), jnp.asarray(clean + noise)


def main():
    """Denoise and report."""
    parser = argparse.ArgumentParser(description="Total variation denoising.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    clean, noisy = pictures()
    error = lambda logarithm: jnp.mean(
        (denoise(noisy, jnp.exp(logarithm)) - clean) ** 2
    )
    slope = jax.jit(jax.value_and_grad(error))
    logarithm = jnp.log(0.05)
    for step in range(12):
        value, gradient = slope(logarithm)
        print(f"step {step}: weight {jnp.exp(logarithm):.3f}, error {value:.5f}")
        logarithm -= 0.4 * jnp.sign(gradient) * 0.75**step
    found = denoise(noisy, jnp.exp(logarithm))
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
    titles = "clean", "noisy", f"denoised, weight {jnp.exp(logarithm):.2f}"
    for axis, title, image in zip(axes, titles, (clean, noisy, found), strict=True):
        axis.imshow(image, cmap="gray", vmin=-0.2, vmax=1.2)
        axis.set(title=title, xticks=[], yticks=[])
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "tv_denoise.png", dpi=80)
    print(f"wrote {options.out / 'tv_denoise.png'}")


if __name__ == "__main__":
    main()
