"""Network strings: what they build, and what is said where they are wrong."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

from fixproj._cli._network import NetworkError, build_network, parse_network


pytestmark = pytest.mark.one_precision


def _shapes(text, shape, outputs=10):
    model = build_network(text, shape, outputs, jr.key(0))
    assert jax.eval_shape(model, jnp.zeros((3, *shape))).shape == (3, outputs)
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    return sorted(leaf.shape for leaf in leaves if leaf.ndim > 1)


@pytest.mark.parametrize(
    "text, shape, kernels",
    [
        ("linear", (8,), [(8, 10)]),
        ("mlp:5,4", (8,), [(4, 10), (5, 4), (8, 5)]),
        ("Dense[5] Relu, Dense(10) > Softmax", (8,), [(5, 10), (8, 5)]),
        ("dense[5] tanh", (4, 2), [(5, 10), (8, 5)]),
        # All hidden layers feed the output: 5 + 4 + 3 inputs.
        ("mlp:5,4,3:tanh:skip", (8,), [(4, 3), (5, 4), (8, 5), (12, 10)]),
        (
            "Conv2D[8,3] Sigmoid Flatten Dense[6] Sigmoid Dense[10] Softmax",
            (4, 4, 1),
            [(3, 3, 1, 8), (6, 10), (128, 6)],
        ),
        ("Conv2D[2,3x3,2] LeakyRelu MaxPool[2]", (8, 8, 1), [(3, 3, 1, 2), (8, 10)]),
        ("cnn:2:tanh", (4, 4, 3), [(3, 3, 3, 2), (8, 10)]),
    ],
)
def test_builds(text, shape, kernels):
    assert _shapes(text, shape) == kernels


@pytest.mark.parametrize(
    "text, pointed, message",
    [
        ("Dense[5] Blob Relu", "Blob", "no layer 'Blob'"),
        ("Relu Dense[5", "Dense[5", "not closed"),
        ("Relu Dense[5)", "Dense[5)", "not closed"),
        ("Dense[-5]", "Dense[-5]", "positive whole"),
        ("Dense[0]", "Dense[0]", "from 1 to"),
        ("Dense[9999999999]", "Dense[9999999999]", "from 1 to"),
        ("Dense[5,6]", "Dense[5,6]", "takes 1 number, got 2"),
        ("Conv2D[5]", "Conv2D[5]", "takes 2 to 3 numbers, got 1"),
        ("Dense[__import__('os')]", "Dense[__import__('os')", "not closed"),
        ("Dense[os.name]", "Dense[os.name]", "positive whole"),
        ("Relu ; Dense[5]", ";", "name was expected"),
        ("", "", "no layer"),
        ("mlp:0", "mlp:0", "not like mlp"),
        ("mlp:8:cosine", "mlp:8:cosine", "not like mlp"),
        ("Dense[7]", "Dense[7]", "must have 10 units"),
        ("Dense[5] Conv2D[8,3]", "Conv2D[8,3]", "needs images"),
    ],
)
def test_errors_point_at_the_token(text, pointed, message):
    with pytest.raises(NetworkError, match=message) as caught:
        build_network(text, (8,), 10, jr.key(0))
    _, line, pointer = str(caught.value).split("\n")
    assert line[2:] == text
    assert line[pointer.index("^") :][: pointer.count("^")].startswith(pointed)


def test_reads_names_without_case_and_aliases():
    names = [token.name for token in parse_network("CONV[2,3] leaky_relu LINEAR[4]")]
    assert names == ["conv2d", "leakyrelu", "dense"]
