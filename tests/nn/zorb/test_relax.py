"""Readouts for targets that may be exceeded, and sums over parts of the rows."""

import jax
import numpy as np
import pytest

from fixproj.nn._zorb._expansion import Expansion
from fixproj.nn._zorb._moments import Moments
from fixproj.nn._zorb._relax import (  # pyright: ignore[reportMissingImports]
    relaxed_readout,
)


F64 = np.dtype(float)


def _problem(rows=3000, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)) + 1e4
    labels = np.argmax((x[:, :3] - 1e4) + 0.05 * rng.normal(size=(rows, 3)), 1)
    layer = rng.normal(size=(6, 20)), rng.normal(size=20)
    expansion = Expansion(x.mean(0), x.std(0), (layer,), "tanh")
    return expansion, x, np.eye(3)[labels], rng.uniform(0.5, 1.5, rows)


@pytest.mark.one_precision
@pytest.mark.parametrize("skip", [True, False])
def test_it_lowers_the_distance_to_the_targets(skip):
    expansion, x, y, weights = _problem()
    expansion = expansion.replace(skip=skip)
    with jax.enable_x64(True):
        features = expansion(x, F64)
        kept = []
        moments = Moments.empty(features.mean(0), 3)
        moments.add(expansion, x, y, weights, F64, kept)
        gram, cross, _, mean, offset = moments.centred()
        plain = mean, np.linalg.solve(gram + 1e-3 * np.eye(len(gram)), cross), offset
        found = [
            relaxed_readout(
                expansion,
                moments,
                1e-3,
                (x, y, weights),
                blocks,
                F64,
                np.random.default_rng(1),
            )
            for blocks in (kept, None)
        ]

    def missed(readout):
        mean, out, offset = readout
        outputs = (features - mean) @ out + offset
        short = np.where(y > 0.5, np.maximum(1 - outputs, 0), np.maximum(outputs, 0))
        return weights @ (short**2).sum(1)

    assert missed(found[0][1]) < 0.9 * missed(plain)
    # Features that were kept or computed again give the same.
    for one, two in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-9)
    # The statistics are those that give the readout.
    gram, cross, _, mean, offset = found[0][0].centred()
    out = np.linalg.solve(gram + 1e-3 * np.eye(len(gram)), cross)
    np.testing.assert_allclose(found[0][1][1], out, rtol=1e-6, atol=1e-9)


@pytest.mark.one_precision
def test_parts_add_up_and_single_precision_sums_of_shifted_rows_are_right():
    expansion, x, y, weights = _problem(2500)
    with jax.enable_x64(True):
        features = expansion(x, F64)
        centre = features[:100].mean(0)
        whole, part, single = (Moments.empty(centre, 3) for _ in range(3))
        whole.add(expansion, x, y, weights, F64)
        part.add(expansion, x[:700], y[:700], weights[:700], F64)
        single.add(expansion, x, y, weights, np.dtype(np.float32))
    rows = (features - features.T @ weights / weights.sum()) * np.sqrt(weights)[:, None]
    np.testing.assert_allclose(whole.centred()[0], rows.T @ rows, rtol=1e-8, atol=1e-8)
    # Inputs around 1e4 would lose all digits of their variation in float32.
    scale = np.trace(rows.T @ rows) / len(centre)
    assert np.abs(single.centred()[0] - rows.T @ rows).max() < 1e-5 * scale
    again = whole.without(part).plus(part)
    np.testing.assert_allclose(again.gram, whole.gram)
    other = part.with_targets(features[:700], y[:700], weights[:700])
    np.testing.assert_allclose(other.cross, part.cross, atol=1e-9)
