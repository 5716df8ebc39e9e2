"""jaxopt's own tests of projections and proximal operators, run on ours.

They are not kept here. Fetch its source and name its folder of tests:

    JAXOPT_TESTS=.../jaxopt/tests pytest -m slow tests/projections/test_peer_tests.py
"""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest


ADAPTER = pathlib.Path(__file__).parents[1] / "jaxopt_adapter.py"
COUNT = 37


@pytest.mark.slow
@pytest.mark.one_precision
def test_the_tests_of_jaxopt_pass():
    folder = os.environ.get("JAXOPT_TESTS")
    if not folder:
        pytest.skip("JAXOPT_TESTS does not name the folder of jaxopt's own tests")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ADAPTER), folder],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("passed ") == COUNT


@pytest.mark.one_precision
def test_the_adapter_has_every_name(monkeypatch):
    monkeypatch.syspath_prepend(str(ADAPTER.parent))
    import jaxopt_adapter as adapter

    names = [n for n in vars(adapter) if n.startswith(("proj", "kl_proj", "prox"))]
    # Two of the projections are entropic.
    assert len([n for n in names if callable(getattr(adapter, n))]) == 19 + 7
    x = {"a": jnp.array([3.0, -0.5]), "b": jnp.array(-2.0)}
    np.testing.assert_allclose(adapter.prox_lasso(x, 1.0)["a"], [2.0, 0.0])
    np.testing.assert_allclose(adapter.projection_l2_ball(x)["b"], -2 / 13.25**0.5)
    assert jax.tree.structure(adapter.projection_box(x, (0.0, 1.0))) == (
        jax.tree.structure(x)
    )
