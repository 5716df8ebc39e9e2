"""Every public set and function, by name: none can be forgotten.

The first test is cheap and says that the tables below are complete. The others look at
odd points: zeros, ties, offsets, sizes from the subnormal to the huge, a batch of none.
"""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fixproj import projections as proj


ONES = np.ones(4)
ROWS = np.array([[1.0, 2.0, -1.0, 0.5], [0.3, -1.0, 2.0, 1.0]])
HALVES = np.array([0.5, 0.5])

VECTOR = {
    "Affine": lambda: proj.Affine(ROWS, np.array([1.0, -0.5])),
    "Box": lambda: proj.Box(-1.0, 2.0),
    "BoxHyperplane": lambda: proj.BoxHyperplane(0.0, 1.0, ONES, 1.5),
    "CappedSimplex": lambda: proj.CappedSimplex(1.5, 1.0),
    "Ellipsoid": lambda: proj.Ellipsoid(np.array([1.0, 2.0, 0.5, 1.0])),
    "FourierMagnitude": lambda: proj.FourierMagnitude(ONES),
    "FreeCone": proj.FreeCone,
    "Grid": lambda: proj.Grid(np.array([-1.0, 0.0, 2.0])),
    "GroupBall": lambda: proj.GroupBall([0, 1, 0, 1]),
    "Halfspace": lambda: proj.Halfspace(ONES, 1.0),
    "Hyperplane": lambda: proj.Hyperplane(ONES, 1.0),
    "Hyperslab": lambda: proj.Hyperslab(ONES, -1.0, 1.0),
    "Intersection": lambda: proj.Intersection(proj.Box(-1.0, 1.0), proj.L2Ball(1.0)),
    "L1Ball": proj.L1Ball,
    "L1Sphere": proj.L1Sphere,
    "L2Ball": proj.L2Ball,
    "L2Sphere": proj.L2Sphere,
    "LinearPreimage": lambda: proj.LinearPreimage(proj.Simplex(), np.eye(4)[:2]),
    "LinfBall": proj.LinfBall,
    "Monotone": proj.Monotone,
    "NonNegative": proj.NonNegative,
    "NormEpigraph": lambda: proj.NormEpigraph(3.0),
    "OneHot": proj.OneHot,
    "Polyhedron": lambda: proj.Polyhedron(ROWS, -np.inf, 1.0),
    "RotatedSecondOrderCone": proj.RotatedSecondOrderCone,
    "Scaled": lambda: proj.Scaled(proj.Simplex(), 2.0),
    "SecondOrderCone": proj.SecondOrderCone,
    "Simplex": proj.Simplex,
    "Sparse": lambda: proj.Sparse(2),
    "SparseSimplex": lambda: proj.SparseSimplex(2),
    "Subspace": lambda: proj.Subspace(ROWS.T),
    "Support": lambda: proj.Support(2),
    "TotalVariationBall": proj.TotalVariationBall,
    "Translated": lambda: proj.Translated(proj.Simplex(), ONES),
    "WeightedL1Ball": lambda: proj.WeightedL1Ball(ONES),
    "ZeroCone": proj.ZeroCone,
}
TRIPLE = {
    "ExponentialCone": proj.ExponentialCone,
    "PowerCone": lambda: proj.PowerCone(0.3),
    "PolarCone": lambda: proj.ExponentialCone().polar(),
    "DualCone": lambda: proj.ExponentialCone().dual(),
}
MATRIX = {
    "BirkhoffPolytope": proj.BirkhoffPolytope,
    "CorrelationMatrices": proj.CorrelationMatrices,
    "Hankel": proj.Hankel,
    "KLBirkhoffPolytope": proj.KLBirkhoffPolytope,
    "KLTransportPolytope": lambda: proj.KLTransportPolytope(HALVES, HALVES),
    "LowRank": lambda: proj.LowRank(1),
    "NewtonSchulzPSDCone": proj.NewtonSchulzPSDCone,
    "NuclearBall": proj.NuclearBall,
    "Orthogonal": proj.Orthogonal,
    "PSDCone": proj.PSDCone,
    "Permutation": proj.Permutation,
    "Rotation": proj.Rotation,
    "SpectralBall": proj.SpectralBall,
    "Spectraplex": proj.Spectraplex,
    "Stiefel": proj.Stiefel,
    "Toeplitz": proj.Toeplitz,
    "TransportPolytope": lambda: proj.TransportPolytope(HALVES, HALVES),
}
# Sets of pairs, triples and trees; their own tests have the points.
ELSEWHERE = {
    "Bilinear": "test_graphs",
    "Consensus": "test_combinators",
    "Elementwise": "test_graphs",
    "MatrixProduct": "test_matrix_product",
    "MaxGraph": "test_graphs",
    "Product": "test_combinators",
    "Quantize": "test_graphs",
    "ReluGraph": "test_relu",
    "Stacked": "test_combinators",
    "SumGraph": "test_graphs",
    "SumReluGraph": "test_graphs",
}
FUNCTION = {
    "CrossEntropy": lambda: proj.CrossEntropy(np.array([0.1, 0.6, 0.0, 0.3])),
    "ElasticNet": lambda: proj.ElasticNet(0.5, 0.4),
    "Entropy": proj.Entropy,
    "GroupLasso": lambda: proj.GroupLasso([0, 1, 0, 1]),
    "Hinge": lambda: proj.Hinge(np.array([1.0, -1.0, 1.0, 1.0])),
    "Huber": lambda: proj.Huber(0.6),
    "Indicator": lambda: proj.Indicator(proj.Simplex()),
    "KL": lambda: proj.KL(0.8),
    "L0": proj.L0,
    "L1": proj.L1,
    "L2": proj.L2,
    "LeastSquares": lambda: proj.LeastSquares(ROWS, np.array([1.0, -0.5])),
    "Linear": lambda: proj.Linear(ONES),
    "LogBarrier": proj.LogBarrier,
    "Logistic": proj.Logistic,
    "MCP": lambda: proj.MCP(0.6, 2.0),
    "Max": proj.Max,
    "Nuclear": proj.Nuclear,
    "Quadratic": lambda: proj.Quadratic(np.eye(4)),
    "SCAD": lambda: proj.SCAD(0.6, 2.8),
    "SquaredL2": proj.SquaredL2,
    "SumOfLargest": lambda: proj.SumOfLargest(2),
    "TV1D": proj.TV1D,
    "TV2D": proj.TV2D,
    "WeightedL1": lambda: proj.WeightedL1(ONES),
    "Zero": proj.Zero,
}
CALCULUS = {"conjugate", "moreau_envelope", "precompose", "regularize", "scale"}
CALCULUS |= {"separable", "tilt", "translate"}
ABSTRACT = {"AbstractCone", "AbstractFunction", "AbstractSet", "Family"}

