"""Families of perturbations: the directions in which parameters are moved.

The direction of time t is v(t), with weight w. Over its times a family has
E[w v v^T] = I, so that w v (v . g) has mean g, whatever the gradient g. A family with a
period T meets this exactly in the mean over any T successive times.

References:
    Spall, "Multivariate stochastic approximation using a simultaneous perturbation
    gradient approximation", IEEE TAC 37, 1992; McCaughan et al., "Multiplexed gradient
    descent", APL Machine Learning 1, 026118, 2023, section II.
"""

import abc
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, UInt32

from fixproj.nn._mgd._scramble import bits_for, scramble, scramble_below
from fixproj.projections._precision import at_least_single


Like = Sequence[jax.ShapeDtypeStruct]


class AbstractPerturbation(eqx.Module):
    """A family of directions, indexed by time and scrambled by a key.

    Attributes:
        dense: whether a direction moves every parameter.
        joint: whether the directions of one update must be drawn together.
    """

    dense: eqx.AbstractClassVar[bool]
    joint: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def draw(self, key: Array, times: UInt32[Array, " n"], like: Like) -> list[Array]:
        """The directions of some times.

        Args:
            key: of the family's choices. Periodic families are periodic in time for
                one key; random ones draw anew for every time.
            times: n times.
            like: shape and dtype of every real leaf.

        Returns:
            For each leaf an array of shape (n, *shape).
        """

    @abc.abstractmethod
    def weight(self, size: int) -> float:
        """The factor w, for `size` parameters."""

    @abc.abstractmethod
    def period(self, size: int) -> int | None:
        """The number of times after which the mean estimate is exact, if there is."""

    @abc.abstractmethod
    def expected_cosine(self, size: int, probes: int) -> float:
        """The cosine of the mean estimate to the gradient that theory predicts.

        |g|^2 / sqrt(|g|^2 E|estimate|^2), for a gradient in general position.
        """


class Rademacher(AbstractPerturbation):
    """Independent signs."""

    dense: ClassVar[bool] = True
    joint: ClassVar[bool] = False

    def draw(self, key, times, like):
        """See `AbstractPerturbation.draw`; one random bit for each sign."""
        return _independent(_signs, key, times, like)

    def weight(self, size):
        """One."""
        return 1.0

    def period(self, size):
        """None."""
        return None

    def expected_cosine(self, size, probes):
        """E|estimate|^2 = (K + n - 1) / n |g|^2."""
        return math.sqrt(probes / (size + probes - 1))


class Gaussian(AbstractPerturbation):
    """Independent standard normal entries."""

    dense: ClassVar[bool] = True
    joint: ClassVar[bool] = False

    def draw(self, key, times, like):
        """See `AbstractPerturbation.draw`."""
        normal = lambda key, leaf: jr.normal(key, leaf.shape, leaf.dtype)
        return _independent(normal, key, times, like)

    def weight(self, size):
        """One."""
        return 1.0

    def period(self, size):
        """None."""
        return None

    def expected_cosine(self, size, probes):
        """E|estimate|^2 = (K + n + 1) / n |g|^2."""
        return math.sqrt(probes / (size + probes + 1))


class Sequential(AbstractPerturbation):
    """One parameter at a time, in scrambled order: finite differences."""

    dense: ClassVar[bool] = False
    joint: ClassVar[bool] = False

    def draw(self, key, times, like):
        """See `AbstractPerturbation.draw`."""
        size = _size(like)
        start, order = jr.split(key)
        shift = jr.randint(start, (), 0, size).astype(jnp.uint32)
        at = (times % jnp.uint32(size) + shift) % jnp.uint32(size)
        chosen = jax.vmap(lambda t: scramble_below(order, t, size))(at)
        return _by_index(lambda i, t: i == t, chosen, like)

    def weight(self, size):
        """The number of parameters, each of which moves so much more rarely."""
        return float(size)

    def period(self, size):
        """The number of parameters."""
        return size

    def expected_cosine(self, size, probes):
        """The estimate is the gradient on a share n / K of the parameters."""
        return math.sqrt(min(1.0, probes / size))


