import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from fixproj import nn
from fixproj.nn._zorb._layers import Dense


EPS = np.finfo(np.float64).eps


def _pinv(a, rcond):
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    cut = 10 * max(a.shape) * EPS if rcond is None else rcond
    inverse = np.where(s > cut * s[0], 1 / np.where(s > 0, s, 1), 0)
    return (vt.T * inverse) @ u.T


def _range(name):
    return (0.0, 1.0) if name == "sigmoid" else (-1.0, 1.0)


class _Published:
    """The published algorithm for dense layers, in NumPy."""

    def __init__(self, steps, u_rcond, b_rcond):
        # Pairs (name, matrix with the bias as last row or None).
        self.steps = [list(step) for step in steps]
        self.scale = [list(_range(name)) for name, _ in steps]
        self.u_rcond, self.b_rcond = u_rcond, b_rcond
        self.softmax = {}

    def forward(self, i, x):
        name, w = self.steps[i]
        low, high = self.scale[i]
        if name == "dense":
            return x @ w[:-1] + w[-1]
        if name == "sigmoid":
            return (high - low) / (1 + np.exp(-x)) + low
        if name == "tanh":
            return (np.tanh(x) + 1) * (high - low) / 2 + low
        if name == "relu":
            return np.maximum(x, 0)
        top = x.max(-1, keepdims=True)
        e = np.exp(x - top)
        self.softmax[i] = top, e.sum(-1, keepdims=True)
        return e / e.sum(-1, keepdims=True)

    def backward(self, i, t):
        name, w = self.steps[i]
        if name == "dense":
            return (t - w[-1]) @ _pinv(w[:-1], self.b_rcond)
        if name == "relu":
            return np.maximum(t, 0)
        with np.errstate(divide="ignore"):
            if name == "softmax":
                top, total = self.softmax[i]
                return self._finite(np.log(t * total)) + top
            low, high = self.scale[i] = [t.min(), t.max()]
            u = (t - low) / (high - low)
            if name == "sigmoid":
                return self._finite(np.log(u / (1 - u)))
            return self._finite(np.arctanh(2 * u - 1))

    def _finite(self, z):
        high = float(np.log(np.finfo(np.float32).max))
        return np.nan_to_num(z, neginf=np.log(EPS), posinf=high)

    def fit(self, x, y):
        for i, (name, _) in enumerate(self.steps):
            if name == "dense":
                h, t = x, y
                for j in range(i, len(self.steps)):
                    h = self.forward(j, h)
                for j in range(len(self.steps) - 1, i, -1):
                    t = self.backward(j, t)
                rows = np.concatenate([x, np.ones((len(x), 1))], 1)
                self.steps[i][1] = _pinv(rows, self.u_rcond) @ t
            x = self.forward(i, x)
        return x


CASES = [
    ("Dense[12] Sigmoid Dense[3]", {}),
    ("Dense[12] Tanh Dense[3]", {"rcond": 1e-6}),
    ("Dense[8] Sigmoid Dense[6] Tanh Dense[3] Softmax", {"rcond": 1e-4}),
    ("Dense[8] ReLU Dense[3]", {"u_rcond": 1e-8, "b_rcond": 1e-3}),
]


@pytest.mark.one_precision
@pytest.mark.parametrize("network,options", CASES, ids=[c[0] for c in CASES])
def test_predictions_are_those_of_the_published_algorithm(network, options):
    with jax.enable_x64(True):
        net = nn.parse_network(network, (5,), key=jr.key(0))
        rng = np.random.default_rng(0)
        x = rng.normal(size=(60, 5))
        labels = np.argmax(x[:, :3] + 0.3 * rng.normal(size=(60, 3)), 1)
        y = np.eye(3)[labels]
        steps = []
        for token, layer in zip(network.split(), net.layers, strict=True):
            matrix = None
            if isinstance(layer, Dense):
                assert layer.bias is not None
                matrix = np.concatenate([layer.weight, layer.bias[None]])
            steps.append((token.split("[")[0].lower(), matrix))
        rcond = options.get("rcond")
        peer = _Published(
            steps, options.get("u_rcond", rcond), options.get("b_rcond", rcond)
        )
        expected = peer.fit(x, y)
        history = nn.fit(
            net,
            nn.ReferenceZORB(**options),
            [(jnp.asarray(x), jnp.asarray(y))],
            epochs=1,
            progress=False,
        )
        found = np.asarray(history.model(jnp.asarray(x)))
    np.testing.assert_allclose(found, expected, atol=1e-8)
    # The hidden layer's rank is what limits the published algorithm.
    assert np.mean(found.argmax(1) == labels) > 0.6


@pytest.mark.one_precision
@pytest.mark.slow
def test_reference_convolution_fits():
    with jax.enable_x64(True):
        key = jr.key(0)
        net = nn.parse_network(
            "Conv2D[4,3] Sigmoid Flatten Dense[2]", (6, 6, 1), key=key
        )
        x = jr.normal(key, (80, 6, 6, 1))
        y = (x[:, 2, 2, 0] > 0).astype(int)
        new, _, info = nn.ReferenceZORB(rcond=1e-8).update(net, None, x, y)
        fitted = float(jnp.mean(jnp.argmax(new(x), 1) == y))
        before = float(info["accuracy"])
    assert fitted > 0.9 > before


@pytest.mark.one_precision
def test_what_it_cannot_invert():
    net = nn.parse_network("Dense[4] Sign Dense[2]", (3,), key=jr.key(0))
    with pytest.raises(TypeError, match="sign.*no inverse.*nn.ZORB"):
        nn.ReferenceZORB().init(net)
    with pytest.raises(TypeError, match="parse_network.*dict"):
        nn.ReferenceZORB().init({})
