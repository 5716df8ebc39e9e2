"""jaxopt's projections and proximal operators in our words, and a run of its own tests.

    python tests/jaxopt_adapter.py FOLDER

runs `projection_test.py` and `prox_test.py` of the folder `tests` of jaxopt's source,
with `jaxopt.projection` and `jaxopt.prox` replaced by the functions below, and prints
one line per test. Nothing of jaxopt is kept here but the names of its functions.
"""

import pathlib
import runpy
import sys
import types
import unittest

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from fixproj import projections as proj


def _floating(x):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float, a)), x)


def _spread(parameter, x):
    """A tree like `x`: the parameter itself, or one number for all leaves."""
    if jax.tree.structure(parameter) == jax.tree.structure(x):
        return parameter
    return jax.tree.map(lambda _: parameter, x)


def _leafwise(function, x, *parameters):
    x = _floating(x)
    return jax.tree.map(function, x, *(_spread(p, x) for p in parameters))


def _whole(shape, x):
    """One point made of all leaves."""
    flat, back = ravel_pytree(_floating(x))
    return back(shape.project(flat))


def projection_non_negative(x, hyperparams=None):
    return _leafwise(proj.NonNegative().project, x)


def projection_box(x, hyperparams):
    lower, upper = hyperparams
    return _leafwise(
        lambda a, low, high: proj.Box(low, high).project(a), x, lower, upper
    )


def projection_hypercube(x, unit=1.0):
    return projection_box(x, (0.0, unit))


def projection_simplex(x, value=1.0):
    return proj.Simplex(value).project(_floating(x))


def projection_sparse_simplex(x, max_nz, value=1.0, use_approx_max_nz=False):
    return proj.SparseSimplex(max_nz, value).project(_floating(x))


def projection_l1_sphere(x, value=1.0):
    return proj.L1Sphere(value).project(_floating(x))


def projection_l1_ball(x, max_value=1.0):
    return _whole(proj.L1Ball(max_value), x)


def projection_l2_sphere(x, value=1.0):
    return _whole(proj.L2Sphere(value), x)


def projection_l2_ball(x, max_value=1.0):
    return _whole(proj.L2Ball(max_value), x)


def projection_linf_ball(x, max_value=1.0):
    return _leafwise(lambda a, r: proj.LinfBall(r).project(a), x, max_value)


def projection_hyperplane(x, hyperparams):
    a, b = hyperparams
    return _whole(proj.Hyperplane(ravel_pytree(_floating(a))[0], b), x)


def projection_halfspace(x, hyperparams):
    a, b = hyperparams
    return _whole(proj.Halfspace(ravel_pytree(_floating(a))[0], b), x)


def projection_affine_set(x, hyperparams):
    A, b = hyperparams
    return proj.Affine(A, b).project(_floating(x))


def projection_polyhedron(x, hyperparams, check_feasible=True):
    A, b, G, h = map(_floating, hyperparams)
    rows = jnp.concatenate([A, G])
    lower = jnp.concatenate([b, jnp.full_like(h, -jnp.inf)])
    return proj.Polyhedron(rows, lower, jnp.concatenate([b, h])).project(_floating(x))


def projection_box_section(x, hyperparams, check_feasible=False):
    lower, upper, a, b = hyperparams
    return proj.BoxHyperplane(lower, upper, a, b).project(_floating(x))


def projection_transport(sim_matrix, marginals, make_solver=None, use_semi_dual=True):
    return proj.TransportPolytope(*marginals).project(_floating(sim_matrix))


def kl_projection_transport(
    sim_matrix, marginals, make_solver=None, use_semi_dual=True
):
    return proj.KLTransportPolytope(*marginals).project_log(_floating(sim_matrix))


def projection_birkhoff(sim_matrix, make_solver=None, use_semi_dual=True):
    return proj.BirkhoffPolytope().project(_floating(sim_matrix))


def kl_projection_birkhoff(sim_matrix, make_solver=None, use_semi_dual=True):
    return proj.KLBirkhoffPolytope().project_log(_floating(sim_matrix))


def _prox(make, x, *parameters, scaling):
    def one(a, *values):
        return make(*values).prox(a, scaling)

    return _leafwise(one, x, *parameters)


def prox_none(x, hyperparams=None, scaling=1.0):
    return _prox(proj.Zero, x, scaling=scaling)


def prox_lasso(x, l1reg=None, scaling=1.0):
    return _prox(proj.L1, x, 1.0 if l1reg is None else l1reg, scaling=scaling)


def prox_non_negative_lasso(x, l1reg=1.0, scaling=1.0):
    make = lambda w: proj.tilt(proj.NonNegative(), w)
    return _prox(make, x, l1reg, scaling=scaling)


def prox_elastic_net(x, hyperparams=None, scaling=1.0):
    l1, ratio = (1.0, 1.0) if hyperparams is None else hyperparams
    make = lambda l1, ratio: proj.ElasticNet(l1, l1 * ratio)
    return _prox(make, x, l1, ratio, scaling=scaling)


def prox_group_lasso(x, l2reg=1.0, scaling=1.0):
    flat, back = ravel_pytree(_floating(x))
    return back(proj.L2(l2reg).prox(flat, scaling))


def prox_ridge(x, l2reg=None, scaling=1.0):
    return _prox(proj.SquaredL2, x, 1.0 if l2reg is None else l2reg, scaling=scaling)


def prox_non_negative_ridge(x, l2reg=1.0, scaling=1.0):
    make = lambda w: proj.regularize(proj.NonNegative(), w)
    return _prox(make, x, l2reg, scaling=scaling)


def make_prox_from_projection(projection):
    def prox(x, hyperparams=None, scaling=1.0):
        return projection(x) if hyperparams is None else projection(x, hyperparams)

    return prox


def _module(name, starts):
    module = types.ModuleType(name)
    for key, value in globals().items():
        if key.startswith(starts):
            setattr(module, key, value)
    return module


class _Lines(unittest.TextTestResult):
    def addSuccess(self, test):
        super().addSuccess(test)
        print("passed", test.id().split(".")[-1])


def main(folder):
    """Runs the two files; returns whether every test passed."""
    import jaxopt

    jaxopt.projection = _module("jaxopt.projection", ("projection_", "kl_projection_"))
    jaxopt.prox = _module("jaxopt.prox", ("prox_", "make_prox_"))
    suite = unittest.TestSuite()
    for name in ("projection_test", "prox_test"):
        made = runpy.run_path(str(pathlib.Path(folder) / f"{name}.py"), run_name=name)
        for value in made.values():
            if isinstance(value, type) and value.__module__ == name:
                suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(value))
    return unittest.TextTestRunner(resultclass=_Lines).run(suite).wasSuccessful()


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1]))