class Walsh(AbstractPerturbation):
    """Walsh-Hadamard codes: orthogonal signs, from a popcount of parameter and time.

    Parameter i has the code c(i), a scrambled number below the period, and at time t
    the sign (-1)^popcount(c(i) & t). Nothing is stored and no random number is drawn
    for an entry.

    Args:
        constant: use the code that never changes sign. A filter does not pass it.
    """

    dense: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    constant: bool = eqx.field(static=True, default=True)

    def draw(self, key, times, like):
        """See `AbstractPerturbation.draw`."""
        size = _size(like)
        bits = bits_for(size + (not self.constant))
        spare = None if self.constant else (0, size)
        codes, times = _codes(key, times, bits, spare)

        def sign(number, time):
            parity = jax.lax.population_count(codes(number) & time) & jnp.uint32(1)
            return 1 - 2 * parity.astype(jnp.int32)

        return _by_index(sign, times, like)

    def weight(self, size):
        """One."""
        return 1.0

    def period(self, size):
        """The least power of two that is not below the number of parameters."""
        return 1 << bits_for(size + (not self.constant))

    def expected_cosine(self, size, probes):
        """Sampling from a tight frame of T vectors without replacement."""
        return _frame_cosine(size, probes, self.period(size))


class Sinusoidal(AbstractPerturbation):
    """A frequency and phase (sine or cosine) of its own for every parameter.

    Frequencies are multiples of 1 / T; the phase is a 32-bit integer that wraps around,
    so it is exact at any time. The real Fourier basis of length T has T members.

    Args:
        constant: use the member of frequency zero. A filter does not pass it.
    """

    dense: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    constant: bool = eqx.field(static=True, default=True)

    def draw(self, key, times, like):
        """See `AbstractPerturbation.draw`."""
        size = _size(like)
        bits = bits_for(size + (not self.constant))
        spare = None if self.constant else (1, size)
        codes, times = _codes(key, times, bits, spare)
        quarter = jnp.uint32(1 << 30)

        def wave(number, time):
            code = codes(number)
            frequency, cosine = code >> jnp.uint32(1), (code & jnp.uint32(1)) == 1
            # The two members without a partner: constant, and alternating.
            lone = frequency == 0
            step = jnp.where(
                lone & ~cosine,
                jnp.uint32(1 << 31),
                frequency << jnp.uint32(32 - bits),
            )
            phase = step * time + jnp.where(lone | cosine, quarter, jnp.uint32(0))
            angle = phase.astype(jnp.int32).astype(jnp.result_type(float))
            amplitude = jnp.where(lone, 1.0, math.sqrt(2))
            return amplitude * jnp.sin(angle * (2 * math.pi / 2**32))

        return _by_index(wave, times, like)

    def weight(self, size):
        """One: the mean square of an entry is 1."""
        return 1.0

    def period(self, size):
        """The least power of two that is not below the number of parameters."""
        return 1 << bits_for(size + (not self.constant))

    def expected_cosine(self, size, probes):
        """As for `Walsh`, to leading order."""
        return _frame_cosine(size, probes, self.period(size))


class Orthogonal(AbstractPerturbation):
    """Random directions of which those of one update are orthogonal to each other."""

    dense: ClassVar[bool] = True
    joint: ClassVar[bool] = True

    def draw(self, key, times, like):
        """See `AbstractPerturbation.draw`; Gram-Schmidt, every vector twice."""
        size, count = _size(like), times.shape[0]
        if count > size:
            raise ValueError(
                f"There are no {count} orthogonal directions of {size} parameters: "
                "lower probes, or take another perturbation."
            )
        dtypes = [at_least_single(leaf.dtype) for leaf in like]
        dtype = max(dtypes, key=lambda d: jnp.finfo(d).bits)
        start = jr.fold_in(key, times[0])
        rows = jr.normal(start, (count, size), dtype)

        def orthonormalise(k, rows):
            row = rows[k]
            before = (jnp.arange(count) < k).astype(dtype)
            for _ in range(2):
                row = row - (before * (rows @ row)) @ rows
            row = row / jnp.linalg.norm(row)
            return jax.lax.dynamic_update_index_in_dim(rows, row, k, 0)

        rows = jax.lax.fori_loop(0, count, orthonormalise, rows) * math.sqrt(size)
        out, begin = [], 0
        for leaf in like:
            part = rows[:, begin : begin + _leaf_size(leaf)]
            out.append(part.reshape(count, *leaf.shape).astype(leaf.dtype))
            begin += _leaf_size(leaf)
        return out

    def weight(self, size):
        """One: a direction has the norm sqrt(K)."""
        return 1.0

    def period(self, size):
        """None, but as many probes as parameters in one update are exact."""
        return None

    def expected_cosine(self, size, probes):
        """The estimate is a projection onto n random dimensions."""
        return math.sqrt(min(1.0, probes / size))


