"""Phase retrieval: atoms from the power spectrum of their contrast.

Reads a file of the benchmark of Elser, Lan & Bendory (2018), Benchmark problems for
phase retrieval (github.com/veitelser/phase-retrieval-benchmarks): the power spectrum of
a 128 x 128 image of N atoms, with noise, of which 8 N pixels are bright.

    A   at most 8 N pixels are positive, the others are zero
    B   the modulus of every Fourier coefficient is the measured one (that of zero
        frequency is not measured and only must not be negative)

Data with noise leave no point in both, so the search does not end by its residual. It
ends, as in the paper, when 95% of the power of the point in B lies in the pixels of A.

Run `python examples/phase_retrieval.py FILE [--atoms N] [--starts K] [--out DIR]`. `N`
is read off the name of the file, `data100E` say. Prints the steps of every start, and
writes `out/phase_retrieval.png`.
"""

import argparse
import pathlib
import re
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


BETA = 0.5
GOAL = 0.95
CHUNK = 10


class FewBright(eqx.Module):
    """Images with at most `count` pixels above zero, and zero elsewhere."""

    count: int
    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "n n"]):
        """The brightest pixels, where positive.

        The least of them is found bit by bit, since positive numbers are in the order
        of their bits; sorting takes five times as long.
        """
        bits = jax.lax.bitcast_convert_type(jnp.maximum(x, 0), jnp.int32)

        def narrow(carry):
            least, bit, count = carry
            trial = least | bit
            above = jnp.sum(bits >= trial)
            enough = above >= self.count
            least, count = (
                jnp.where(enough, trial, least),
                jnp.where(enough, above, count),
            )
            return least, bit >> 1, count

        carry = jnp.int32(0), jnp.int32(1 << 30), jnp.int32(x.size)
        go_on = lambda carry: (carry[1] > 0) & (carry[2] != self.count)
        least = jax.lax.while_loop(go_on, narrow, carry)[0]
        return jnp.where(bits >= jnp.maximum(least, 1), x, 0)


class FourierModulus(eqx.Module):
    """Real images whose Fourier coefficients have the measured moduli."""

    modulus: Float[Array, "n half"]
    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "n n"]):
        """The measured moduli with the phases of `x`."""
        spectrum = jnp.fft.rfft2(x, norm="ortho")
        size = jnp.abs(spectrum)
        ratio = self.modulus / jnp.where(size > 0, size, 1)
        brightness = jnp.maximum(spectrum[0, 0].real, 0)
        fixed = ratio * spectrum
        corner = jnp.zeros(fixed.shape, bool).at[0, 0].set(True)
        fixed = jnp.where(corner, brightness.astype(fixed.dtype), fixed)
        return jnp.fft.irfft2(fixed, x.shape, norm="ortho")


def read(path: pathlib.Path):
    """The moduli, 128 x 65: the file has no column for the highest frequency."""
    power = np.loadtxt(path)
    if power.ndim != 2 or power.shape[0] != 2 * power.shape[1]:
        raise ValueError(
            f"{path}: expected 2 n lines with n numbers each, got {power.shape}."
        )
    return np.pad(np.sqrt(power), ((0, 0), (0, 1))).astype(np.float32)


@eqx.filter_jit
def _search(map_, sets, z):
    """`CHUNK` steps: `z`, the share of B's power in A's pixels, and A's point."""
    z = jax.lax.fori_loop(0, CHUNK, lambda _, z: map_.apply(z), z)
    bright, measured = sets
    x = bright.project(z)
    y = measured.project(2 * x - z)
    inside = jnp.where(x > 0, y, 0)
    # By Parseval, without the zero frequency, which is the image's own.
    modulus = measured.modulus
    total = 2 * jnp.sum(modulus**2) - jnp.sum(modulus[:, 0] ** 2)
    mean = jnp.sum(inside) / x.shape[0]
    return z, jnp.sum(inside**2) / (total + mean**2), x


def retrieve(modulus, bright: int, key, max_steps: int, beta: float = BETA):
    """Search from one start: the image, the steps, and the share of the power."""
    size = modulus.shape[0]
    sets = [FewBright(bright), FourierModulus(jnp.asarray(modulus))]
    z = sets[1].project(jr.uniform(key, (size, size), jnp.float32))
    map_ = fp.RRR(beta).make_map(fp.Feasibility(sets, z))
    steps, share, image = 0, jnp.zeros(()), z
    while steps < max_steps and not float(share) > GOAL:
        z, share, image = _search(map_, sets, z)
        steps += CHUNK
    return np.asarray(image), steps, float(share)


def main():
    """Solve one file from several starts and report."""
    parser = argparse.ArgumentParser(description="Phase retrieval by RRR.")
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--atoms", type=int, default=None)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--max-steps", type=int, default=20_000)
    parser.add_argument("--beta", type=float, default=BETA)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    digits = re.search(r"\d+", options.file.name)
    if options.atoms is None and digits is None:
        parser.error("give --atoms: the name of the file does not tell their number")
    atoms = options.atoms if options.atoms is not None else int(digits[0])  # pyright: ignore[reportOptionalSubscript]
    modulus = read(options.file)
    image = None
    for start in range(options.starts):
        began = time.perf_counter()
        image, steps, share = retrieve(
            modulus, 8 * atoms, jr.key(start), options.max_steps, options.beta
        )
        seconds = time.perf_counter() - began
        word = "solved" if share > GOAL else "not solved"
        print(f"start {start}: {word} in {steps} steps, {seconds:.1f} s", flush=True)
    assert image is not None
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    spectrum = np.fft.fftshift(np.abs(np.fft.fft2(image)))
    left.imshow(np.log1p(spectrum), cmap="gray")
    left.set(title="Modulus of the spectrum, logarithmic", xticks=[], yticks=[])
    right.imshow(image, cmap="gray_r")
    right.set(title=f"Contrast found, {atoms} atoms", xticks=[], yticks=[])
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "phase_retrieval.png", dpi=80)
    print(f"wrote {options.out / 'phase_retrieval.png'}")


if __name__ == "__main__":
    main()
