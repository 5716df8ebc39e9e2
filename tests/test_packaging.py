"""What an installed package needs: no extras to import, types, a version."""

import importlib.resources
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

import fixproj


pytestmark = pytest.mark.one_precision
ROOT = pathlib.Path(__file__).parents[1]
EXTRAS = ("click", "matplotlib", "orbax", "rich", "sklearn", "tqdm", "cvxpy", "flax")

WITHOUT_EXTRAS = f"""
import sys
for name in {EXTRAS!r}:
    sys.modules[name] = None
import jax.numpy as jnp
import fixproj as fp
from fixproj import competitive, implicit, nn, projections, puzzles
problem = fp.FixedPoint(lambda y, args: 0.5 * y + 1, jnp.zeros(2))
assert fp.solve(problem).result == fp.RESULTS.successful
x = jnp.arange(8.0)[:, None]
model = nn.Linear(2).init(0, x)
nn.fit(model, nn.Projections(), (x, (x[:, 0] > 3).astype(int)), epochs=1)
from fixproj.cli import main
main()
"""


def test_works_without_extras():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_EXTRAS],
        capture_output=True,
        text=True,
    )
    # All of it runs but the command, which says what it needs.
    assert done.stderr == "Error: the command needs click: pip install 'fixproj[cli]'\n"
    assert done.returncode == 1


def test_is_typed_and_versioned():
    assert importlib.resources.files("fixproj").joinpath("py.typed").is_file()
    text = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{fixproj.__version__}"\n' in text


@pytest.mark.slow
def test_builds(tmp_path):
    pytest.importorskip("build")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    (source,) = tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        meta = next(name for name in names if name.endswith("/METADATA"))
        metadata = archive.read(meta).decode()
    assert "fixproj/py.typed" in names and "fixproj/cli.py" in names
    assert all(name.startswith("fixproj") for name in names)
    assert f"\nVersion: {fixproj.__version__}\n" in metadata
    assert {"cli", "dev", "nn"} <= set(re.findall("Provides-Extra: (.*)", metadata))
    with tarfile.open(source) as archive:
        ending = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "fixproj/py.typed"} <= ending
