"""A short slice of the fuzzing that `make fuzz` does at length."""

import pytest

from . import fuzz


@pytest.mark.one_precision
def test_every_outcome_has_a_name():
    outcomes = fuzz.run(solves=8 * fuzz.LANES, seed=1)
    assert sum(outcomes.values()) >= 8 * fuzz.LANES
    assert outcomes["successful"] > 0 and len(+outcomes) > 2
