"""Bit retrieval: signs from their autocorrelation.

Find s in {-1, 1}^N whose periodic autocorrelation is that of the Legendre sequence of a
prime N = 3 mod 4, that is |DFT(s)|^2 = N + 1 except at zero frequency, where it is 1:

    A   every entry is -1 or 1
    B   the modulus of every Fourier coefficient is the given one

RRR with a small step searches for a point in both (Elser, 2018, The complexity of bit
retrieval); the number of steps grows exponentially with N. All starts run side by side
as the rows of one matrix, and a row that has arrived stays where it is.

Run `python examples/bit_retrieval.py [--size N] [--starts K] [--out DIR]`. Prints how
many of the random starts found the signs, and writes `out/bit_retrieval.png`.
"""

import argparse
import pathlib
import time
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
from jaxtyping import Array, Float

import fixproj as fp


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


BETA = 0.32
CHUNK = 500


class Signs(eqx.Module):
    """Vectors with entries -1 and 1."""

    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "starts n"]):
        """The sign of every entry; 1 for zero."""
        return jnp.where(x >= 0, 1, -1).astype(x.dtype)


class FourierModulus(eqx.Module):
    """Real vectors whose Fourier coefficients have the given moduli.

    The transform of a few dozen numbers is a product with a matrix, which a batch turns
    into one matrix product.
    """

    modulus: Float[Array, " frequencies"]
    cosines: Float[Array, "n frequencies"]
    sines: Float[Array, "n frequencies"]
    axis: ClassVar[None] = None

    def __init__(self, modulus: Float[np.ndarray, " frequencies"], size: int):
        phase = 2 * np.pi * np.outer(np.arange(size), np.arange(len(modulus))) / size
        self.modulus = jnp.asarray(modulus, jnp.float32)
        self.cosines = jnp.asarray(np.cos(phase), jnp.float32)
        self.sines = jnp.asarray(np.sin(phase), jnp.float32)

    def project(self, x: Float[Array, "starts n"]):
        """The given moduli with the phases of `x`."""
        real, imaginary = x @ self.cosines, x @ self.sines
        size = jnp.sqrt(real**2 + imaginary**2)
        ratio = self.modulus[None] / jnp.maximum(size, 1e-10)
        # All frequencies but zero stand for a conjugate pair; the length is odd.
        count = jnp.where(jnp.arange(ratio.shape[1]) == 0, 1, 2)
        ratio = ratio * count.astype(ratio.dtype)[None] / x.shape[1]
        return (ratio * real) @ self.cosines.T + (ratio * imaginary) @ self.sines.T


def legendre(size: int):
    """The Legendre sequence of a prime, with 1 in front."""
    squares = {k * k % size for k in range(1, size)}
    return np.array([1.0] + [1.0 if k in squares else -1.0 for k in range(1, size)])


def autocorrelation(signs):
    """The periodic autocorrelation, in integers."""
    shifts = (np.arange(len(signs))[:, None] + np.arange(len(signs))) % len(signs)
    return signs[shifts] @ signs


@eqx.filter_jit
def search(map_, z):
    """`CHUNK` steps; the new `z`, and the signs there."""
    z = jax.lax.fori_loop(0, CHUNK, lambda _, z: map_.apply(z), z)
    return z, map_.readout(z)


def retrieve(size: int, starts: int, max_steps: int, beta: float = BETA, seed: int = 0):
    """Search from many random starts; signs, steps, and which are right."""
    target = legendre(size)
    wanted = autocorrelation(target)
    sets = [Signs(), FourierModulus(np.abs(np.fft.rfft(target)), size)]
    z = jr.normal(jr.key(seed), (starts, size), jnp.float32)
    map_ = fp.RRR(beta).make_map(fp.Feasibility(sets, z))
    signs, steps = np.zeros((starts, size)), np.full(starts, max_steps)
    right = np.zeros(starts, bool)
    for taken in range(CHUNK, max_steps + 1, CHUNK):
        z, found = search(map_, z)
        found = np.asarray(found, np.float64)
        for i in np.flatnonzero(~right):
            signs[i] = found[i]
            if np.array_equal(autocorrelation(found[i]), wanted):
                right[i], steps[i] = True, taken
        if right.all():
            break
    return signs, steps, right


def main():
    """Retrieve the signs from many starts and report."""
    parser = argparse.ArgumentParser(description="Bit retrieval by RRR.")
    parser.add_argument("--size", type=int, default=31, help="a prime, 3 mod 4")
    parser.add_argument("--starts", type=int, default=32)
    parser.add_argument("--max-steps", type=int, default=200_000)
    parser.add_argument("--beta", type=float, default=BETA)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    began = time.perf_counter()
    signs, steps, right = retrieve(
        options.size, options.starts, options.max_steps, options.beta
    )
    seconds = time.perf_counter() - began
    print(
        f"N = {options.size}: {right.sum()} of {options.starts} starts found the signs"
    )
    print(f"steps: median {np.median(steps):.0f}; {seconds:.1f} s in all")
    figure, (left, middle) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    rows = signs[right] if right.any() else signs
    left.imshow(rows, cmap="gray", aspect="auto", interpolation="nearest")
    left.set(xlabel="entry", ylabel="start", title="Signs found (one orbit, shifted)")
    middle.step(np.sort(steps), np.arange(1, steps.size + 1) / steps.size)
    middle.set(xscale="log", xlabel="steps", ylabel="share of the starts that ended")
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "bit_retrieval.png", dpi=80)
    print(f"wrote {options.out / 'bit_retrieval.png'}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", False)
    main()
