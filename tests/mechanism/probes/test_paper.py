"""The published protocol predicts what the library calls it names predict, on the same arrays."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.probes.paper import paper_fit, paper_preset


def drawn(classes: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Draw states of two layers, the first of tiny norm as early layers are."""
    rng = np.random.default_rng(classes)
    labels = rng.permutation(np.arange(70) % classes)
    x = rng.normal(size=(70, 2, 24))
    x[np.arange(70), :, labels] += 2
    return (x * np.array([0.01, 3])[:, None]).astype(dtype), labels


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_are_identical(classes: int, dtype: type) -> None:
    x, labels = drawn(classes, dtype)
    found = paper_preset(x, labels)
    for layer in range(2):
        train, test, y, _ = train_test_split(x[:, layer], labels, test_size=0.3, random_state=42)
        svm = SVC(kernel="linear").fit(train, y)
        assert (found["svm"][layer] == svm.predict(test)).all()
        scaler = StandardScaler().fit(train)
        mlp = MLPClassifier(
            hidden_layer_sizes=(100,),
            max_iter=300,
            alpha=0.01,
            solver="adam",
            learning_rate_init=0.01,
            random_state=42,
        ).fit(scaler.transform(train), y)
        assert (found["mlp"][layer] == mlp.predict(scaler.transform(test))).all()


def test_the_protocol_is_kept_to_the_letter() -> None:
    """Scaled states, which would be better, give other predictions: so the check can fail."""
    x, labels = drawn(2, np.float64)
    train, test, y, _ = train_test_split(x[:, 0], labels, test_size=0.3, random_state=42)
    scaler = StandardScaler().fit(train)
    scaled = SVC(kernel="linear").fit(scaler.transform(train), y).predict(scaler.transform(test))
    assert (paper_preset(x, labels, probes=["svm"])["svm"][0] != scaled).any()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["svm", "mlp"])
def test_scores_go_with_predictions(name: str, classes: int) -> None:
    x, labels = drawn(classes, np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paper_fit(name, x[:50, 1], labels[:50], x[50:, 1])
    assert found.score.shape == (20,)
    if classes == 2:
        assert ((found.score > 0) == found.predicted).all()
    assert (found.train_predicted == labels[:50]).mean() > 0.9
    assert np.isnan(found.inner_accuracy)


@pytest.mark.parametrize(
    "x, labels, said",
    [
        (np.ones((6, 3)), [0, 1, 0, 1, 0], "5 labels for 6 training rows"),
        (np.full((4, 3), np.nan), [0, 1, 0, 1], "row 0 hold NaN"),
        (np.ones((4, 3)), [1, 1, 1, 1], "one class"),
    ],
)
def test_bad_input_is_named(x, labels, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=said):
        paper_fit("svm", x, np.array(labels), x)


def test_bad_presets_are_named() -> None:
    x, labels = drawn(2, np.float64)
    with pytest.raises(ConfigError, match="mlp"):
        paper_preset(x, labels, probes=["mpl"])
    with pytest.raises(DataError, match="2 axes"):
        paper_preset(x[:, 0], labels)
    rare = np.zeros(70, int)
    rare[train_test_split(np.arange(70), test_size=0.3, random_state=42)[1][0]] = 1
    with pytest.raises(DataError, match="Class 1 has no training rows"):
        paper_preset(x, rare)
