r"""Second moments of what goes into matrix products, kept over past minibatches.

A sweep damps the movement of a matrix by the Gram matrix of its inputs. What a
minibatch tells of that is noisy, and a factorisation in every step is dear. So the
leading part of the running mean C = E[x x'] is kept, C ~ U diag(l) U', U with
orthonormal columns, and renewed now and then: by the leading eigenpairs of

    keep U diag(l) U' + (1 - keep) Q'Q / m,

with Q a sample of m rows, found through the small Gram matrix of the rows of
[sqrt(keep l) U'; sqrt((1 - keep) / m) Q]. The damping is then

    (I + s C)^-1 g = g - U diag(s l / (1 + s l)) U'g.

Liberty (2013), "Simple and deterministic matrix sketching", is of this kind; damping by
a running second moment is that of Martens and Grosse (2015), K-FAC.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.projections._precision import at_least_single


class Curvature(eqx.Module):
    """The leading eigenpairs of running second moments, G of them side by side."""

    basis: Float[Array, "G entries rank"]
    moments: Float[Array, "G rank"]

    def damped(
        self, g: Float[Array, "G entries outputs"], strength
    ) -> Float[Array, "G entries outputs"]:
        """(I + strength C)^-1 g."""
        work = self.moments.dtype
        scaled = jnp.asarray(strength, work) * self.moments
        along = jnp.matmul(self.basis.swapaxes(1, 2), g.astype(work))
        along = along * (scaled / (1 + scaled))[:, :, None]
        return (g - jnp.matmul(self.basis, along)).astype(g.dtype)

    def renewed(self, rows: Float[Array, "G rows entries"], keep) -> "Curvature":
        """With the second moments of `rows`, at the weight 1 - keep."""
        work, rank = self.moments.dtype, self.moments.shape[1]
        rows = rows.astype(work)
        keep = jnp.asarray(keep, work)
        old = jnp.sqrt(keep * self.moments)[:, :, None] * self.basis.swapaxes(1, 2)
        new = jnp.sqrt((1 - keep) / rows.shape[1]) * rows
        stack = jnp.concatenate([old, new], axis=1)
        values, vectors = jnp.linalg.eigh(jnp.matmul(stack, stack.swapaxes(1, 2)))
        values, vectors = values[:, -rank:], vectors[:, :, -rank:]
        # What is lost in rounding has no direction.
        least = jnp.finfo(work).eps * values.shape[1] * values[:, -1:]
        moments = jnp.where(values > least, values, 0)
        scale = jnp.where(values > least, jnp.maximum(values, least), jnp.inf) ** -0.5
        basis = jnp.matmul(stack.swapaxes(1, 2), vectors) * scale[:, None, :]
        return Curvature(basis, moments)


def no_curvature(shape: tuple[int, int], dtype, rank: int) -> Curvature:
    """Of nothing, for G products with so many entries in a row of their inputs."""
    groups, entries = shape
    work = at_least_single(dtype)
    rank = min(rank, entries)
    return Curvature(
        jnp.zeros((groups, entries, rank), work), jnp.zeros((groups, rank), work)
    )
