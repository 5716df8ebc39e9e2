"""`mgd_value_and_grad`: in the place of `jax.value_and_grad`, without derivatives."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from fixproj._check import check_between, check_positive_int
from fixproj.nn._mgd._device import any_traced, host_evaluator
from fixproj.nn._mgd._epsilon import check_scheme, default_epsilon, warn_if_lost
from fixproj.nn._mgd._estimate import Keys, Plan, estimate
from fixproj.nn._mgd._families import AbstractPerturbation, perturbation_named
from fixproj.nn._mgd._leaves import perturbable
from fixproj.nn._mgd._noise import AbstractNoise, apply_noise, check_noise, has_stage
from fixproj.projections._precision import at_least_single


def mgd_value_and_grad(
    fn: Callable[..., Any],
    *,
    perturbation: str | AbstractPerturbation = "rademacher",
    probes: int = 1,
    scheme: str = "central",
    epsilon: float | Float[Array, ""] | None = None,
    black_box: bool = False,
    noise: AbstractNoise | Sequence[AbstractNoise] = (),
    chunk: int | None = None,
    warn: bool = True,
) -> Callable[..., tuple[Array, PyTree]]:
    """Value and gradient of a cost by multiplexed perturbations (MGD).

    All parameters are perturbed at the same time, and the change of the cost is
    correlated with the perturbation. The estimate has the gradient as its mean and is
    noisy: with K parameters and n probes its cosine to the gradient is about
    sqrt(n / (n + K)). Optimisers average it.

    Args:
        fn: `fn(params, *args)` returns a scalar.
        perturbation: the family of directions: "rademacher" (random signs),
            "gaussian", "sequential" (one parameter at a time: finite differences),
            "walsh" or "hadamard" (orthogonal signs), "sinusoidal" (a frequency for
            each parameter), "orthogonal" (random, orthogonal within a call), or an
            `nn.mgd.AbstractPerturbation`. With one full period of probes, which is K
            for "sequential" and "orthogonal" and the next power of two for "walsh" and
            "sinusoidal", the estimate is the gradient.
        probes: directions per call.
        scheme: "central" takes two costs per probe, "forward" one, and one of the
            unperturbed parameters for all.
        epsilon: amplitude of a perturbation. None scales it to the dtype, to the number
            of parameters and, where that is above 1, to their size.
        black_box: `fn` is any Python callable, for example the driver of a device. It
            is called on the host with NumPy arrays, in order, and never traced; under
            `jit` through a callback. Probes that are not finite are left out (see
            `nn.mgd.Device`, which also tries again); if none is left, the gradient is
            zero and the value NaN.
        noise: imperfections to simulate, `nn.mgd.AbstractNoise`, in order.
        chunk: probes that are evaluated together by `jax.vmap`; None bounds their
            memory.
        warn: warn when the measured differences are mere rounding.

    Returns:
        A function `(params, *args, key, step=None) -> (value, gradient)`. The value is
        that of `fn` ("forward") or the mean of the pairs, which differs from it by
        order epsilon^2 ("central"). The gradient has the structure of `params`, as
        `jax.grad` defines it for complex arrays, and zeros for arrays that are not
        floating-point. With an integer `step` and the same key at every call, periodic
        families go on from call to call.

    Raises:
        ValueError: for an unknown perturbation or scheme, or numbers out of range.
        TypeError: if `fn` is not callable.

    Warns:
        LostPerturbationWarning: if the measured differences are mere rounding.

    References:
        McCaughan et al., APL Machine Learning 1, 026118, 2023.
        Spall, IEEE Transactions on Automatic Control 37, 1992.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from fixproj import nn
        >>> cost = lambda w, x: jnp.sum((w - x) ** 2)
        >>> find = nn.mgd_value_and_grad(cost, perturbation="walsh", probes=4)
        >>> value, gradient = find(jnp.ones(4), jnp.arange(4.0), key=jax.random.key(0))
        >>> print(gradient.round(2) + 0)
        [ 2.  0. -2. -4.]
    """
    if not callable(fn):
        raise TypeError(
            f"mgd_value_and_grad: `fn` must be callable, got {type(fn).__name__}."
        )
    family = perturbation_named(perturbation)
    check_positive_int("mgd_value_and_grad", "probes", probes)
    if chunk is not None:
        check_positive_int("mgd_value_and_grad", "chunk", chunk)
    check_scheme(scheme)
    if epsilon is not None:
        check_between("mgd_value_and_grad", "epsilon", epsilon, 0.0)
    noise = check_noise(noise)
    plan = Plan(family, noise, probes, scheme, chunk, black_box)

    def value_and_gradient(params, *args, key, step=None):
        parts = perturbable(params)
        leaves = parts.leaves
        size = sum(leaf.size for leaf in leaves)
        traced = any_traced((params, args, key, step))
        own, for_noise = jr.split(key) if noise else (key, key)
        keys = Keys(own, for_noise)
        start = jnp.asarray(0 if step is None else step, jnp.uint32)
        if noise and step is not None:
            keys = Keys(own, jr.fold_in(for_noise, step))
        amplitude = (
            default_epsilon(family, scheme, leaves)
            if epsilon is None
            else jnp.asarray(epsilon, jnp.result_type(float))
        )
        # What a host returns is a Python float.
        cost_dtypes = [jnp.dtype(jnp.float64)]
        if black_box:
            evaluate = host_evaluator(fn, parts.rebuild, args, traced)
        else:
            evaluate = _traceable(fn, parts.rebuild, args, cost_dtypes)
        if has_stage(noise, "parameters"):
            evaluate = _with_defects(evaluate, noise, keys.noise)
        found = estimate(
            evaluate,
            leaves,
            keys,
            start * jnp.uint32(probes),
            amplitude,
            plan,
            on_host=black_box and not traced,
        )
        if warn and (family.dense or probes >= size):
            unit = float(jnp.finfo(cost_dtypes[-1]).eps)
            warn_if_lost(found.difference, found.value, amplitude, unit, scheme)
        return found.value, parts.as_gradient(found.gradient)

    return value_and_gradient


def _traceable(fn, rebuild, args, dtypes):
    """Costs of a JAX function, with nothing in the low part; notes their dtype."""

    def cost(leaves):
        value = jnp.asarray(fn(rebuild(leaves), *args))
        if value.shape != () or jnp.iscomplexobj(value):
            raise TypeError(
                "mgd_value_and_grad needs a function that returns a real scalar, got "
                f"{value.dtype.name} of shape {value.shape}."
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            value = value.astype(jnp.result_type(float))
        dtypes.append(value.dtype)
        return value.astype(at_least_single(value.dtype))

    def evaluate(points):
        high = jnp.stack([cost(point) for point in points])
        return high, jnp.zeros_like(high), {}

    return evaluate


def _with_defects(evaluate, noise, key):
    def defective(points):
        return evaluate([apply_noise(noise, "parameters", key, p) for p in points])

    return defective
