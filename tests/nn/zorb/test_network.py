import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from fixproj import nn
from fixproj.nn._zorb._layers import AbstractAffine


@pytest.mark.one_precision
@pytest.mark.slow
def test_shapes_of_the_published_network():
    spec = ["Conv2D[8,3]", "Sigmoid", "Flatten", "Dense[32]", "sigmoid", "Dense[10]"]
    net = nn.parse_network([*spec, "Softmax"], (12, 12, 1), key=jr.key(0))
    out = net(jr.normal(jr.key(1), (3, 12, 12, 1)))
    np.testing.assert_allclose(out.sum(1), np.ones(3), rtol=1e-5)
    assert [getattr(at, "weight", jnp.zeros(0)).size for at in net.layers] == [
        72,
        0,
        0,
        25600,
        0,
        320,
        0,
    ]


@pytest.mark.one_precision
def test_convolution_is_the_sum_over_windows():
    net = nn.parse_network("Conv2D[4,3,2]", (7, 8, 2), key=jr.key(0))
    (layer,) = net.layers
    assert isinstance(layer, AbstractAffine) and layer.bias is not None
    x = np.asarray(jr.normal(jr.key(1), (2, 7, 8, 2)))
    kernel = np.asarray(layer.weight).reshape(2, 3, 3, 4)
    expected = np.zeros((2, 3, 3, 4))
    for i in range(3):
        for j in range(3):
            window = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[:, i, j] = np.einsum("bhwc,chwo->bo", window, kernel)
    expected += np.asarray(layer.bias)
    np.testing.assert_allclose(net(jnp.asarray(x)), expected, atol=1e-5)
    rows = layer.rows(jnp.asarray(x))
    np.testing.assert_allclose(
        rows @ layer.weight + layer.bias[None], expected.reshape(-1, 4), atol=1e-5
    )
    # The sums without patches are those over patches, for either layout and a bias.
    moved = jr.normal(jr.key(2), (18, 4))
    ones = np.concatenate([np.asarray(rows, float), np.ones((18, 1))], 1)
    for found, wanted in zip(
        layer.products(jnp.asarray(x), moved),
        (ones.T @ ones, ones.T @ np.asarray(moved)),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    pulled = layer.pull(jnp.asarray(x), net(jnp.asarray(x)), moved.reshape(2, 3, 3, 4))
    by_rows = layer.from_rows(jnp.asarray(x), layer.damped(moved) @ layer.weight.T)
    np.testing.assert_allclose(pulled, by_rows, atol=1e-5)
    # Rows that are the patches of an image are nearest to that image.
    back = np.asarray(layer.from_rows(jnp.asarray(x), rows))
    np.testing.assert_allclose(back[:, :7, :7], x[:, :7, :7], atol=1e-5)


@pytest.mark.one_precision
def test_pools():
    x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    by_window = np.asarray(x).reshape(1, 2, 2, 2, 2, 2)
    for name, reduce in (("MaxPool", np.max), ("AvgPool", np.mean)):
        net = nn.parse_network(f"{name}[2]", (4, 4, 2), key=jr.key(0))
        np.testing.assert_allclose(net(x), reduce(by_window, axis=(2, 4)))
        # A pulled displacement does to the output what was asked.
        (layer,), wanted = net.layers, jr.normal(jr.key(0), (1, 2, 2, 2))
        moved = x + 1e-2 * layer.pull(x, net(x), wanted)
        np.testing.assert_allclose(
            net(moved), net(x) + 1e-2 * wanted, atol=1e-4 if name == "AvgPool" else 1e-2
        )


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "network,reason,column",
    [
        ("Dense[4] Sigmoif Dense[2]", "no layer is called 'Sigmoif'", 9),
        ("Dense[4] Dense", "takes 1 numbers in brackets, got 0", 9),
        ("Dense[4,5]", "takes 1 numbers in brackets, got 2", 0),
        ("Dense[x]", r"positive integers, got \[x\]", 0),
        ("Dense[-3]", "positive integers", 0),
        ("Dense[4] tanh[2]", "takes 0 numbers", 9),
        ("Dense[4", "expected Name", 0),
        ("__import__('os')", "expected Name", 0),
        ("Dense[4] Conv2D[8,3]", r"needs \(height, width, channels\)", 9),
        ("Dense[4] Tanh 3", "expected Name", 14),
    ],
)
def test_errors_point_at_the_token(network, reason, column):
    with pytest.raises(ValueError, match=reason) as caught:
        nn.parse_network(network, (3,), key=jr.key(0))
    _, line, mark = str(caught.value).split("\n")
    assert line == f"    {network}"
    assert mark.index("^") == 4 + column
    assert mark.count("^") == len(network[column:].split()[0])


@pytest.mark.one_precision
def test_other_errors():
    with pytest.raises(ValueError, match="add Flatten"):
        nn.parse_network("Dense[4]", (3, 3, 1), key=jr.key(0))
    with pytest.raises(ValueError, match=r"windows of 5, larger than \(3, 3\)"):
        nn.parse_network("Conv2D[4,5]", (3, 3, 1), key=jr.key(0))
    with pytest.raises(ValueError, match="no layers"):
        nn.parse_network("", (3,), key=jr.key(0))
    with pytest.raises(ValueError, match="cannot be a int"):
        nn.parse_network([3], (3,), key=jr.key(0))  # pyright: ignore[reportArgumentType]
