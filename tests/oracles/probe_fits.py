"""The probes' fits, spelled out in the states' own coordinates, one prompt and fit at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def standardised(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Return both in units of the training rows' spread; what does not move there is 0."""
    made = [np.zeros_like(train), np.zeros_like(test)]
    for j in range(train.shape[1]):
        mean, spread = train[:, j].mean(), train[:, j].std()
        if spread > 1e-6 * abs(mean):
            for rows, out in zip((train, test), made, strict=True):
                out[:, j] = (rows[:, j] - mean) / spread
    return made[0], made[1]


def logistic_slope(x: Floats, labels: Labels, strength: float, w: Floats, b: float) -> Floats:
    """Return the gradient of the logistic objective in weights and intercept, row by row."""
    slope = np.append(w, 0.0)
    for row, label in zip(x, labels, strict=True):
        chance = 1 / (1 + np.exp(-(row @ w + b)))
        slope += strength * (chance - label) * np.append(row, 1.0)
    return slope


def nearest_mean(x: Floats, labels: Labels, tests: Floats, classes: int) -> Labels:
    """Return the class whose mean is nearest."""
    means = [x[labels == k].mean(0) for k in range(classes)]
    return np.array([np.argmin([((t - m) ** 2).sum() for m in means]) for t in tests])


def shrunken_covariance(x: Floats, labels: Labels, classes: int) -> Floats:
    """Return the covariance within classes, shrunken as Ledoit and Wolf 2004 define it."""
    centred = np.concatenate([x[labels == k] - x[labels == k].mean(0) for k in range(classes)])
    n, width = centred.shape
    sample = sum(np.outer(row, row) for row in centred) / n
    size = np.trace(sample) / width

    def square(matrix: Floats) -> float:
        return float((matrix**2).sum()) / width

    distance = square(sample - size * np.eye(width))
    noise = sum(square(np.outer(row, row) - sample) for row in centred) / n**2
    share = min(noise, distance) / distance
    return np.asarray(share * size * np.eye(width) + (1 - share) * sample)


def lda_scores(x: Floats, labels: Labels, tests: Floats, classes: int) -> Floats:
    """Return the log of density times share for each class; axes (row, class)."""
    inverse = np.linalg.inv(shrunken_covariance(x, labels, classes))
    columns = []
    for k in range(classes):
        away = tests - x[labels == k].mean(0)
        density = -0.5 * np.einsum("ni,ij,nj->n", away, inverse, away)
        columns.append(density + np.log((labels == k).mean()))
    return np.stack(columns, axis=1)


def ridge_left_out(x: Floats, y: Floats, penalty: float) -> list[float]:
    """Return the score of each row from a ridge fit, free intercept, on all the other rows."""
    scores = []
    for i in range(len(x)):
        rows, wanted = np.delete(x, i, 0), np.delete(y, i)
        design = np.column_stack([rows, np.ones(len(rows))])
        cost = penalty * np.eye(design.shape[1])
        cost[-1, -1] = 0.0
        solved = np.linalg.solve(design.T @ design + cost, design.T @ wanted)
        scores.append(float(x[i] @ solved[:-1] + solved[-1]))
    return scores


def ranked_best(
    held_out: Sequence[Sequence[float]], labels: Sequence[int], strengths: Sequence[float]
) -> float:
    """Return the strength of most right held-out rows, then least log-loss, then the smallest.

    Args:
        held_out: scores, axes (strength, row); above 0 means class 1.
    """

    def rank(index: int) -> tuple[float, float, float]:
        scores = held_out[index]
        right = sum((s > 0) == (y == 1) for s, y in zip(scores, labels, strict=True))
        signed = [s if y == 1 else -s for s, y in zip(scores, labels, strict=True)]
        return (-right, round(float(np.mean(np.log1p(np.exp(-np.array(signed))))), 6), index)

    return strengths[min(range(len(strengths)), key=rank)]
