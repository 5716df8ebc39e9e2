"""A deep equilibrium layer z = tanh(Wz + Ux + b): 64 samples of 256 features."""

import functools

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast


_BATCH, _FEATURES, _CHECKED = 64, 256, 4


@functools.cache
def _data(orthogonal: bool):
    rng = np.random.default_rng(2019)
    weight = rng.normal(size=(_FEATURES, _FEATURES))
    if orthogonal:
        weight = 0.97 * np.linalg.qr(weight)[0]
    else:
        weight *= 0.9 / np.linalg.norm(weight, 2)
    injection = rng.normal(size=(_FEATURES, _FEATURES)) / np.sqrt(_FEATURES)
    bias = 0.1 * rng.normal(size=_FEATURES)
    # Small inputs keep tanh near its steepest, where the contraction is weakest.
    return weight, injection, bias, 0.1 * rng.normal(size=(_BATCH, _FEATURES))


def _map(y, args):
    weight, injection, bias, x = args
    return jnp.tanh(y @ weight.T + x @ injection.T + bias[None, :])


def _problem(name, orthogonal, kind, steps, tolerance32) -> Problem:
    def make(dtype):
        y0 = np.zeros((_BATCH, _FEATURES))
        return _map, *cast((y0, _data(orthogonal)), dtype)

    @functools.cache
    def solution():
        """Newton's method with a dense Jacobian for each of the first few samples."""
        weight, injection, bias, x = _data(orthogonal)
        drive, z = x[:_CHECKED] @ injection.T + bias, np.zeros((_CHECKED, _FEATURES))
        for _ in range(20):
            image = np.tanh(z @ weight.T + drive)
            jacobian = np.eye(_FEATURES) - (1 - image**2)[:, :, None] * weight
            step = np.linalg.solve(jacobian, (image - z)[..., None])[..., 0]
            z = z + step
            if np.max(np.abs(step)) < 1e-13:
                break
        return z

    def check(y):
        return np.max(np.abs(np.asarray(y, float)[:_CHECKED] - solution()))

    return Problem(
        name=name,
        make=make,
        size=_BATCH * _FEATURES,
        picard_steps_hint=steps,
        tuned_on=False,
        reference="S. Bai, J. Z. Kolter and V. Koltun (2019), Deep equilibrium "
        "models; W "
        f"{kind}, seed 2019",
        tolerance32=tolerance32,
        check=check,
        accuracy=5e-6,
        accuracy32=5e-3,
    )


PROBLEMS = [
    _problem("deq_tanh", False, "Gaussian with spectral norm 0.9", 24, 2e-5),
    _problem("deq_tanh_orthogonal", True, "0.97 times orthogonal", 218, 1e-4),
]