# Their distance is not the Euclidean one, and entries must not be negative.
ENTROPIC = ("KLBirkhoffPolytope", "KLTransportPolytope")
CURVED = {"FourierMagnitude", "CorrelationMatrices", "Intersection"}
# The search is for a matrix of given sums, the size of which it depends on.
COUPLINGS = {"BirkhoffPolytope", "TransportPolytope", *ENTROPIC}


@pytest.mark.one_precision
def test_no_public_name_is_missing():
    public = {n for n in vars(proj) if not n.startswith("_")}
    public = {n for n in public if callable(getattr(proj, n))}
    tables = [VECTOR, TRIPLE, MATRIX, ELSEWHERE, FUNCTION, CALCULUS, ABSTRACT]
    known = set().union(*tables)
    assert sum(map(len, tables)) == len(known)
    assert public == known


@pytest.mark.one_precision
def test_the_table_of_the_documentation_has_every_name():
    path = pathlib.Path(__file__).parents[2] / "docs" / "every-projection.md"
    page = path.read_text()
    for table in (VECTOR, TRIPLE, MATRIX, ELSEWHERE, FUNCTION, CALCULUS):
        for name in sorted(set(table) - {"PolarCone", "DualCone"}):
            assert f"`{name}" in page, name


def _points(shape):
    rng = np.random.default_rng(0)
    normal = rng.normal(size=shape)
    flat = np.arange(np.prod(shape)).reshape(shape)
    points = [
        normal,
        np.zeros(shape),
        np.ones(shape),
        -np.ones(shape),
        np.where(flat % 2 == 0, 1.0, -1.0),
        1e6 + normal,
        1e-20 * normal,
        1e15 * normal,
        1e-40 * normal,
        np.where(flat == 1, 1e10, normal),
    ]
    return jnp.asarray(np.stack(points), jnp.float32)


SETS = {
    **{name: (build, (4,)) for name, build in VECTOR.items()},
    **{name: (build, (3,)) for name, build in TRIPLE.items()},
    **{name: (build, (2, 2)) for name, build in MATRIX.items()},
}


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("name", SETS)
def test_set_at_odd_points(name):
    build, shape = SETS[name]
    x = _points(shape)
    if name in ENTROPIC:
        x = jnp.where(x == 0, 1, jnp.abs(x))
    shown = build()

    @eqx.filter_jit
    def run(shown, x):
        def one(x):
            y, pull = jax.vjp(shown.project, x)
            return y, shown.project(y), pull(jnp.ones_like(y))[0]

        return jax.vmap(one)(x)

    y, again, gradient = map(np.asarray, run(shown, x))
    assert y.dtype == np.float32 and y.shape == x.shape
    assert np.isfinite(y).all(), np.argwhere(~np.isfinite(y))
    assert np.isfinite(gradient).all(), np.argwhere(~np.isfinite(gradient))
    size = np.abs(x).reshape(len(x), -1).max(1).reshape(-1, *[1] * len(shape))
    tol = (1e-3 if name in CURVED else 3e-5) * np.maximum(1, size)
    if name not in ENTROPIC:
        assert (np.abs(again - y) <= tol).all(), np.abs(again - y).max()
    # One point that is no number, and a batch without points.
    broken = x[0].at[(0,) * len(shape)].set(jnp.nan)
    if name == "Intersection":
        with pytest.raises(RuntimeError, match="NaN or an infinity"):
            shown.project(broken)
    else:
        assert bool(jnp.any(jnp.isnan(shown.project(broken))))
    if shown.axis is not None if name not in ENTROPIC else False:
        assert shown.project(x[:0]).shape == (0, *shape)


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("name", FUNCTION)
def test_function_at_odd_points(name):
    shape = (2, 2) if name in ("Nuclear", "TV2D") else (4,)
    x = _points(shape)
    function = FUNCTION[name]()

    @eqx.filter_jit
    def run(function, x):
        def one(x):
            y, pull = jax.vjp(lambda x, s: function.prox(x, s), x, 0.7)
            return y, pull(jnp.ones_like(y))

        return jax.vmap(one)(x)

    y, gradients = run(function, x)
    assert y.dtype == jnp.float32 and bool(jnp.all(jnp.isfinite(y)))
    for gradient in gradients:
        assert bool(jnp.all(jnp.isfinite(gradient)))
    broken = function.prox(x[0].at[(0,) * len(shape)].set(jnp.nan), 0.7)
    assert bool(jnp.any(jnp.isnan(broken)))
