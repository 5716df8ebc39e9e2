"""Bad input: the error names the argument, what was given and what was expected."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fixproj import projections as proj


pytestmark = pytest.mark.slow_in_x64


def _untyped(value) -> Any:
    """Hides a wrong type from the type checker."""
    return value


ones = np.ones(3)
BAD = {
    "box_order": (lambda: proj.Box(1.0, 0.0), ValueError, "`lower` must not be larger"),
    "box_nan": (lambda: proj.Box(0.0, np.nan), ValueError, "`lower` must not .* NaN"),
    "box_infinite": (lambda: proj.Box(np.inf, np.inf), ValueError, "`lower`"),
    "box_shapes": (
        lambda: proj.Box(np.ones(2), np.ones(3)),
        ValueError,
        r"`lower` of shape \(2,\) and `upper` of shape \(3,\)",
    ),
    "box_point": (
        lambda: proj.Box(0.0, ones).project(jnp.ones(4)),
        ValueError,
        r"`upper` of shape \(3,\) does not broadcast .* \(4,\)",
    ),
    "box_enlarges": (
        lambda: proj.Box(np.zeros((2, 3)), np.inf).project(jnp.ones(3)),
        ValueError,
        r"`lower` of shape \(2, 3\) does not broadcast .* \(3,\)",
    ),
    "box_type": (
        lambda: proj.Box(_untyped("low"), 1.0),
        TypeError,
        "`lower` must be a real",
    ),
    "box_complex": (lambda: proj.Box(0.0, 1j), TypeError, "`upper` must be real"),
    "halfspace_empty": (
        lambda: proj.Halfspace(np.zeros(3), -1.0),
        ValueError,
        "`b` must not be negative when `a` is zero",
    ),
    "halfspace_a": (
        lambda: proj.Halfspace(1.0, 1.0),
        ValueError,
        r"`a` must have shape \(n,\), but has shape \(\)",
    ),
    "halfspace_b": (
        lambda: proj.Halfspace(ones, ones),
        ValueError,
        r"`b` must be a scalar, but has shape \(3,\)",
    ),
    "halfspace_nan": (
        lambda: proj.Halfspace(ones * np.nan, 1.0),
        ValueError,
        "`a` must be finite. It was .nan",
    ),
    "halfspace_point": (
        lambda: proj.Halfspace(ones, 1.0).project(jnp.ones((3, 4))),
        ValueError,
        r"`a` of shape \(3,\) does not fit `x` of shape \(3, 4\) along axis -1",
    ),
    "affine_A": (lambda: proj.Affine(ones, ones), ValueError, r"`A` .* \(3,\)"),
    "affine_b": (
        lambda: proj.Affine(np.ones((2, 3)), ones),
        ValueError,
        r"`b` must have shape \(2,\) .* \(2, 3\), but has shape \(3,\)",
    ),
    "affine_inf": (
        lambda: proj.Affine(np.full((1, 2), np.inf), np.ones(1)),
        ValueError,
        "`A` must be finite",
    ),
    "affine_inconsistent": (
        lambda: proj.Affine(np.ones((2, 3)), np.array([1.0, 2.0])),
        ValueError,
        r"`b` is not in the range of `A`.*\|A x - b\| = 0.707",
    ),
    "affine_point": (
        lambda: proj.Affine(np.ones((1, 3)), np.ones(1)).project(jnp.ones(4)),
        ValueError,
        r"`A` of shape \(1, 3\) does not fit `x` of shape \(4,\)",
    ),
    "simplex_negative": (
        lambda: proj.Simplex(-1.0),
        ValueError,
        "`radius` must be finite and not negative. It was -1",
    ),
    "simplex_nan": (lambda: proj.Simplex(np.nan), ValueError, "`radius` .* nan"),
    "simplex_batch": (
        lambda: proj.Simplex(np.ones(3)).project(jnp.ones((2, 5))),
        ValueError,
        r"`radius` of shape \(3,\) does not broadcast .* \(2,\)",
    ),
    "simplex_empty": (
        lambda: proj.Simplex().project(jnp.ones((2, 0))),
        ValueError,
        r"`x` of shape \(2, 0\) must have an entry",
    ),
    "simplex_axis": (
        lambda: proj.Simplex(axis=2).project(jnp.ones((2, 3))),
        ValueError,
        r"`axis` = 2 does not exist in `x` of shape \(2, 3\)",
    ),
    "simplex_axis_type": (
        lambda: proj.Simplex(axis=_untyped(1.0)),
        TypeError,
        "`axis` must be",
    ),
    "simplex_scalar": (lambda: proj.Simplex().project(1.0), ValueError, "`axis` = -1"),
    "l2_ball_negative": (lambda: proj.L2Ball(-2), ValueError, "`radius` .* -2"),
    "l2_ball_infinite": (lambda: proj.L2Ball(np.inf), ValueError, "`radius` .* inf"),
    "l2_ball_center": (
        lambda: proj.L2Ball(1.0, np.ones((2, 3))),
        ValueError,
        r"`center` must be a scalar or .* \(2, 3\)",
    ),
    "l2_ball_point": (
        lambda: proj.L2Ball(1.0, ones).project(jnp.ones(4)),
        ValueError,
        r"`center` of shape \(3,\) does not fit `x` of shape \(4,\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_named_error(name):
    function, error, message = BAD[name]
    with pytest.raises(error, match=message):
        function()
    # The same while a function is traced, as nothing here depends on its arguments.
    with pytest.raises(error, match=message):
        eqx.filter_jit(lambda _: function())(jnp.ones(()))


BAD_WHEN_TRACED = {
    "box": (lambda v: proj.Box(v, -v).lower, "`lower` must not be larger"),
    "halfspace": (lambda v: proj.Halfspace(v * jnp.zeros(3), -v).b, "`b` must not be"),
    "affine": (
        lambda v: proj.Affine(np.ones((2, 3)), v * jnp.array([1.0, 2.0])).b,
        "`b` is not in the range of `A`",
    ),
    "affine_nan": (
        lambda v: proj.Affine(jnp.ones((1, 3)) * jnp.log(-v), np.ones(1)).A,
        "`A` must be finite",
    ),
    "simplex": (lambda v: proj.Simplex(-v).radius, "`radius` must be finite and not"),
    "l2_ball": (lambda v: proj.L2Ball(-v).radius, "`radius` must be finite and not"),
}


@pytest.mark.parametrize("name", BAD_WHEN_TRACED)
def test_bad_traced_input_is_a_runtime_error(name):
    function, message = BAD_WHEN_TRACED[name]

    with pytest.raises(RuntimeError, match=message):
        jax.block_until_ready(eqx.filter_jit(function)(jnp.ones(())))
    with pytest.raises(RuntimeError, match=message):
        jax.vmap(function)(jnp.ones(2))
