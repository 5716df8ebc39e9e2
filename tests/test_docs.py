"""Every example in a docstring, in the README and in the docs runs."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import fixproj
from tests.outside_links import (  # pyright: ignore[reportMissingImports]
    outside_links,
    wrong_form,
)


ROOT = pathlib.Path(__file__).parents[1]
MODULES = [name for _, name, _ in pkgutil.walk_packages(fixproj.__path__, "fixproj.")]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "```python" in page.read_text()]


def _examples(name):
    module = importlib.import_module(name)
    return [t for t in doctest.DocTestFinder().find(module) if t.examples]


WITH_EXAMPLES = [name for name in MODULES if _examples(name)]


@pytest.mark.one_precision
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstring_examples(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    failures = sum(runner.run(test).failed for test in _examples(name))
    assert failures == 0


def test_the_main_entry_points_have_examples():
    for name in ("_problem", "projections._simplex", "nn._fit"):
        assert f"fixproj.{name}" in WITH_EXAMPLES


@pytest.mark.one_precision
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_of_pages_run(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    # The blocks of a page are one program.
    exec(compile("\n".join(blocks), str(page), "exec"), {})


@pytest.mark.one_precision
def test_outside_links_have_the_right_form():
    links = outside_links()
    assert "https://arxiv.org/abs/2011.08895" in links
    wrong = {link: wrong_form(link) for link in links}
    assert not {k: (v, links[k]) for k, v in wrong.items() if v is not None}
    for link in (
        "http://arxiv.org/abs/2011.08895",
        "https://arxvi.org/abs/2011.08895",
        "https://arxiv.org/abs/2011",
        "https://github.com/AndreasBergmeister",
    ):
        assert wrong_form(link) is not None


@pytest.mark.one_precision
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_no_formula_that_needs_a_script(page):
    # The site opens without a network, and so without MathJax.
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    assert not re.search(r"\$[^$\n]*\$|\\\(|\\frac", prose)
