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

from . import _lanes
from ._canonical import Program


_SWEEPS = 10


class Scaling(eqx.Module):
    """`D`, `E` (for all rows) and `c`."""

    x: Float[Array, " n"]
    rows: Float[Array, " m"]
    cost: Float[Array, ""]


def equilibrate(
    program: Program, tie: Callable | None = None, share: bool = False
) -> tuple[Program, Scaling]:
    """The scaled program, and how; `tie` gives rows of a cone one factor.

    With `share`, lanes of `jax.vmap` that have the matrices in common keep that.
    """
    P, G = program.P, program.G
    k, dtype = G.shape[0], program.q.dtype

    def sweep(_, scales):
        d, e = scales
        scaled = G.scaled(e, d)
        columns = jnp.maximum(P.scaled(d, d).column_max(), scaled.column_max())
        e = e * _inverse_root(scaled.row_max())
        return d * _inverse_root(columns), e if tie is None else tie(e)

    ones = jnp.ones_like(program.q), jnp.ones((k,), dtype)
    d, e = jax.lax.fori_loop(0, _SWEEPS, sweep, ones)
    P = program.P.scaled(d, d)
    q = program.q * d
    size = jnp.maximum(
        jnp.mean(P.column_max()) if q.size else 0.0,
        jnp.max(jnp.abs(q), initial=0),
    )
    c = 1 / jnp.where(size > 0, size, 1)
    if share:
        matrices = _lanes.marks(program.P, program.G)
        c = _lanes.mean_of_lanes(c, jnp.array(True), matrices)
    rows = jnp.concatenate([e, 1 / d]) if program.bounded else e
    scaled = Program(
        P.scaled(jnp.full_like(d, c), jnp.ones_like(d)),
        c * q,
        G.scaled(e, d),
        jax.tree.map(lambda b: b * rows, program.domain)
        if tie is None
        else eqx.tree_at(lambda d: d.b, program.domain, program.domain.b * rows),
        program.band,
        program.bounded,
    )
    return scaled, Scaling(d, rows, c)


def _inverse_root(size: Float[Array, " n"]) -> Float[Array, " n"]:
    return 1 / jnp.sqrt(jnp.where(size > 0, size, 1))
