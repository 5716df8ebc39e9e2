"""Every public name is on a page of the documentation, and no other name is."""

import pathlib
import pydoc
import re
import types

import pytest

import fixproj
from fixproj import competitive, implicit, nn, projections, puzzles


pytestmark = pytest.mark.one_precision
PAGES = pathlib.Path(__file__).parents[1].joinpath("docs").rglob("*.md")
TEXT = "\n".join(page.read_text() for page in PAGES)
ENTRIES = re.findall(r"^::: (\S+)", TEXT, re.MULTILINE)
MODULES = [fixproj, competitive, implicit, nn, projections, puzzles]


def _is_documented(name):
    # Kinds of fields are marks in annotations, which one paragraph tells of together.
    short = name.removeprefix("fixproj.")
    return name in ENTRIES or f"`{short}`" in TEXT or f"`{name}`" in TEXT


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_on_a_page(module):
    names = [
        f"{module.__name__}.{name}"
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert names and [name for name in names if not _is_documented(name)] == []


def test_every_entry_exists_and_says_something():
    for entry in ENTRIES:
        # Imports the modules on the way: estimators are loaded when they are used.
        found = pydoc.locate(entry)
        assert found is not None and found.__doc__, entry


def test_entries_are_there_once():
    assert len(ENTRIES) == len(set(ENTRIES))
