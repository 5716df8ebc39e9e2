"""The table of a model and the history of its training, as pictures.

A convolutional network with batch normalisation and dropout learns scikit-learn's
digits. `python examples/modules.py` writes out/tabulate.png and out/history.png.
"""

import pathlib

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

from fixproj import nn


OUT = pathlib.Path(__file__).parents[1] / "out"


def network() -> nn.Sequential:
    """Two convolutions and a linear layer."""
    return nn.Sequential(
        nn.Conv(16, (3, 3), use_bias=False),
        nn.BatchNorm(),
        jax.nn.relu,
        nn.MaxPool((2, 2), strides=2),
        nn.Conv(32, (3, 3)),
        jax.nn.relu,
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(10),
    )


def main() -> None:
    """Trains the network and draws both pictures."""
    images, labels = load_digits(return_X_y=True)
    images = np.asarray(images).reshape(-1, 8, 8, 1) / 16
    labels = np.asarray(labels)
    train = np.arange(len(labels)) % 4 != 0
    model = network().init(0, jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32))
    table = nn.tabulate(
        model, jax.ShapeDtypeStruct((64, 8, 8, 1), np.float32), width=140
    )
    print(table)
    OUT.mkdir(exist_ok=True)
    figure = plt.figure()
    figure.text(0, 0, table, family="monospace", fontsize=8)
    figure.savefig(OUT / "tabulate.png", dpi=110, bbox_inches="tight")
    history = nn.fit(
        model,
        nn.Gradient(optax.adam(3e-3)),
        (images[train], labels[train]),
        epochs=20,
        validation=(images[~train], labels[~train]),
        callbacks=[nn.EarlyStopping("validation_loss", patience=5)],
        monitor="validation_accuracy",
    )
    history.plot()
    plt.tight_layout()
    plt.savefig(OUT / "history.png", dpi=110)
    held_out = (images[~train], labels[~train])
    found = nn.evaluate(history.best_model, held_out)
    print(f"epoch {history.best_epoch}, chosen by this number: {found['accuracy']:.4f}")


if __name__ == "__main__":
    main()
