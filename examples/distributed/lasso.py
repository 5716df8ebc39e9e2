r"""A sparse regression whose rows are spread over processes, by consensus.

    minimise   sum_k |A_k x - b_k|^2 / 2 + strength |x|_1

Block k of the rows lives on device k with its own copy x_k of the unknowns.
Douglas-Rachford on the stacked copies: the prox of every block's least squares (a
factorisation of its own, made once, without talk), and the prox of "all copies agree,
and their l1 norm", which is one all-reduce of `features` numbers a step.

    cd examples/distributed
    python launch.py --processes 4 lasso.py --rows 8000 --features 64

Reference: Boyd et al. (2011), Distributed optimization and statistical learning via the
alternating direction method of multipliers, section 8.2.
"""

import argparse
import time

import cluster
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np

import fixproj as fp


def make_rows(mesh, rows: int, features: int):
    """Noisy measurements of a vector with one nonzero in eight, a block per device."""
    hidden = np.where(np.arange(features) % 8 == 0, 1.0, 0.0).astype(np.float32)
    height = rows // mesh.size

    def block(i):
        return np.random.default_rng([1, i]).normal(size=(1, height, features))

    def values(i):
        noise = np.random.default_rng([2, i]).normal(size=(1, height))
        return block(i) @ hidden + 0.1 * noise

    a = cluster.by_blocks(
        mesh, mesh.size, block, np.empty((1, height, features), np.float32)
    )
    b = cluster.by_blocks(mesh, mesh.size, values, np.empty((1, height), np.float32))
    return a, b


def consensus_map(a, b, strength, step):
    """The map z -> T(z) of the stacked copies, and its readout."""
    blocks, _, features = a.shape
    factors = jax.vmap(
        lambda a: jsl.cholesky(jnp.eye(features) + step * a.T @ a, lower=True)
    )(a)
    pulls = step * jnp.einsum("krf,kr->kf", a, b)

    def fit(copies):
        solve = lambda factor, right: jsl.cho_solve((factor, True), right)
        return jax.vmap(solve)(factors, copies + pulls)

    def agree(z):
        mean = jnp.mean(z, axis=0)
        bound = step * strength / blocks
        return jnp.sign(mean) * jnp.maximum(jnp.abs(mean) - bound, 0)

    def apply(z, args):
        x = agree(z)
        return z + fit(2 * x - z) - x

    return apply, agree


def main(argv=None):
    """Makes the rows, solves, and checks the conditions of optimality."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--strength", type=float, default=20.0)
    arguments = parser.parse_args(argv)
    mesh = cluster.join()
    if arguments.rows % mesh.size:
        parser.error(f"--rows must be a multiple of {mesh.size}")
    a, b = make_rows(mesh, arguments.rows, arguments.features)

    @jax.jit
    def solve(a, b):
        step = 10.0 / a.shape[1]
        apply, agree = consensus_map(a, b, arguments.strength, step)
        start = jnp.zeros((a.shape[0], a.shape[2]))
        problem = fp.FixedPoint(apply, start)
        solution = fp.solve(problem, iteration=fp.Anderson(), throw=False)
        x = agree(solution.value)
        slope = jnp.einsum("krf,kr->f", a, jnp.einsum("krf,f->kr", a, x) - b)
        sign = arguments.strength * jnp.sign(x)
        unmet = jnp.where(
            x == 0,
            jnp.maximum(jnp.abs(slope) - arguments.strength, 0),
            jnp.abs(slope + sign),
        )
        return x, solution.result, solution.stats["num_steps"], jnp.max(unmet)

    start = time.perf_counter()
    x, result, steps, unmet = solve(a, b)
    jax.block_until_ready(x)
    cluster.say(
        f"{arguments.rows} rows on {mesh.size} devices of {jax.process_count()} "
        f"processes: {int(steps)} steps, {time.perf_counter() - start:.1f} s with "
        f"compilation, {int(jnp.sum(x != 0))} of {x.size} coefficients, optimality "
        f"to {float(unmet) / arguments.strength:.1e} of the strength"
    )
    if not bool(result == fp.RESULTS.successful):
        raise RuntimeError(fp.RESULTS[result])
    return x


if __name__ == "__main__":
    main()
