"""What the scores of many directions say of two classes: every column of a table at once.

Scores have axes (row, column), one column per direction; labels have axis (row). A figure that a
column or the rows do not define is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.errors import DataError
from theodolite.measure.bootstrap import expanded_tail, resample_weights
from theodolite.measure.closed_form import Clusters
from theodolite.measure.ranking import Ranked, mid_ranks, rank_areas

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]
FPR = 0.01
_STEPS, _HALVINGS = 50, 30


def areas(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the AUROC of each column; equal scores count half, so a constant one has 0.5."""
    x, y = _matched(scores, labels)
    return np.asarray(rank_areas(mid_ranks(x), y[None])[0])


def average_precisions(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the area under precision and recall of each column, in steps at distinct scores."""
    x, y = _matched(scores, labels)
    order = np.argsort(-x, axis=0, kind="stable")
    ranked, positive = np.take_along_axis(x, order, 0), y[order]
    found = np.cumsum(positive, 0)
    # Rows of one score enter together: all of them have the precision at the last of them.
    last = _last_of_equals(ranked)
    precision = np.take_along_axis(found, last, 0) / (last + 1)
    return np.asarray((precision * positive).sum(0) / y.sum())


def rates_at(scores: ArrayLike, labels: ArrayLike, fpr: float = FPR) -> Floats:
    """Return the share of positives above what all but a share `fpr` of negatives stay below.

    NaN where there are fewer than 1 / fpr negatives: no share of them but 0 could be allowed.
    """
    x, y = _matched(scores, labels)
    negative = np.sort(x[~y], axis=0)[::-1]
    if len(negative) * fpr < 1 - 1e-9:
        return np.full(x.shape[1], np.nan)
    return np.asarray((x[y] > negative[int(len(negative) * fpr + 1e-9)]).mean(0))


def correlations(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return Pearson's r of each column with the labels; NaN for a constant column."""
    x, y = _matched(scores, labels)
    centred, target = x - x.mean(0), y - y.mean()
    lengths = np.linalg.norm(centred, axis=0) * np.linalg.norm(target)
    still = np.ptp(x, axis=0) <= 1e-12 * np.abs(x).max(0)
    return np.where(still, np.nan, target @ centred / np.where(still, 1.0, lengths))


def best_thresholds(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the threshold of best balanced accuracy per column: half way between two scores.

    Of equally good ones the middle one is taken.
    """
    x, y = _matched(scores, labels)
    order = np.argsort(x, axis=0, kind="stable")
    ranked, positive = np.take_along_axis(x, order, 0), y[order]
    # A cut after row i calls everything above it positive; cuts within equal scores are none.
    below = np.cumsum(positive, 0)
    right = (y.sum() - below) / y.sum() + (np.cumsum(~positive, 0)) / (~y).sum()
    after = np.vstack([ranked[1:], ranked[-1:] + 1.0])
    right[ranked == after] = -1.0
    best = right >= right.max(0) - 1e-12
    middle = (np.cumsum(best, 0) >= (best.sum(0) + 1) // 2).argmax(0)[None]
    low, high = np.take_along_axis(ranked, middle, 0)[0], np.take_along_axis(after, middle, 0)[0]
    return np.asarray((low + high) / 2)


def base_rate_thresholds(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the threshold that calls as many rows positive as there are, per column.

    Source: the paper's code: the percentile of the scores at one minus the positives' share.
    """
    x, y = _matched(scores, labels)
    return np.asarray(np.quantile(x, 1 - y.mean(), axis=0))


def accuracies(scores: ArrayLike, labels: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Return the share of rows on their side of each column's threshold."""
    x, y = _matched(scores, labels)
    return np.asarray(((x > np.asarray(thresholds)) == y[:, None]).mean(0))


def balanced_accuracies(scores: ArrayLike, labels: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Return the mean over both classes of the share on its side of each column's threshold."""
    x, y = _matched(scores, labels)
    above = x > np.asarray(thresholds)
    return np.asarray((above[y].mean(0) + (~above[~y]).mean(0)) / 2)


def margins(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the paper's "log-likelihood" per column: a margin that grows with the states' size."""
    x, y = _matched(scores, labels)
    return np.asarray((2.0 * y - 1) @ (x - x.mean(0)) / len(y))


def calibrated_losses(
    train_scores: ArrayLike, train_labels: ArrayLike, scores: ArrayLike, labels: ArrayLike
) -> Floats:
    """Return the mean log-loss of each column after a logistic fit of its training scores, nats.

    Note: targets are those of Platt 1999, which are never quite sure; slope and intercept are found
        by damped Newton steps, all columns together.
    """
    x, y = _matched(train_scores, train_labels)
    other, truth = _matched(scores, labels)
    centre, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    counts = np.array([(~y).sum(), y.sum()], np.float64)
    target = np.where(y, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))[:, None]
    slope, offset = _logistic((x - centre) / scale, target)
    logits = (other - centre) / scale * slope + offset
    return np.asarray(np.logaddexp(0, np.where(truth[:, None], -logits, logits)).mean(0))


def area_intervals(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: Sequence[str],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 1000,
) -> tuple[Floats, Floats]:
    """Return the ends of the AUROC's interval per column: expanded percentile, whole goals drawn.

    Returns: NaN for fewer than two clusters.
    """
    x, y = _matched(scores, labels)
    groups = Clusters.of(clusters, len(y))
    if len(groups) < 2:
        missing = np.full(x.shape[1], np.nan)
        return missing, missing.copy()
    chunks = resample_weights(groups, seed=seed, resamples=resamples)
    weights = np.concatenate([chunk.astype(np.float32) for chunk in chunks])
    draws = np.stack([Ranked.of(column, y).auroc(weights) for column in x.T], axis=1)
    tail = expanded_tail(groups, level)
    low, high = np.nanquantile(draws, (tail, 1 - tail), axis=0)
    return np.asarray(low), np.asarray(high)


def _logistic(x: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Return slope and offset of the logistic fit of each column; axis (column)."""
    slope, offset = np.zeros(x.shape[1]), np.full(x.shape[1], _logit(float(target.mean())))

    def loss(slope: Floats, offset: Floats) -> Floats:
        logits = x * slope + offset
        return np.asarray((np.logaddexp(0, logits) - target * logits).sum(0))

    now = loss(slope, offset)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-(x * slope + offset)))
        off, weight = chance - target, np.maximum(chance * (1 - chance), 1e-12)
        a, b, c = (x * x * weight).sum(0) + 1e-9, (x * weight).sum(0), weight.sum(0)
        u, v = (x * off).sum(0), off.sum(0)
        ground = np.maximum(a * c - b * b, 1e-300)
        step = np.stack([(c * u - b * v) / ground, (a * v - b * u) / ground])
        for _half in range(_HALVINGS):
            new = loss(slope - step[0], offset - step[1])
            worse = new > now + 1e-12
            if not worse.any():
                break
            step[:, worse] /= 2
        slope, offset = slope - step[0], offset - step[1]
        if float((now - new).max()) < 1e-10:
            break
        now = new
    return slope, offset


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _last_of_equals(ranked: Floats) -> NDArray[np.int64]:
    """Return for each row of sorted columns the last row with its score."""
    size = len(ranked)
    ends = np.vstack([ranked[:-1] != ranked[1:], np.ones((1, ranked.shape[1]), bool)])
    places = np.where(ends, np.arange(size)[:, None], size)
    return np.asarray(np.minimum.accumulate(places[::-1], 0)[::-1])


def _matched(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Truth]:
    """Return scores with axes (row, column) and labels, both classes present."""
    x, y = np.asarray(scores, np.float64), np.asarray(labels).astype(bool)
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or len(x) != len(y) or y.ndim != 1:
        raise DataError(
            f"There are scores for {len(x)} rows, but {len(y)} labels.",
            fix="Give one label per row.",
        )
    if y.all() or not y.any():
        raise DataError("All labels are equal, and two classes are told apart.", fix="Give both.")
    return x, y
