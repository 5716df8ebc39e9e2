"""The page for users of jaxopt has every name that jaxopt has."""

import importlib
import inspect
import pathlib
import re
import warnings

import pytest


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import jaxopt


PAGE = pathlib.Path(__file__).parents[2] / "docs" / "migrating-from-jaxopt.md"
MODULES = (
    "base implicit_diff isotonic linear_solve loop loss objective perturbations "
    "projection prox tree_util"
).split()


def _names():
    """Classes and functions of the package and of its documented modules."""
    found = {n for n in vars(jaxopt) if inspect.isclass(getattr(jaxopt, n))}
    for module in MODULES:
        module = importlib.import_module(f"jaxopt.{module}")
        for name, value in vars(module).items():
            is_own = str(getattr(value, "__module__", "")).startswith("jaxopt")
            if callable(value) and is_own and not name.startswith(("_", "tree_")):
                found.add(name)
    return found


@pytest.mark.one_precision
def test_every_name_of_jaxopt_is_on_the_page():
    code = " ".join(re.findall(r"`([^`]*)`", PAGE.read_text()))
    words = set(re.findall(r"\w+", code))
    assert len(_names()) > 90
    assert _names() - words == set()
