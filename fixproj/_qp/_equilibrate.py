r"""Ruiz equilibration.

    P <- c D P D,   q <- c D q,   G <- E G D,   x = D x',   y = E y' / c

with diagonal D and E that bring every row and column of [[P, G'], [G, 0]] close to
maximum norm 1, and c the cost. Ruiz (2001), A scaling algorithm to equilibrate both
rows and columns norms in matrices; with the cost as in Stellato et al. (2020), 5.1.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._canonical import Program


_SWEEPS = 10


class Scaling(eqx.Module):
    """`D`, `E` (for all rows) and `c`."""

    x: Float[Array, " n"]
    rows: Float[Array, " m"]
    cost: Float[Array, ""]


def equilibrate(
    program: Program, tie: Callable | None = None
) -> tuple[Program, Scaling]:
    """The scaled program, and how; `tie` gives rows of a cone one factor."""
    P, G = jnp.abs(program.P), jnp.abs(program.G)
    k = G.shape[0]

    def sweep(_, scales):
        d, e = scales
        scaled = G * e[:, None] * d[None, :]
        columns = jnp.max(P * d[:, None], axis=0, initial=0) * d
        columns = jnp.maximum(columns, jnp.max(scaled, axis=0, initial=0))
        e = e * _inverse_root(jnp.max(scaled, axis=1, initial=0))
        return d * _inverse_root(columns), e if tie is None else tie(e)

    ones = jnp.ones_like(program.q), jnp.ones((k,), G.dtype)
    d, e = jax.lax.fori_loop(0, _SWEEPS, sweep, ones)
    P = program.P * d[:, None] * d[None, :]
    q = program.q * d
    size = jnp.maximum(
        jnp.mean(jnp.max(jnp.abs(P), axis=0, initial=0)) if q.size else 0.0,
        jnp.max(jnp.abs(q), initial=0),
    )
    c = 1 / jnp.where(size > 0, size, 1)
    rows = jnp.concatenate([e, 1 / d]) if program.bounded else e
    scaled = Program(
        c * P,
        c * q,
        program.G * e[:, None] * d[None, :],
        jax.tree.map(lambda b: b * rows, program.domain)
        if tie is None
        else eqx.tree_at(lambda d: d.b, program.domain, program.domain.b * rows),
        program.bounded,
    )
    return scaled, Scaling(d, rows, c)


def _inverse_root(size: Float[Array, " n"]) -> Float[Array, " n"]:
    return 1 / jnp.sqrt(jnp.where(size > 0, size, 1))
