"""What every projection onto a closed convex cone satisfies, on hypothesis' points."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from fixproj import projections as proj


# What is built, and the shape of one point.
CONES = {
    "second_order": (proj.SecondOrderCone, (4,)),
    "rotated": (proj.RotatedSecondOrderCone, (4,)),
    "exponential": (proj.ExponentialCone, (3,)),
    "power": (lambda: proj.PowerCone(0.3), (3,)),
    "thin_power": (lambda: proj.PowerCone(0.05), (3,)),
    "semidefinite": (proj.PSDCone, (3, 3)),
    "semidefinite_by_products": (proj.NewtonSchulzPSDCone, (3, 3)),
    "zero": (proj.ZeroCone, (4,)),
    "free": (proj.FreeCone, (4,)),
}
VIEWS = {
    "itself": lambda cone: cone,
    "polar": lambda cone: cone.polar(),
    "dual": lambda cone: cone.dual(),
}
# Ties, zeros, both signs, and entries of very different sizes.
entries = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 1e-3, -1e-3]),
    st.floats(-10, 10, width=32, allow_subnormal=False),
    st.floats(-(2.0**-13), 2.0**-13, width=32, allow_subnormal=False),
)


def _points(name, data):
    cone, shape = CONES[name][0](), CONES[name][1]
    points = data.draw(arrays(np.float32, (2, *shape), elements=entries))
    if name.startswith("semidefinite"):
        # Elsewhere the cone is not its own dual.
        points = 0.5 * (points + np.swapaxes(points, 1, 2))
    return cone, jnp.asarray(points, jnp.zeros(()).dtype)


def _flat(x):
    return np.asarray(x, np.float64).reshape(2, -1)


@pytest.mark.parametrize("name", CONES)
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(data=st.data())
@pytest.mark.slow_in_x64
def test_laws(name, data):
    cone, x = _points(name, data)
    eps = float(jnp.finfo(x.dtype).eps)
    start = _flat(x)
    size = max(1.0, np.abs(start).max())
    tol = 100 * eps * size
    parts = {}
    for view, of in VIEWS.items():
        project = of(cone).project
        given_point = -x if view == "dual" else x
        y = project(given_point)
        parts[view] = _flat(y)
        point, found, again = _flat(given_point), _flat(y), _flat(project(y))
        # A point on a curved face is on it up to the root of rounding.
        np.testing.assert_allclose(again, found, atol=np.sqrt(eps) * size)
        move = point - found
        # Moreau: the two parts are orthogonal; for a cone this and the sign of
        # <x - P(x), z> at the other points z are the variational inequality.
        np.testing.assert_allclose(np.sum(move * found, -1), 0, atol=tol * size)
        assert (move @ found.T).max() <= tol * size
        apart = np.linalg.norm(found[0] - found[1])
        assert apart <= np.linalg.norm(point[0] - point[1]) + tol
    np.testing.assert_allclose(parts["itself"] + parts["polar"], start, atol=tol)
    np.testing.assert_allclose(parts["dual"], -parts["polar"], atol=tol)
    # The polar of the polar is the cone.
    np.testing.assert_allclose(
        _flat(cone.polar().polar().project(x)), parts["itself"], atol=tol
    )
