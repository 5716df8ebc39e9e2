r"""The condensed system `(P + shift I + A' diag(w) A) x = b` of a program.

    both matrices dense               a dense Cholesky factor
    both sparse, a band that fits     a block Cholesky factor, see `_band`
    anything else                     conjugate gradients, with products only

Every one has `solve(b, guess)`. The guess is used by conjugate gradients, which are
content then to make its residual smaller by a factor.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _band
from ._linear import Dense, Sparse


_REDUCTION = 1e-2


class Cholesky(eqx.Module):
    """A dense factor."""

    factor: Float[Array, "n n"]

    def solve(self, b: Float[Array, " n"], guess: Array | None = None) -> Array:
        """`x`."""
        del guess
        solve = jax.lax.linalg.triangular_solve
        half = solve(self.factor, b[:, None], left_side=True, lower=True)
        return solve(self.factor, half, left_side=True, lower=True, transpose_a=True)[
            :, 0
        ]


class Products(eqx.Module):
    """No factor: conjugate gradients, preconditioned by the diagonal."""

    program: Any
    weights: Float[Array, " m"]
    shift: Array

    def multiply(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The matrix times `x`."""
        program = self.program
        pulled = program.transposed(self.weights * program.rows(x))
        return program.P @ x + self.shift * x + pulled

    def solve(self, b: Float[Array, " n"], guess: Array | None = None) -> Array:
        """`x`, to nearly the accuracy of the dtype without a guess."""
        epsilon = float(jnp.finfo(b.dtype).eps)
        x = jnp.zeros_like(b) if guess is None else guess
        r = b - self.multiply(x) if guess is not None else b
        reduction = epsilon**0.75 if guess is None else _REDUCTION
        diagonal = self.program.P.diagonal() + self.shift
        diagonal = diagonal + self.program.weighted_diagonal(self.weights)
        scale = jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 1)
        limit = min(10 * b.size, 5000) if guess is None else min(b.size, 200)
        target = reduction * jnp.linalg.norm(r)

        def keep_on(carry):
            _, r, _, _, count = carry
            return (jnp.linalg.norm(r) > target) & (count < limit)

        def body(carry):
            x, r, p, rz, count = carry
            hp = self.multiply(p)
            curvature = p @ hp
            length = jnp.where(curvature > 0, rz / curvature, 0)
            x, r = x + length * p, r - length * hp
            z = scale * r
            new = r @ z
            p = z + jnp.where(rz > 0, new / rz, 0) * p
            # Without curvature nothing would ever change again.
            return x, r, p, new, jnp.where(curvature > 0, count + 1, limit)

        z = scale * r
        carry = x, r, z, r @ z, jnp.zeros((), jnp.int32)
        return jax.lax.while_loop(keep_on, body, carry)[0]


Factor = Cholesky | _band.BandFactor | Products


def is_direct(program: Any) -> bool:
    """Whether the system is factorised."""
    dense = isinstance(program.P, Dense) and isinstance(program.G, Dense)
    return dense or program.band is not None


def factorise(program: Any, weights: Float[Array, " m"], shift: Any) -> Factor:
    """What solves the condensed system of a program."""
    P, G = program.P, program.G
    k, n = G.shape
    diagonal = jnp.broadcast_to(shift, (n,))
    if program.bounded:
        diagonal = diagonal + weights[k:]
    if isinstance(P, Dense) and isinstance(G, Dense):
        H = P.array
        if k > 0:
            H = H + (G.array * weights[:k, None]).T @ G.array
        return Cholesky(jax.lax.linalg.cholesky(H + jnp.diag(diagonal)))
    if program.band is not None:
        assert isinstance(P, Sparse) and isinstance(G, Sparse)
        return _band.factorise(program.band, P, G, weights[:k], diagonal)
    return Products(program, weights, jnp.asarray(shift, program.q.dtype))
