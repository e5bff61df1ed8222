"""The published protocol, kept to the letter: one unstratified split, SVM and MLP at every layer.

Its predictions are those of the library calls it names, on the same arrays. It is there for
comparison only: one split, unscaled states for the SVM, no floor and no interval.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.text.suggest import did_you_mean

Labels = NDArray[np.int64]
PAPER_PROBES = ("svm", "mlp")
TEST_SHARE = 0.3
SPLIT_SEED = 42


@dataclass(frozen=True, eq=False)
class PaperFit:
    """A classifier of the published protocol at one layer.

    Args:
        predicted, train_predicted: class of each test and training row.
        score: of the test rows: above 0 means class 1 for two classes; else how sure it is.
        inner_accuracy: NaN, as the protocol holds nothing out of the training rows.
    """

    predicted: Labels
    train_predicted: Labels
    score: NDArray[np.float64]
    inner_accuracy: float = float("nan")


def paper_preset(
    x: NDArray[np.floating], labels: NDArray[Any], *, probes: Sequence[str] = PAPER_PROBES
) -> dict[str, Labels]:
    """Classify the published split's test rows at every layer.

    Source: arXiv:2406.05644: `train_test_split(test_size=0.3, random_state=42)`, the same rows at
    every layer; the classifiers of `paper_fit`.

    Args:
        x: states, in the float type they are kept in; axes (row, layer, coordinate).
        labels: class of each row, two or more classes; axis (row).
        probes: `svm`, `mlp` or both.

    Returns: predicted classes by probe; axes (layer, test row).

    Raises:
        ConfigError, DataError: as for `paper_fit`; also for states without three axes.
    """
    from sklearn.model_selection import train_test_split

    if x.ndim != 3 or len(x) != len(labels):
        raise DataError(
            f"States with {x.ndim} axes and {len(x)} rows do not go with {len(labels)} labels.",
            fix="Give states with axes (row, layer, coordinate) and one label per row.",
        )
    train, test = train_test_split(np.arange(len(x)), test_size=TEST_SHARE, random_state=SPLIT_SEED)
    missing = np.setdiff1d(labels, labels[train])
    if len(missing):
        raise DataError(
            f"Class {missing[0]} has no training rows in the published split.",
            fix="Give more rows of it.",
        )
    return {
        probe: np.stack(
            [
                _fitted(probe, x[train, layer], labels[train], x[test, layer]).predict(
                    x[test, layer]
                )
                for layer in range(x.shape[1])
            ]
        )
        for probe in probes
    }


def paper_fit(
    name: str,
    x_train: NDArray[np.floating],
    labels: NDArray[Any],
    x_test: NDArray[np.floating],
) -> PaperFit:
    """Fit a published classifier at one layer.

    Args:
        name: `svm`: `SVC(kernel="linear")` on the states as they are; `mlp`: 100 hidden units, on
            states standardised on the training rows.
        x_train, x_test: states; axes (row, coordinate).
        labels: class of each training row; axis (row).

    Raises:
        ConfigError: there is no such classifier.
        DataError: states and labels do not fit, a state is not finite, or there is one class only.

    Note: the SVM is not given the inner products of all rows: its solver makes only those it
        needs, which is faster where the classes are easily told apart.
    """
    classifier = _fitted(name, x_train, labels, x_test)
    if name == "svm":
        score = classifier.decision_function(x_test)
    else:
        score = np.log(classifier.predict_proba(x_test).clip(1e-12, 1 - 1e-12))
        score = score[:, 1] - score[:, 0] if score.shape[1] == 2 else score
    return PaperFit(
        np.asarray(classifier.predict(x_test), np.int64),
        np.asarray(classifier.predict(x_train), np.int64),
        np.asarray(score if score.ndim == 1 else score.max(1), np.float64),
    )


def _fitted(
    name: str, x_train: NDArray[np.floating], labels: NDArray[Any], x_test: NDArray[np.floating]
) -> Any:
    """Return the library's classifier, fitted, after checking what it is given."""
    from sklearn.exceptions import ConvergenceWarning

    if name not in PAPER_PROBES:
        raise ConfigError(
            f"The published protocol has no probe `{name}`.", fix=did_you_mean(name, PAPER_PROBES)
        )
    truth = _checked(x_train, labels, x_test)
    classifier = _svm() if name == "svm" else _mlp()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 rounds are the protocol
        return classifier.fit(x_train, truth)


def _svm() -> Any:
    from sklearn.svm import SVC

    return SVC(kernel="linear")


def _mlp() -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = MLPClassifier(
        hidden_layer_sizes=(100,),
        max_iter=300,
        alpha=0.01,
        solver="adam",
        learning_rate_init=0.01,
        random_state=42,
    )
    return make_pipeline(StandardScaler(), network)


def _checked(
    x_train: NDArray[np.floating], labels: NDArray[Any], x_test: NDArray[np.floating]
) -> Labels:
    """Return the labels after checking them against the states."""
    truth = np.asarray(labels).astype(np.int64)
    if x_train.ndim != 2 or truth.shape != (len(x_train),):
        raise DataError(
            f"There are {truth.size} labels for {len(x_train)} training rows.",
            fix="Give one label per training row.",
        )
    for what, x in (("training", x_train), ("test", x_test)):
        bad = np.flatnonzero(~np.isfinite(x).all(1))
        if len(bad):
            raise DataError(
                f"The {what} states of row {bad[0]} hold NaN or infinity.",
                fix="Read the states again; a model that overflows cannot be probed.",
            )
    if len(np.unique(truth)) < 2:
        raise DataError("All training rows are of one class.", fix="Give two or more classes.")
    return truth
