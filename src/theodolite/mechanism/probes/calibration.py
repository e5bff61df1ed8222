"""How good scores and probabilities are: calibration, ranking, and accuracy by class.

A quantity that these items do not define (a rate of a class without rows) is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.errors import DataError
from theodolite.measure import ranking
from theodolite.measure.agreement import confusion as counted

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
# A temperature outside this range, in units of the scores' own size, says no more than its end.
_COLDEST, _HOTTEST = 1e-3, 1e3
_MOST_STEPS = 100


def temperature(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature that makes scores the log-odds of least log-loss.

    Source: Guo et al. 2017.

    Args:
        scores: axis (item) for two classes, above 0 for class 1; else axes (item, class).
        labels: the class of each item; axis (item).

    Returns: T > 0: probabilities are sigmoid(score / T), or softmax(scores / T). Where the loss
        falls without end (scores that tell the classes apart without an error, or not at all) T is
        the coldest or hottest allowed: a thousandth or a thousand times the scores' mean size; 1
        where all scores are 0.

    Raises:
        DataError: scores and labels do not fit, or a score is not finite.
    """
    logits, truth = _logits(scores, labels)
    size = float(np.abs(logits - logits.mean(1, keepdims=True)).max(1).mean())
    if size == 0:
        return 1.0
    logits = logits / size
    low, high = np.log(1 / _HOTTEST), np.log(1 / _COLDEST)
    # The slope of the loss along the inverse temperature only rises, so halving finds its zero.
    for _ in range(_MOST_STEPS):
        middle = (low + high) / 2
        chances = _softmax(np.exp(middle) * logits)
        own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0]
        if float(((chances * logits).sum(1) - own).sum()) <= 0:
            low = middle
        else:
            high = middle
    return float(size * np.exp(-(low + high) / 2))


def probabilities(scores: ArrayLike, temperature: float = 1.0) -> Floats:
    """Return what calibrated scores mean.

    Args:
        scores: axis (item) for two classes; else axes (item, class).
        temperature: as `temperature` found it.

    Returns: the probability of class 1, axis (item), or of each class, axes (item, class).
    """
    array = np.asarray(scores, np.float64) / temperature
    if array.ndim == 2:
        return _softmax(array)
    return _softmax(np.stack([np.zeros_like(array), array], axis=1))[:, 1]


