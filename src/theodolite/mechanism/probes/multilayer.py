"""A small multi-layer perceptron, trained in float32 by hand-written full-batch Adam steps.

One hidden layer of rectified units on the leading principal components of the training states. At a
few hundred rows a general library spends most of its time outside the matrix products; here a fit
is the products and little else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from theodolite.text.hashing import item_seed

Single = NDArray[np.float32]
HIDDEN = 100
COMPONENTS = 64
STEPS = 100
_PENALTY = 0.01
_RATE = 0.01
_KEEP_MEAN, _KEEP_SQUARE, _TINY = 0.9, 0.999, 1e-8


def multilayer(
    train: Single, test: Single, labels: NDArray[np.int64], classes: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of training and test rows from a perceptron fitted on the training rows.

    Args:
        train, test: inputs; axes (row, component).
        labels: the class of each training row.
        classes: number of classes; two share one output, more have one each.
        seed: of the starting weights.

    Returns: log-odds, axis (row), for two classes; else one logit per class, axes (row, class).
    """
    outputs = 1 if classes == 2 else classes
    wanted = labels[:, None] == (np.arange(classes) if outputs > 1 else np.ones(1))
    weights = _start(train.shape[1], outputs, seed)
    first = [np.zeros_like(weight) for weight in weights]
    second = [np.zeros_like(weight) for weight in weights]
    for step in range(1, STEPS + 1):
        rate = _RATE * np.sqrt(1 - _KEEP_SQUARE**step) / (1 - _KEEP_MEAN**step)
        slopes = _gradient(weights, train, wanted.astype(np.float32))
        for weight, slope, mean, square in zip(weights, slopes, first, second, strict=True):
            mean += (1 - _KEEP_MEAN) * (slope - mean)
            square += (1 - _KEEP_SQUARE) * (slope * slope - square)
            weight -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(_TINY))
    scores = [_forward(weights, rows)[1].astype(np.float64) for rows in (train, test)]
    return (scores[0][:, 0], scores[1][:, 0]) if outputs == 1 else (scores[0], scores[1])


def components(rows: Single, values: Single, cross: NDArray[np.float64]) -> tuple[Single, Single]:
    """Return the leading principal components of training and test rows.

    Args:
        rows: training rows in the eigenbasis of their inner products; axes (row, component).
        values: the eigenvalues, falling; axis (component).
        cross: inner products of test rows with training rows; axes (test row, row).

    Returns: axes (row, component) for both, scaled together to a mean square of 1 over the training
        rows; each component has its largest training entry positive.
    """
    rows, values = rows[:, :COMPONENTS], values[:COMPONENTS]
    signs = np.sign(rows[np.abs(rows).argmax(0), np.arange(len(values))])
    size = np.sqrt((rows**2).sum() / max(rows.size, 1)) or 1.0
    train = rows * (signs / size)
    test = cross.astype(np.float32) @ (rows / values * (signs / size))
    return train.astype(np.float32), test.astype(np.float32)


def _start(inputs: int, outputs: int, seed: int) -> list[Single]:
    """Draw the weights and intercepts of both layers (Glorot)."""
    rng = np.random.default_rng(item_seed(seed, "multilayer"))
    drawn = []
    for fan_in, fan_out in ((inputs, HIDDEN), (HIDDEN, outputs)):
        bound = np.sqrt(6.0 / (fan_in + fan_out))
        drawn.append(rng.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32))
        drawn.append(np.zeros(fan_out, np.float32))
    return drawn


def _forward(weights: list[Single], rows: Single) -> tuple[Single, Single]:
    """Return the hidden units and the outputs; axes (row, unit)."""
    hidden: Single = rows @ weights[0]
    hidden += weights[1]
    np.maximum(hidden, 0, out=hidden)
    outputs: Single = hidden @ weights[2] + weights[3]
    return hidden, outputs


def _gradient(weights: list[Single], rows: Single, wanted: Single) -> list[Single]:
    """Return the gradient of the mean cross-entropy with its penalty, in the weights' order."""
    hidden, outputs = _forward(weights, rows)
    n = np.float32(len(rows))
    error = (_chances(outputs) - wanted) / n
    penalty = np.float32(_PENALTY) / n
    back = error @ weights[2].T
    back *= hidden > 0
    return [
        rows.T @ back + penalty * weights[0],
        back.sum(0),
        hidden.T @ error + penalty * weights[2],
        error.sum(0),
    ]


def _chances(outputs: Single) -> Single:
    """Return the probability of class 1 (one output) or of each class (several)."""
    if outputs.shape[1] == 1:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * outputs)), np.float32)
    shifted = np.exp(outputs - outputs.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True), np.float32)
