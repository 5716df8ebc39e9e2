"""Two spirals by least squares alone: the published ZORB, and ZORBClassifier.

Writes out/zorb.png.
"""

import pathlib

import jax
import jax.random as jr
import matplotlib
import numpy as np

from fixproj import nn


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def spirals(count: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Points of two interleaved spirals, and which one they are of."""
    turn = 3 * np.pi * np.sqrt(rng.random(count))
    label = rng.integers(0, 2, count)
    angle = turn + np.pi * label
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1) / 10
    return points + 0.02 * rng.normal(size=points.shape), label


def main() -> None:
    """Train both, and draw their decision regions."""
    x, y = spirals(600, np.random.default_rng(0))
    with jax.enable_x64(True):
        net = nn.parse_network("Dense[256] Sigmoid Dense[2]", (2,), key=jr.key(0))
        published, _, _ = nn.ReferenceZORB().update(
            net, None, jax.numpy.asarray(x), jax.numpy.asarray(np.eye(2)[y])
        )
        ours = nn.ZORBClassifier(256, random_state=0).fit(x, y)
        axis = np.linspace(-1.1, 1.1, 200)
        grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        regions = {
            "published ZORB": np.asarray(published(jax.numpy.asarray(grid))).argmax(1),
            "ZORBClassifier": ours.predict(grid),
        }
    _, axes = plt.subplots(1, 2, figsize=(8, 4))
    for ax, (title, region) in zip(axes, regions.items(), strict=True):
        ax.contourf(axis, axis, region.reshape(200, 200), alpha=0.3, cmap="coolwarm")
        ax.scatter(*x.T, c=y, s=6, cmap="coolwarm")
        ax.set(title=title, aspect="equal", xticks=[], yticks=[])
    out = pathlib.Path("out")
    out.mkdir(exist_ok=True)
    plt.savefig(out / "zorb.png", dpi=110, bbox_inches="tight")
    print(f"accuracy of ZORBClassifier on its data: {ours.score(x, y):.3f}")


if __name__ == "__main__":
    main()