def ece(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error over bins that hold equally many items.

    Args:
        probabilities: of class 1, axis (item): their mean is set against the share of class 1; or
            axes (item, class): the largest one is set against the share of right classes.
        labels: axis (item).
        bins: number of bins; equal probabilities always share one, so items' order is no matter.

    Raises:
        DataError: probabilities and labels do not fit, or a probability is not one.
    """
    chances, truth = _chances(probabilities, labels)
    if chances.ndim == 2:
        truth, chances = chances.argmax(1) == truth, chances.max(1)
    _, tied, counts = np.unique(chances, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    place = np.minimum((middle * bins / len(chances)).astype(int), bins - 1)[tied]
    gap = np.bincount(place, weights=chances - truth, minlength=bins)
    return float(np.abs(gap).sum() / len(chances))


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean squared error of probabilities.

    Args:
        probabilities: of class 1, axis (item); or axes (item, class), whose squared errors are
            summed over classes.
        labels: axis (item).

    Raises:
        DataError: as for `ece`.
    """
    chances, truth = _chances(probabilities, labels)
    if chances.ndim == 1:
        return float(((chances - truth) ** 2).mean())
    wanted = truth[:, None] == np.arange(chances.shape[1])
    return float(((chances - wanted) ** 2).sum(1).mean())


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Return the chance that a random item of class 1 scores above one of class 0.

    Args:
        scores: axis (item); equal scores count half.
        labels: 0 or 1; axis (item).

    Returns: between 0 and 1, or None where a class has no items.
    """
    values, positive = _binary(scores, labels)
    return ranking.auroc(values, positive) if 0 < positive.sum() < len(values) else None


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, fpr: float) -> float | None:
    """Return the share of class 1 at or above the lowest score that few of class 0 reach.

    Args:
        scores: axis (item).
        labels: 0 or 1; axis (item).
        fpr: the largest allowed share of class 0 at or above the threshold.

    Returns: between 0 and 1, or None where a class has no items, or class 0 fewer than 1 / fpr:
        then no share of it but 0 could be allowed.
    """
    values, positive = _binary(scores, labels)
    negative = np.sort(values[~positive])[::-1]
    if not positive.any() or not len(negative) or len(negative) * fpr < 1 - 1e-9:
        return None
    allowed = int(len(negative) * fpr + 1e-9)
    if allowed >= len(negative):
        return 1.0
    return float((values[positive] > negative[allowed]).mean())


def confusion(predicted: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return how often each class is taken for each; axes (true class, predicted class)."""
    truth, guess = np.asarray(labels).tolist(), np.asarray(predicted).tolist()
    return counted(truth, guess, range(classes)).counts


def balanced_accuracy(predicted: ArrayLike, labels: ArrayLike, classes: int = 2) -> float | None:
    """Return the mean over classes of the share found; None where a class has no items."""
    table = confusion(predicted, labels, classes)
    if not table.sum(1).all():
        return None
    return float((np.diag(table) / table.sum(1)).mean())


def macro_f1(predicted: ArrayLike, labels: ArrayLike, classes: int) -> float | None:
    """Return the mean F1 over the classes that occur, as truth or as prediction.

    Returns: between 0 and 1, or None without items.
    """
    table = confusion(predicted, labels, classes)
    occurs = table.sum(0) + table.sum(1)
    if not occurs.any():
        return None
    f1 = 2 * np.diag(table)[occurs > 0] / occurs[occurs > 0]
    return float(f1.mean())


def _softmax(logits: Floats) -> Floats:
    """Return probabilities; axes (item, class)."""
    grown = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(grown / grown.sum(1, keepdims=True))


def _logits(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Labels]:
    """Return scores as logits with axes (item, class), and the labels."""
    array, truth = _matched(scores, labels, "scores")
    if array.ndim == 1:
        array = np.stack([np.zeros_like(array), array], axis=1)
    _in_range(truth, array.shape[1])
    return array, truth


def _chances(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Labels]:
    """Return probabilities and labels after checking that they are such."""
    array, truth = _matched(probabilities, labels, "probabilities")
    if array.min() < -1e-9 or array.max() > 1 + 1e-9:
        raise DataError(
            f"A probability is {array.min() if array.min() < 0 else array.max():g}.",
            fix="Give probabilities, not scores: `probabilities(scores, temperature)`.",
        )
    _in_range(truth, 2 if array.ndim == 1 else array.shape[1])
    return array, truth


def _binary(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Return scores of two classes, and which items are of class 1."""
    array, truth = _matched(scores, labels, "scores")
    if array.ndim != 1:
        raise DataError("Ranking needs one score per item.", fix="Give the scores of one class.")
    _in_range(truth, 2)
    return array, truth == 1


def _matched(values: ArrayLike, labels: ArrayLike, what: str) -> tuple[Floats, Labels]:
    """Return values and labels of the same items."""
    array, truth = np.asarray(values, np.float64), np.asarray(labels).astype(np.int64)
    if array.ndim not in (1, 2) or len(array) != len(truth) or truth.ndim != 1 or not len(truth):
        raise DataError(
            f"There are {what} of shape {_shape(array)} for {len(truth)} labels.",
            fix="Give one row per label, and at least one.",
        )
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))
    if len(bad):
        raise DataError(
            f"The {what} of item {bad[0]} are not finite.", fix="Leave out what has no score."
        )
    return array, truth


def _in_range(truth: Labels, classes: int) -> None:
    if truth.min() < 0 or truth.max() >= classes:
        raise DataError(
            f"Label {truth.min() if truth.min() < 0 else truth.max()} is not one of {classes} "
            "classes.",
            fix="Number the classes from 0.",
        )


def _shape(array: NDArray[Any]) -> str:
    sizes: Sequence[int] = array.shape
    return " x ".join(map(str, sizes)) or "no axis"