PERTURBATIONS: dict[str, AbstractPerturbation] = {
    "rademacher": Rademacher(),
    "gaussian": Gaussian(),
    "sequential": Sequential(),
    "walsh": Walsh(),
    "hadamard": Walsh(),
    "sinusoidal": Sinusoidal(),
    "orthogonal": Orthogonal(),
}


def perturbation_named(perturbation: Any) -> AbstractPerturbation:
    """The family of that name, or the family itself.

    Raises:
        ValueError: if there is none of that name.
    """
    if isinstance(perturbation, AbstractPerturbation):
        return perturbation
    if not isinstance(perturbation, str) or perturbation not in PERTURBATIONS:
        known = ", ".join(map(repr, PERTURBATIONS))
        raise ValueError(
            f"perturbation must be one of {known}, or an nn.mgd.AbstractPerturbation; "
            f"got {perturbation!r}."
        )
    return PERTURBATIONS[perturbation]


def _leaf_size(leaf) -> int:
    return math.prod(leaf.shape)


def _size(like: Like) -> int:
    return sum(map(_leaf_size, like))


def _independent(sample, key, times, like):
    """One sample per time and leaf, each with a key of its own."""

    def one(time):
        now = jr.fold_in(key, time)
        return [sample(jr.fold_in(now, i), leaf) for i, leaf in enumerate(like)]

    if times.shape[0] == 1:
        return [sample[None] for sample in one(times[0])]
    return jax.vmap(one)(times)


def _signs(key, leaf):
    """Signs from the single bits of random words."""
    size = _leaf_size(leaf)
    words = jr.bits(key, (-(-size // 32), 1), jnp.uint32)
    bits = (words >> jnp.arange(32, dtype=jnp.uint32)[None]) & jnp.uint32(1)
    signs = 1 - 2 * bits.reshape(-1)[:size].astype(jnp.int32)
    return signs.astype(leaf.dtype).reshape(leaf.shape)


def _by_index(function, times, like):
    """function(number of the parameter among all, time) for every entry and time."""
    out, begin = [], 0
    for leaf in like:
        size = _leaf_size(leaf)
        numbers = jax.lax.iota(jnp.uint32, size) + jnp.uint32(begin)
        values = function(numbers[None], times[:, None]).astype(leaf.dtype)
        out.append(values.reshape(times.shape[0], *leaf.shape))
        begin += size
    return out


def _codes(key, times, bits, spare):
    """The scrambled code of every number, and the scrambled times.

    With `spare=(code, number)` the one that would have that code has that of a number
    which is not in use.
    """
    key_code, key_time = jr.split(key)
    mask = jnp.uint32((1 << bits) - 1)

    def codes(numbers):
        found = scramble(key_code, numbers, bits)
        if spare is None:
            return found
        other = scramble(key_code, jnp.uint32(spare[1]), bits)
        return jnp.where(found == jnp.uint32(spare[0]), other, found)

    return codes, scramble(key_time, times & mask, bits)


def _frame_cosine(size, probes, period):
    cycles, probes = divmod(probes, period)
    if cycles:
        # Exact periods, then a part of one that weighs little.
        probes = cycles * period + probes
        return 1.0 if probes % period == 0 else math.sqrt(probes / (probes + 1))
    pairs = (period - size) / max(1, period - 1)
    return 1 / math.sqrt(size / probes + (probes - 1) / probes * pairs)
