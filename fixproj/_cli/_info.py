"""`fixproj info`: what a bug report needs."""

import importlib.metadata
import os
import platform
from typing import Any

import click
import jax
import jax.numpy as jnp

from fixproj import __version__
from fixproj._cli._errors import reports_errors
from fixproj._cli._methods import METHODS
from fixproj._cli._output import print_json
from fixproj._datasets import NAMES, DatasetError, where
from fixproj._datasets._named import find_folder


_PACKAGES = (
    "jax", "jaxlib", "equinox", "lineax", "optimistix", "optax", "jaxtyping", "numpy",
    "scipy", "click", "matplotlib", "rich", "scikit-learn", "tqdm",
)  # fmt: skip


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_errors
def info(as_json: bool) -> None:
    """Show versions, devices, precision, methods and data sets."""
    found = _found()
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v or 'absent'}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none"
        click.echo(f"{name:10} {value}")


def _found() -> dict[str, Any]:
    return {
        "fixproj": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "cores": os.cpu_count(),
        "backend": jax.default_backend(),
        "devices": [str(device) for device in jax.devices()],
        "x64": jnp.asarray(0.0).dtype == jnp.float64,
        "packages": {name: _version(name) for name in _PACKAGES},
        "methods": [name for name, method in METHODS.items() if method.available],
        "datasets": {name: _place(name) for name in NAMES},
        "looked in": [str(folder) for folder in where()],
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _place(name):
    if name == "digits":
        return "in scikit-learn" if _version("scikit-learn") else None
    try:
        return str(find_folder(name))
    except DatasetError:
        return None
