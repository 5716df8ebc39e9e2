"""Costs that are measured: any Python callable, called on the host, never traced.

A measured cost travels as a pair (high, low) of floats whose sum is the number that the
device returned, so that differences keep its digits also where JAX computes in float32.
"""

import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array

from fixproj._check import check_positive_int, is_traced


Points = list[list[Array]]
Evaluator = Callable[[Points], tuple[Array, Array, dict[str, Array]]]


class DeviceWarning(UserWarning):
    """A device failed to answer and its measurement was left out."""


class Device:
    """A callable that is tried again when it fails, and answers NaN if that is vain.

    `mgd_value_and_grad(..., black_box=True)` and `MGD` leave out measurements that are
    NaN, so that a training goes on over them. Failures are counted and reported, never
    hidden. It is for the host: not a pytree, never traced.

    Args:
        fn: `fn(params, *args)` returns a number. It bounds its own waiting time, with a
            timeout on its socket or pipe, and raises if that passes.
        retries: how often a failed measurement is made again.
        recover: called without arguments after a failure and before the next attempt:
            reconnect, or discard a reply that is late.
        errors: the exceptions that count as a failure; TimeoutError is an OSError. All
            others are errors of the program, and pass.
        pause: seconds to wait before trying again; doubled each time.

    Attributes:
        report: a dictionary with the number of "calls", of "failures" (attempts that
            raised or were not finite), of "skipped" measurements (all attempts failed),
            and the "last_error" in words.

    Examples:
        >>> from fixproj import nn
        >>> answers = iter([float("nan"), 2.0])
        >>> device = nn.mgd.Device(lambda params: next(answers))
        >>> device(None), device.report["failures"], device.report["skipped"]
        (2.0, 1, 0)
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        retries: int = 2,
        recover: Callable[[], Any] | None = None,
        errors: tuple[type[Exception], ...] = (OSError, EOFError),
        pause: float = 0.0,
    ):
        if not callable(fn):
            raise TypeError(f"Device: `fn` must be callable, got {type(fn).__name__}.")
        if retries != 0:
            check_positive_int("Device", "retries", retries)
        self.fn = fn
        self.retries = retries
        self.recover = recover
        self.errors = errors
        self.pause = pause
        self.report: dict[str, Any] = {
            "calls": 0,
            "failures": 0,
            "skipped": 0,
            "last_error": None,
        }

    def __call__(self, *args: Any) -> float:
        """The measured number, or NaN."""
        self.report["calls"] += 1
        pause = self.pause
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(pause)
                pause *= 2
                # A device may need several attempts to come back.
                try:
                    if self.recover is not None:
                        self.recover()
                except self.errors as error:
                    self._failed(f"recover: {type(error).__name__}: {error}")
                    continue
            try:
                value = float(np.asarray(self.fn(*args)).reshape(()))
            except self.errors as error:
                self._failed(f"{type(error).__name__}: {error}")
                continue
            if np.isfinite(value):
                return value
            self._failed(f"it returned {value}")
        self.report["skipped"] += 1
        warnings.warn(
            f"A device failed {self.retries + 1} times ({self.report['last_error']}); "
            f"measurement {self.report['calls']} is left out, "
            f"{self.report['skipped']} so far.",
            DeviceWarning,
            stacklevel=2,
        )
        return float("nan")

    def _failed(self, reason: str) -> None:
        self.report["failures"] += 1
        self.report["last_error"] = reason


def host_evaluator(
    fn: Callable[..., Any],
    rebuild: Callable[[list[Any]], Any],
    args: Any,
    traced: bool,
) -> Evaluator:
    """Measures a cost at points, one after the other, in their order.

    Args:
        fn: the callable.
        rebuild: real leaves to what `fn` takes first.
        args: the rest of what it takes, any pytree.
        traced: whether to go through `io_callback`.

    Returns:
        A function from a list of points to costs (high, low), two arrays, and nothing
        else in a dictionary.
    """
    dtype = jnp.result_type(float)
    arrays, rest = eqx.partition(args, eqx.is_array)
    # Two callbacks of one program may run at the same time, a device may not.
    lock = threading.Lock()

    def measure(points, arrays):
        here = jax.tree.map(_to_host, eqx.combine(arrays, rest))
        costs = []
        with lock:
            for point in points:
                value = fn(rebuild([np.asarray(leaf) for leaf in point]), *here)
                costs.append(_as_number(value))
        costs = np.asarray(costs, np.float64)
        high = costs.astype(dtype)
        with np.errstate(invalid="ignore"):
            return high, (costs - high).astype(dtype)

    def evaluate(points):
        if not traced:
            high, low = measure(points, arrays)
            return jnp.asarray(high), jnp.asarray(low), {}
        shape = jax.ShapeDtypeStruct((len(points),), dtype)
        return *io_callback(measure, (shape, shape), points, arrays), {}

    return evaluate


def any_traced(tree: Any) -> bool:
    """Whether any leaf is traced."""
    return any(is_traced(leaf) for leaf in jax.tree.leaves(tree))


def _to_host(leaf):
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )
    return np.asarray(leaf) if eqx.is_array(leaf) and not is_key else leaf


def _as_number(value) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise TypeError(
            "A black-box cost must return one real number, got "
            f"{array.dtype} of shape {array.shape}."
        )
    return float(array.reshape(()))
