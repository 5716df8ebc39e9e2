import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.utils.estimator_checks import check_estimator

from fixproj import nn


def _check(estimator):
    results = check_estimator(estimator, on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 50


# scikit-learn's checks warn on purpose: they pass column vectors and the like.
@pytest.mark.one_precision
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_accepts_the_estimators():
    _check(nn.ZORBClassifier(random_state=0))
    _check(nn.ZORBRegressor(random_state=0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_accepts_other_settings():
    for activation in ("relu", "sign", "sigmoid"):
        _check(nn.ZORBClassifier((32, 16), activation, sweeps=1))
        _check(nn.ZORBRegressor((32, 16), activation, sweeps=1))


def _folds(estimator, x, y, splitter, seeds=1):
    found = []
    for seed in range(seeds):
        model = estimator(seed)
        for train, test in splitter(5, shuffle=True, random_state=seed).split(x, y):
            found.append(model.fit(x[train], y[train]).score(x[test], y[test]))
    return float(np.mean(found))


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("seed", range(5))
def test_digits_at_width_256(seed):
    x, y = load_digits(return_X_y=True)
    x, tx, y, ty = train_test_split(x, y, test_size=0.25, random_state=seed, stratify=y)
    assert nn.ZORBClassifier(256, random_state=seed).fit(x, y).score(tx, ty) > 0.975


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "load,least", [(load_iris, 0.94), (load_wine, 0.965), (load_breast_cancer, 0.96)]
)
def test_small_classes(load, least):
    x, y = load(return_X_y=True)
    assert (
        _folds(lambda s: nn.ZORBClassifier(random_state=s), x, y, StratifiedKFold)
        > least
    )


@pytest.mark.one_precision
def test_regression_is_no_worse_than_ridge():
    x, y = load_diabetes(return_X_y=True)
    ours = _folds(lambda s: nn.ZORBRegressor(64, random_state=s), x, y, KFold)
    ridge = _folds(lambda s: RidgeCV(10.0 ** np.arange(-4, 3)), x, y, KFold)
    assert ours > ridge - 0.005


def _blobs(n=600, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    y = np.where(np.sum(x[:, :2] ** 2, 1) > 1.4, "out", "in")
    return x, y


@pytest.mark.one_precision
def test_string_labels_and_probabilities():
    x, y = _blobs()
    model = nn.ZORBClassifier(64, random_state=0).fit(x[:400], y[:400])
    assert model.classes_.tolist() == ["in", "out"]
    assert model.score(x[400:], y[400:]) > 0.9
    p = model.predict_proba(x[400:])
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert (model.classes_[p.argmax(1)] == model.predict(x[400:])).all()
    own = p[np.arange(200), (y[400:] == "out").astype(int)]
    # Below the log loss of knowing nothing, by far.
    assert -np.log(own).mean() < 0.5 * np.log(2)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


@pytest.mark.one_precision
def test_weights_move_the_decision():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 1))
    y = (x[:, 0] + rng.normal(size=500) > 1.5).astype(int)
    plain = nn.ZORBClassifier(16, random_state=0).fit(x, y)
    balanced = nn.ZORBClassifier(16, class_weight="balanced", random_state=0).fit(x, y)
    by_hand = nn.ZORBClassifier(16, random_state=0).fit(
        x, y, sample_weight=np.where(y == 1, 250 / y.sum(), 250 / (500 - y.sum()))
    )
    recall = [np.mean(m.predict(x)[y == 1]) for m in (plain, balanced, by_hand)]
    assert recall[0] < recall[1] and recall[1] == pytest.approx(recall[2], abs=0.01)
    with pytest.raises(ValueError, match="not classes.*7"):
        nn.ZORBClassifier(class_weight={7: 1.0}).fit(x, y)
    with pytest.raises(ValueError, match="balanced"):
        nn.ZORBClassifier(class_weight="even").fit(x, y)


@pytest.mark.one_precision
def test_partial_fit_is_ridge_on_all_batches():
    x, y = _blobs(900)
    model = nn.ZORBClassifier(64, ridge=1e-3, random_state=0)
    for i in range(0, 900, 300):
        model.partial_fit(x[i : i + 300], y[i : i + 300], classes=["in", "out"])
    with jax.enable_x64(True):
        features = model._network.expansion(x, np.dtype(float))
    centred = features - features.mean(0)
    targets = (y[:, None] == model.classes_[None]).astype(float)
    expected = np.linalg.solve(
        centred.T @ centred + 1e-3 * np.eye(centred.shape[1]), centred.T @ targets
    )
    np.testing.assert_allclose(model.coefs_[-1], expected, rtol=1e-5, atol=1e-6)
    assert model.score(x, y) > 0.93


@pytest.mark.one_precision
def test_partial_fit_goes_on_after_fit():
    x, y = _blobs(900)
    model = nn.ZORBClassifier(64, random_state=0).fit(x[:100], y[:100])
    before = model.score(x[600:], y[600:])
    model.partial_fit(x[100:600], y[100:600])
    assert model.score(x[600:], y[600:]) >= before
    with pytest.raises(ValueError, match="not in classes.*'aside'"):
        model.partial_fit(x[:2], ["aside", "in"])
    with pytest.raises(ValueError, match="differs from the classes"):
        model.partial_fit(x[:2], y[:2], classes=["in", "aside"])
    with pytest.raises(ValueError, match="classes must be passed on the first"):
        nn.ZORBClassifier().partial_fit(x, y)


@pytest.mark.one_precision
def test_many_rows_sweep_and_do_better():
    """Above 2048 rows the hidden layer moves; checked against the same without."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6000, 6)).astype(np.float32)
    y = np.sin(2 * x[:, 0]) * x[:, 1] + 0.5 * x[:, 2] ** 2
    train, test = slice(0, 4500), slice(4500, None)
    scores = [
        nn.ZORBRegressor(48, sweeps=sweeps, random_state=0)
        .fit(x[train], y[train])
        .score(x[test], y[test])
        for sweeps in (0, 12)
    ]
    assert scores[1] > scores[0] + 0.003


@pytest.mark.one_precision
def test_several_outputs_and_constant_columns():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(40, 60)), np.full((40, 2), 3.0)], axis=1)
    y = x[:, :3] @ rng.normal(size=(3, 2)) * [1.0, 1e6]
    model = nn.ZORBRegressor((16, 8), random_state=0).fit(x, y)
    assert model.predict(x).shape == (40, 2) and np.isfinite(model.predict(x)).all()
    constant = nn.ZORBRegressor(random_state=0).fit(x, np.full(40, 5.0))
    np.testing.assert_allclose(constant.predict(x), 5.0)


@pytest.mark.one_precision
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sign", "sigmoid"])
def test_activations(activation):
    x, y = _blobs(500)
    model = nn.ZORBClassifier((48,), activation, sweeps=1, random_state=0)
    assert model.fit(x[:400], y[:400]).score(x[400:], y[400:]) > 0.8


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "options,words",
    [
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"activation": "gelu"}, "activation.*'tanh'.*'gelu'"),
        ({"ridge": -1.0}, "ridge.*positive"),
        ({"sweeps": -1}, "sweeps"),
    ],
)
def test_bad_parameters(options, words):
    with pytest.raises(ValueError, match=words):
        nn.ZORBClassifier(**options).fit(*_blobs(50))


@pytest.mark.one_precision
def test_bad_data():
    x, y = _blobs(50)
    with pytest.raises(ValueError, match="1 class: \\['in'\\]"):
        nn.ZORBClassifier().fit(x, ["in"] * 50)
    with pytest.raises(ValueError, match="NaN"):
        nn.ZORBClassifier().fit(np.where(x > 1, np.nan, x), y)
    import scipy.sparse

    with pytest.raises(TypeError, match="[Ss]parse"):
        nn.ZORBClassifier().fit(scipy.sparse.csr_matrix(x), y)


@pytest.mark.one_precision
def test_mapped_files(tmp_path):
    x, y = _blobs(3000)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    one, two = (
        nn.ZORBClassifier(32, random_state=0, sweeps=1).fit(data, y)
        for data in (mapped, x.astype(np.float32))
    )
    np.testing.assert_array_equal(one.coefs_[-1], two.coefs_[-1])


@pytest.mark.one_precision
def test_scikit_learn_is_only_imported_when_used():
    code = (
        "import sys, fixproj\nfrom fixproj import nn\nassert 'sklearn' not in "
        "sys.modules\nnn.ZORBClassifier\nassert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "ZORBRegressor" in dir(nn)
    with pytest.raises(AttributeError, match="ZORBTransformer"):
        nn.ZORBTransformer  # noqa: B018
