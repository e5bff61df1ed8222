"""Difference of means and linear discriminant analysis, from inner products of the training rows.

Both rules are sums of training rows: a dual vector per class, so that the score of a state is its
inner products with the training rows times the dual, plus an intercept. The largest score wins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
# Squared distance between class means, beside that of all rows, that is rounding: it is a
# difference of inner products, which hold 16 digits.
_SAME_PLACE = 1e-14


def difference_of_means(gram: Floats, labels: Labels, classes: int) -> tuple[Floats, Floats]:
    """Return the rule of the nearest class mean.

    Args:
        gram: inner products of the training rows; axes (row, row).
        labels: class of each row, all present; axis (row).
        classes: number of classes.

    Returns: dual, axes (row, class), and intercept, axis (class), in units of the variance within
        classes along the way between the means: log-odds where that variance is normal.
    """
    means = _shares(labels, classes)
    heights = (gram @ means * means).sum(0)
    away = means - means.mean(1, keepdims=True)
    projected = gram @ away
    squares = (projected * away).sum(0)
    within = projected - (means.T @ projected)[labels]
    apart = squares > _SAME_PLACE * float(np.trace(gram))
    spread = float(((within**2).mean(0) / np.where(apart, squares, 1.0)).mean())
    scale = 1 / spread if apart.all() and spread > 0 else 1.0
    return means * scale, -0.5 * heights * scale


def lda(gram: Floats, width: int, labels: Labels, classes: int) -> tuple[Floats, Floats]:
    """Return the rule of equal normal classes with a shrunken common covariance.

    Source: Ledoit and Wolf 2004 for the shrinkage to a multiple of the identity.

    Args:
        gram, labels, classes: as for `difference_of_means`.
        width: number of coordinates of the rows.

    Returns: dual, axes (row, class), and intercept, axis (class): log-odds, with the classes'
        shares as prior. The rule of the nearest mean where the classes do not vary within.

    Note: shrinkage and inverse need only inner products: with rows Z centred by class,
        `(c Z'Z + r I)^-1 = (I - Z' (c Z Z' + r I)^-1 c Z) / r`.
    """
    n = len(gram)
    means = _shares(labels, classes)

    def centred(rows: Floats) -> Floats:
        return np.asarray(rows - (means.T @ rows)[labels])

    inner = centred(centred(gram).T)
    shrinkage, variance = ledoit_wolf(inner, width)
    ridge, kept = shrinkage * variance, (1 - shrinkage) / n
    if ridge <= 1e-12 * variance or variance == 0:
        return difference_of_means(gram, labels, classes)
    system = kept * inner
    system.flat[:: n + 1] += ridge
    solved = np.linalg.solve(system, centred(gram @ means))
    member = labels[:, None] == np.arange(classes)
    back = solved - means @ (member.T.astype(np.float64) @ solved)
    dual = (means - kept * back) / ridge
    heights = (gram @ dual * means).sum(0)
    return dual, np.log(member.mean(0)) - 0.5 * heights


def ledoit_wolf(gram: Floats, width: int) -> tuple[float, float]:
    """Return the shrinkage of centred rows' covariance, and their mean variance.

    Args:
        gram: inner products of the centred rows; axes (row, row).
        width: number of coordinates.

    Note: the published sums run over pairs of coordinates; these are the same sums over pairs of
        rows.
    """
    n = len(gram)
    variance = float(np.trace(gram)) / (n * width)
    squares = float((gram**2).sum()) / n**2
    noise = (float((np.diag(gram) ** 2).sum()) / n - squares) / (n * width)
    distance = squares / width - variance**2
    return (min(noise, distance) / distance if distance > 0 else 0.0), variance


def _shares(labels: Labels, classes: int) -> Floats:
    """Return the weights that make class means of rows; axes (row, class)."""
    member = labels[:, None] == np.arange(classes)
    return np.asarray(member / member.sum(0), np.float64)
