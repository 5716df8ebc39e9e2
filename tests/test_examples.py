"""The examples of feasibility and composite problems, on small cases."""

import importlib.util
import pathlib

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest


FOLDER = pathlib.Path(__file__).parents[1] / "examples"
pytestmark = [pytest.mark.one_precision, pytest.mark.slow]


def _example(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_queens_do_not_attack_each_other():
    module = _example("n_queens")
    board = np.rint(np.asarray(module.place_queens(6, jr.key(0)).value[0]))
    assert board.sum() == 6
    assert module.attacks(board) == 0


def test_disks_do_not_overlap():
    module = _example("disk_packing")
    centers, _ = module.pack(5, 0.18, jr.key(0), 5000)
    assert module.overlap(centers, 0.18) < 1e-3


def test_a_matrix_of_rank_one_is_completed():
    module = _example("matrix_completion")
    matrix, seen = module.low_rank(12, 1, 0.8)
    matrix = matrix.astype(jnp.float32)
    found = module.complete(matrix, seen).value
    assert float(jnp.linalg.norm(found - matrix) / jnp.linalg.norm(matrix)) < 2e-2


def test_a_sparse_signal_is_found():
    module = _example("basis_pursuit")
    *_, error = module.trial(jr.key(0), 30, 20, jnp.asarray(3))
    assert float(error) < 1e-3


def test_a_plan_keeps_its_bounds():
    module = _example("radiotherapy")
    doses, tumour, organ, _ = module.case(24, 9)
    w = np.asarray(module.plan(doses, tumour, organ).value)
    dose = doses @ w
    assert w.min() > -1e-3
    assert dose[tumour].min() > 0.99 and dose[tumour].max() < 1.16
    assert dose[organ].max() < 0.56


def test_tomography_explains_the_data():
    module = _example("tomography")
    image = module.phantom(16)
    angles = jnp.linspace(0, 3, 12)
    sinogram = module.project_rays(image, angles)
    found = module.reconstruct(sinogram, angles, 1e-5, 300)
    left = module.project_rays(found, angles) - sinogram
    assert float(jnp.linalg.norm(left)) < 0.05 * float(jnp.linalg.norm(sinogram))


def test_a_gan_covers_eight_modes():
    module = _example("gan_gaussians")
    history, points, _ = module.train("ACGD", 1e-3, 800, 3)
    assert history[-1, 0] == module.MODES
    # Counted anew, from the angles of the samples alone.
    points = np.asarray(points)
    near_ring = np.abs(np.hypot(*points.T) - module.RADIUS) < 0.4
    angle = np.arctan2(*points[near_ring].T[::-1])
    mode = np.rint(angle / (2 * np.pi / module.MODES)).astype(int) % module.MODES
    assert np.bincount(mode, minlength=module.MODES).min() >= 0.02 * len(points)
