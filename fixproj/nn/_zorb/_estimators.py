"""scikit-learn estimators that train by least squares alone.

Imported on first use, so that the rest of the package does not need scikit-learn.
"""

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    check_random_state,
    validate_data,
)

from fixproj.nn._zorb._activations import ACTIVATIONS
from fixproj.nn._zorb._moments import Moments
from fixproj.nn._zorb._training import (
    FEW_ROWS,
    Fitted,
    resolved,
    start,
    train_few,
    train_many,
)


_QUANTILES = 10
_BETAS = 2.0 ** np.arange(0.0, 6.1, 0.5)


class _ZORB(BaseEstimator):
    """What the two estimators share."""

    def __init__(
        self,
        hidden_layer_sizes=(512,),
        activation="tanh",
        *,
        ridge=None,
        sweeps=None,
        skip=None,
        random_state=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.ridge = ridge
        self.sweeps = sweeps
        self.skip = skip
        self.random_state = random_state

    def _check_parameters(self):
        owner = type(self).__name__
        sizes = self.hidden_layer_sizes
        sizes = (sizes,) if isinstance(sizes, int | np.integer) else tuple(sizes)
        if any(isinstance(s, bool) or int(s) != s or s < 1 for s in sizes):
            raise ValueError(
                f"{owner}: `hidden_layer_sizes` must be positive integers, got "
                f"{self.hidden_layer_sizes!r}."
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"{owner}: `activation` must be one of "
                f"{', '.join(map(repr, ACTIVATIONS))}; got {self.activation!r}."
            )
        ridge = self.ridge
        if ridge is not None and not (np.isfinite(ridge) and ridge > 0):
            raise ValueError(
                f"{owner}: `ridge` must be a positive number, or None to choose it; "
                f"got {ridge!r}."
            )
        sweeps = self.sweeps
        if sweeps is not None and (int(sweeps) != sweeps or sweeps < 0):
            raise ValueError(
                f"{owner}: `sweeps` must be an integer of at least 0 or None, got "
                f"{sweeps!r}."
            )
        return tuple(int(s) for s in sizes)

    def _skips(self, count):
        if self.skip is None:
            return count <= FEW_ROWS or not isinstance(self, ClassifierMixin)
        return bool(self.skip)

    def _train(self, x, y, groups, weights):
        """Fits targets y of shape (rows, outputs)."""
        sizes = self._check_parameters()
        rng = np.random.default_rng(
            check_random_state(self.random_state).randint(2**31 - 1)
        )
        used = weights > 0
        if not used.all():
            x, y, groups, weights = x[used], y[used], groups[used], weights[used]
        dtype = np.dtype(np.float32)
        if len(x) <= FEW_ROWS:
            if x.dtype != np.float32:
                dtype = np.dtype(np.float64)
            x, y, groups, weights = _merged(x, y, groups, weights)
        with jax.enable_x64(True):
            expansion = start(
                x, groups, weights, sizes, self.activation, rng, self._skips(len(x))
            )
            sweeps = self.sweeps
            if len(x) <= FEW_ROWS:
                fitted = train_few(
                    x, y, weights, expansion, self.ridge, sweeps or 0, dtype
                )
            else:
                fitted = train_many(
                    x,
                    y,
                    weights,
                    expansion,
                    self.ridge,
                    sweeps,
                    dtype,
                    rng,
                    classes=isinstance(self, ClassifierMixin),
                )
            self._network = fitted
            self._rows = (x, y, weights)
        return fitted

    def _add(self, x, y, groups, weights):
        """Adds rows to the statistics of the readout, and solves it anew."""
        sizes = self._check_parameters()
        dtype = np.dtype(np.float32 if x.dtype == np.float32 else np.float64)
        with jax.enable_x64(True):
            if not hasattr(self, "_network"):
                rng = np.random.default_rng(
                    check_random_state(self.random_state).randint(2**31 - 1)
                )
                expansion = start(
                    x, groups, weights, sizes, self.activation, rng, self._skips(len(x))
                )
                moments = Moments.about(expansion, x, y.shape[1], dtype)
            else:
                fitted = self._network
                expansion, dtype = fitted.expansion, fitted.dtype
                moments = fitted.moments
                if moments is None and self._rows is not None:
                    moments = Moments.empty(fitted.readout[0], y.shape[1])
                    rows, targets, each = self._rows
                    moments.add(expansion, rows, targets, each, dtype)
            assert moments is not None
            moments.add(expansion, x, y, weights, dtype)
            self._rows = None
            self._network = resolved(moments, expansion, self.ridge, dtype)
        self._publish()

    def _publish(self):
        fitted: Fitted = self._network
        if fitted.moments is not None:
            self._rows = None
        self.ridge_ = fitted.strength
        self.n_outputs_ = fitted.readout[1].shape[1]
        layers = [*fitted.expansion.layers, (fitted.readout[1], fitted.readout[2])]
        self.coefs_ = [w for w, _ in layers]
        self.intercepts_ = [b for _, b in layers]
        self.n_layers_ = len(layers) + 1

    def _outputs(self, X):
        check_is_fitted(self, "ridge_")
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        with jax.enable_x64(True):
            return self._network.predict(X)


class ZORBClassifier(ClassifierMixin, _ZORB):
    """Classifies by a network that least squares alone has trained.

    The hidden units start as separators of random pairs of examples of different
    classes. The output layer, which also sees the inputs, is a ridge regression on
    one-hot labels. Up to 2048 examples, the leave-one-out error chooses the ridge, the
    slope of the units and the weight of the hidden layer. With more, generalised
    cross-validation chooses the ridge, and labels become targets that may be exceeded;
    sweeps of projections move the hidden layers: what the outputs lack is carried back
    as targets, and each layer is the ridge regression on its own. Statistics are
    accumulated in blocks, so memory beyond the data does not grow with their number.

    Args:
        hidden_layer_sizes: units of each hidden layer; empty for a linear model.
        activation: "tanh", "sigmoid", "relu", "leaky_relu", "sign" or "identity".
        ridge: strength of the output layer's ridge; None chooses it.
        sweeps: over the hidden layers. None: 1 for 2049 to 8192 examples, else 0.
        skip: whether the output layer also sees the inputs. None: up to 2048 examples,
            and for regression.
        class_weight: "balanced", a dictionary from label to weight, or None. `fit`
            takes them relative to each other, `partial_fit` as they are.
        random_state: an integer for reproducible results.

    Attributes:
        classes_: the labels, sorted.
        ridge_: the strength that was used.
        coefs_: weights of each layer; the last acts on the concatenated hidden outputs
            and inputs, scaled and centred.
        intercepts_: biases of each layer.

    References:
        Ranganathan and Lewandowski, "ZORB", 2020, arXiv:2011.08895.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> from fixproj import nn
        >>> x, y = load_iris(return_X_y=True)
        >>> nn.ZORBClassifier(random_state=0).fit(x, y).score(x, y) > 0.95
        True
    """

    def __init__(
        self,
        hidden_layer_sizes=(512,),
        activation="tanh",
        *,
        ridge=None,
        sweeps=None,
        skip=None,
        class_weight=None,
        random_state=None,
    ):
        super().__init__(
            hidden_layer_sizes,
            activation,
            ridge=ridge,
            sweeps=sweeps,
            skip=skip,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(self, X, y, sample_weight=None):
        """Trains the network.

        Args:
            X: inputs, of shape (examples, features); arrays mapped from a file stay
                there.
            y: labels, numbers or strings.
            sample_weight: of each example.

        Returns:
            The estimator.

        Raises:
            ValueError: for NaN or infinite values, fewer than two classes, or
                parameters out of range.
        """
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2
        )
        check_classification_targets(y)
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        self.classes_, codes = np.unique(y, return_inverse=True)
        present = np.unique(codes[weights > 0])
        if len(present) < 2:
            raise ValueError(
                "ZORBClassifier needs examples of at least 2 classes, of positive "
                f"weight; got 1 class: {self.classes_[present].tolist()}."
            )
        # Relative to each other: the sum of weights counts examples, which tells how
        # much freedom a ridge leaves.
        total = weights.sum()
        weights = weights * self._class_weights(codes, weights)
        weights = weights * (total / max(weights.sum(), np.finfo(float).tiny))
        if hasattr(self, "_network"):
            del self._network
        targets = np.eye(len(self.classes_))[codes]
        fitted = self._train(X, targets, codes, weights)
        self._beta = self._temperature(fitted, X, codes, weights)
        self._publish()
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Adds a batch to what the output layer is fitted to.

        The first call makes the hidden layer from its batch, which should therefore be
        like the others (a few hundred examples at least); a call after `fit` keeps the
        hidden layer that `fit` has found. The order of batches does not matter
        otherwise: the result is the ridge regression on all of them.

        Args:
            X: inputs.
            y: labels.
            classes: all labels there will ever be; required on the first call.
            sample_weight: of each example.

        Returns:
            The estimator.

        Raises:
            ValueError: for labels that are not in `classes`, or no `classes` on the
                first call.
        """
        first = not hasattr(self, "_network")
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=first)
        check_classification_targets(y)
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if first:
            if classes is None:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit."
                )
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(
            np.unique(classes), self.classes_
        ):
            raise ValueError(
                f"`classes={list(classes)}` differs from the classes of the first "
                f"call, {self.classes_.tolist()}."
            )
        unseen = np.setdiff1d(y, self.classes_)
        if unseen.size:
            raise ValueError(
                f"y has labels that are not in classes: {unseen.tolist()}; classes are "
                f"{self.classes_.tolist()}."
            )
        codes = np.searchsorted(self.classes_, y)
        weights = weights * self._class_weights(codes, weights)
        if not np.any(weights > 0):
            return self
        self._add(X, np.eye(len(self.classes_))[codes], codes, weights)
        self._beta = self._temperature(self._network, X, codes, weights)
        return self

    def predict(self, X):
        """The most likely label of each row."""
        outputs = self._outputs(X)
        return self.classes_[np.argmax(outputs, axis=1)]

    def predict_proba(self, X):
        """Probabilities of the classes: a softmax of the outputs.

        Its temperature is fitted to leave-one-out outputs where there are any.
        """
        outputs = self._outputs(X).astype(np.float64)
        return _softmax(self._beta * outputs)

    def _class_weights(self, codes, weights):
        rule = self.class_weight
        if rule is None:
            return np.ones(len(codes))
        count = len(self.classes_)
        if isinstance(rule, str):
            if rule != "balanced":
                raise ValueError(
                    "ZORBClassifier: `class_weight` must be 'balanced', a dictionary or"
                    f" None; got {rule!r}."
                )
            totals = np.bincount(codes, weights, count)
            each = totals.sum() / (count * np.maximum(totals, np.finfo(float).tiny))
            return each[codes]
        labels = self.classes_.tolist()
        unknown = [label for label in rule if label not in labels]
        if unknown:
            raise ValueError(
                f"ZORBClassifier: `class_weight` has labels that are not classes: "
                f"{unknown}."
            )
        return np.array([rule.get(label, 1.0) for label in labels], float)[codes]

    def _temperature(self, fitted, X, codes, weights):
        """The softmax's factor, of least log loss."""
        held_out = fitted.held_out
        if held_out is None or self._rows is None:
            X, codes, weights = X[:FEW_ROWS], codes[:FEW_ROWS], weights[:FEW_ROWS]
            with jax.enable_x64(True):
                outputs = fitted.predict(X).astype(np.float64)
        else:
            _, targets, weights = self._rows
            rows, outputs = held_out
            codes, weights = np.argmax(targets[rows], axis=1), weights[rows]
        own = np.arange(len(codes)), codes
        losses = [
            -weights @ np.log(np.maximum(_softmax(beta * outputs)[own], 1e-300))
            for beta in _BETAS
        ]
        return float(_BETAS[int(np.argmin(losses))])


class ZORBRegressor(RegressorMixin, _ZORB):
    """Predicts numbers by a network that least squares alone has trained.

    See `ZORBClassifier`; the pairs that hidden units separate are of different deciles
    of the target. Several outputs are fitted at once, each scaled to unit variance.

    Args:
        hidden_layer_sizes: units of each hidden layer; empty for a linear model.
        activation: "tanh", "sigmoid", "relu", "leaky_relu", "sign" or "identity".
        ridge: strength of the output layer's ridge; None chooses it.
        sweeps: over the hidden layers. None: 1 for 2049 to 8192 examples, else 0.
        skip: whether the output layer also sees the inputs. None: up to 2048 examples,
            and for regression.
        random_state: an integer for reproducible results.

    Attributes:
        ridge_: the strength that was used.
        coefs_: weights of each layer, for targets of unit variance.
        intercepts_: biases of each layer.

    References:
        Ranganathan and Lewandowski, "ZORB", 2020, arXiv:2011.08895.

    Examples:
        >>> import numpy as np
        >>> from fixproj import nn
        >>> x = np.linspace(-3, 3, 200)[:, None]
        >>> model = nn.ZORBRegressor(random_state=0).fit(x, np.sinc(x[:, 0]))
        >>> model.score(x, np.sinc(x[:, 0])) > 0.99
        True
    """

    def fit(self, X, y, sample_weight=None):
        """Trains the network.

        Args:
            X: inputs, of shape (examples, features).
            y: targets, of shape (examples,) or (examples, outputs).
            sample_weight: of each example.

        Returns:
            The estimator.

        Raises:
            ValueError: for NaN or infinite values, or parameters out of range.
        """
        X, y = self._validated(X, y, True, 2)
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if hasattr(self, "_network"):
            del self._network
        self._set_scale(y, weights)
        self._train(X, self._scaled(y), _deciles(y), weights)
        self._publish()
        return self

    def partial_fit(self, X, y, sample_weight=None):
        """Adds a batch to what the output layer is fitted to.

        The first call makes the hidden layer from its batch, see
        `ZORBClassifier.partial_fit`.

        Args:
            X: inputs.
            y: targets.
            sample_weight: of each example.

        Returns:
            The estimator.

        Raises:
            ValueError: if shapes differ from those of the first call.
        """
        first = not hasattr(self, "_network")
        X, y = self._validated(X, y, first, 1)
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if not np.any(weights > 0):
            return self
        if first:
            self._set_scale(y, weights)
        elif y.reshape(len(y), -1).shape[1] != self.n_outputs_:
            raise ValueError(
                f"y must have {self.n_outputs_} outputs as in the first call, got "
                f"shape {y.shape}."
            )
        self._add(X, self._scaled(y), _deciles(y), weights)
        return self

    def predict(self, X):
        """The outputs of each row."""
        found = self._outputs(X) * self._scale + self._centre
        return found[:, 0] if self._single else found

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _validated(self, X, y, reset, least):
        X, y = validate_data(
            self,
            X,
            y,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            reset=reset,
            ensure_min_samples=least,
        )
        return X, np.asarray(y, np.float64)

    def _set_scale(self, y, weights):
        self._single = y.ndim == 1
        y = y.reshape(len(y), -1)
        if not np.sum(weights) > 0:
            raise ValueError("sample_weight must have a positive sum.")
        self._centre = np.average(y, axis=0, weights=weights)
        spread = np.sqrt(np.average((y - self._centre) ** 2, axis=0, weights=weights))
        self._scale = np.where(spread > 0, spread, 1.0)

    def _scaled(self, y):
        return (y.reshape(len(y), -1) - self._centre) / self._scale


def _deciles(y):
    first = y.reshape(len(y), -1)[:, 0]
    edges = np.quantile(first, np.linspace(0, 1, _QUANTILES + 1)[1:-1])
    return np.searchsorted(edges, first)


def _merged(x, y, groups, weights):
    """Distinct rows in sorted order, with their summed weights.

    So neither the order of rows nor whether one is repeated or weighted changes what
    is drawn at random.
    """
    both = np.concatenate([np.asarray(x, np.float64), y], axis=1)
    _, first, inverse = np.unique(both, axis=0, return_index=True, return_inverse=True)
    total = np.bincount(inverse.reshape(-1), weights, len(first))
    return x[first], y[first], groups[first], total


def _softmax(scores):
    p = np.exp(scores - scores.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)
