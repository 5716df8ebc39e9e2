"""The projection rules that come with the library; importing them registers them."""

from fixproj.nn._graph._rules import (
    contraction as contraction,
    elementwise as elementwise,
)
