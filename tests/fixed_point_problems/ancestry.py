"""ADMIXTURE: allele frequencies F and ancestry shares Q of a sample by EM.

In logits of F and logarithms of Q (each row up to a constant).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast
from ._random import StableRandom


_MARKERS, _POPULATIONS, _PEOPLE, _FLOOR = 100, 3, 150, 1e-6


@functools.cache
def _data():
    random = StableRandom()
    start = random(_MARKERS, _POPULATIONS)
    shares = random(_PEOPLE, _POPULATIONS)
    size = 0.2 + 0.6 * random(_POPULATIONS)
    frequency = random(_MARKERS, _POPULATIONS)
    rng = np.random.default_rng(2009)
    origin = rng.choice(_POPULATIONS, size=_PEOPLE, p=size / size.sum())
    genotype = rng.binomial(2, frequency[:, origin].T).astype(float)
    return {"frequency": np.log(start / (1 - start)), "ancestry": shares}, genotype


def _map(y, args):
    genotype = args
    frequency = jax.nn.sigmoid(y["frequency"])
    other = jax.nn.sigmoid(-y["frequency"])
    share = jax.nn.softmax(y["ancestry"], axis=1)
    # Copies of each allele, divided by its probability: the posterior of the origin of
    # an allele copy is then this number times share times frequency.
    with_one = genotype / (share @ frequency.T)
    with_zero = (2 - genotype) / (share @ other.T)
    ones = frequency * (with_one.T @ share) + _FLOOR
    zeros = other * (with_zero.T @ share) + _FLOOR
    counts = share * (with_one @ frequency + with_zero @ other) + _FLOOR
    return {"frequency": jnp.log(ones / zeros), "ancestry": jnp.log(counts)}


def _make(dtype):
    return _map, *cast(_data(), dtype)


def _check(y):
    """Largest derivative of the log likelihood per allele copy, in the parameters of y.

    The floor of 1e-6 copies in the map shifts the fixed point by as much.
    """
    genotype = _data()[1]
    logit, ancestry = (np.asarray(y[k], float) for k in ("frequency", "ancestry"))
    frequency = 1 / (1 + np.exp(-logit))
    share = np.exp(ancestry - ancestry.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    one = share @ frequency.T
    slope = genotype / one - (2 - genotype) / (1 - one)
    by_logit = (slope.T @ share) * frequency * (1 - frequency)
    by_share = slope @ frequency
    by_ancestry = share * (by_share - np.sum(share * by_share, 1, keepdims=True))
    return max(np.max(np.abs(by_logit)), np.max(np.abs(by_ancestry))) / genotype.size


PROBLEMS = [
    Problem(
        name="ancestry",
        make=_make,
        size=750,
        picard_steps_hint=28219,
        tuned_on=False,
        reference="D. H. Alexander, J. Novembre and K. Lange (2009), Genome Res. 19, "
        "1655-1664; form of FixedPointTestProblems.jl (100 markers, 3 populations, 150 "
        "people); genotypes drawn with NumPy seed 2009 (the original draws them "
        "unseeded)",
        tolerance=1e-5,
        tolerance32=0.0001,
        check=_check,
        accuracy=1e-07,
        accuracy32=1e-06,
        domain="everywhere; several fixed points",
        slow=True,
    ),
]
