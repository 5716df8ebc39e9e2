"""The bar of the first release: digits, by projections alone, at the defaults."""

import jax.random as jr
import optax
import pytest

from fixproj import nn

from .models import digits, eqx_mlp, plain_mlp


TRAINERS = {
    "pure": nn.Projections(),
    "outer": nn.Projections(outer=optax.adam(3e-3)),
    "gradient": nn.Gradient(optax.adam(3e-3)),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("make", [eqx_mlp, plain_mlp])
@pytest.mark.parametrize(
    "name,epochs",
    [
        ("pure", 8),
        pytest.param("outer", 20, marks=pytest.mark.slow),
        pytest.param("gradient", 20, marks=pytest.mark.slow),
    ],
)
def test_digits(name, epochs, make):
    """Test accuracy of at least .95 at the defaults, from each of three seeds."""
    train, test = digits()
    for seed in range(3):
        model = make(jr.key(seed))
        history = nn.fit(
            model, TRAINERS[name], train, epochs=epochs, seed=seed, progress=False
        )
        found = nn.evaluate(history.model, test)
        assert found["accuracy"] >= 0.95, (seed, found)
