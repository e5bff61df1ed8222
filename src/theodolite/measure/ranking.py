"""How well scores rank one class above another: AUROC, and the TPR at a given FPR.

Equal scores count half. `Ranked` sorts one score once and then serves any weights of its items, a
whole bootstrap at once; `rank_areas` serves many columns and many labellings of them at once.
Weights count items: weight two is the item twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theodolite.errors import DataError

Floats = NDArray[np.float64]
Weights = NDArray[np.floating]
Rows = NDArray[np.int64]
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Ranked:
    """Scores of two classes, each class sorted apart.

    Args:
        scores: axis (item).
        positive, negative: the items of either class, from the lowest score up.
    """

    scores: Floats
    positive: Rows
    negative: Rows

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> Self:
        """Sort scores.

        Args:
            scores: axis (item).
            labels: 1 for the positive class; axis (item).

        Raises: DataError: a score is not finite.
        """
        values, positive = np.asarray(scores, np.float64), np.asarray(labels) == 1
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DataError(
                f"The score of item {bad[0]} is not finite.", fix="Leave out what has no score."
            )
        order = np.argsort(values, kind="stable")
        return cls(values, order[positive[order]], order[~positive[order]])

    def auroc(self, weights: Weights) -> Floats:
        """Return the chance that a positive item scores above a negative one, ties counted half.

        Args:
            weights: axes (resample, item).

        Returns: axis (resample); NaN where a class has no weight.
        """
        up, down = self.scores[self.positive], self.scores[self.negative]
        first, reached = weights[:, self.positive], _reached(weights[:, self.negative])
        lower, level = (np.searchsorted(down, up, side=side) for side in ("left", "right"))
        below = reached[:, lower]
        if (lower != level).any():
            below = (below + reached[:, level]) / 2
        wins = np.einsum("ij,ij->i", first, below)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(wins / (first.sum(1, dtype=np.float64) * reached[:, -1]))

    def tpr(self, weights: Weights, fpr: float) -> Floats:
        """Return the share of positive items above a threshold that few negative ones reach.

        Args:
            weights: axes (resample, item).
            fpr: the largest share of negative items above it.

        Returns: axis (resample); NaN where the negative items are too few to allow any but none,
            or the positive class has no weight.
        """
        if not len(self.negative):
            return np.full(len(weights), np.nan)
        falling = self.negative[::-1]
        reached, passed = _reached(weights[:, self.positive]), _reached(weights[:, falling])
        total, every = passed[:, -1], reached[:, -1]
        allowed = np.floor(total * fpr + _ROUNDING)
        # The negative item that is one too many sets the threshold; ties with it do not count.
        too_many = np.argmax(passed[:, 1:] > allowed[:, None], axis=1)
        up = self.scores[self.positive]
        first = np.searchsorted(up, self.scores[falling], side="right")[too_many]
        found = every - np.take_along_axis(reached, first[:, None], axis=1)[:, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = found / every
        return np.where((allowed >= 1) & (total > allowed), share, np.nan)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the AUROC of the items as they are; NaN where a class has none.

    Args:
        scores, labels: as for `Ranked.of`.
    """
    ranked = Ranked.of(scores, labels)
    return float(ranked.auroc(np.ones((1, len(ranked.scores))))[0])


def mid_ranks(scores: ArrayLike) -> Floats:
    """Return the rank of each row within its column, from 1; equal scores share their mean rank."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.asarray(scores, np.float64), axis=0))


def weighted_ranks(scores: Floats, weights: Weights) -> Floats:
    """Return the mid-rank of each item where weight two is the item twice, axes (resample, item).

    All ranks are half a place too low, which no correlation sees.

    Args:
        scores: axis (item).
        weights: axes (resample, item).
    """
    order = np.argsort(scores, kind="stable")
    ordered, reached = scores[order], _reached(weights[:, order])
    below, upto = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return np.asarray((reached[:, below] + reached[:, upto]) / 2)


def rank_areas(ranks: Floats, labellings: NDArray[np.bool_]) -> Floats:
    """Return the AUROC of each column under many labellings, axes (labelling, column).

    Args:
        ranks: as `mid_ranks` gives them, axes (row, column).
        labellings: both classes in each, axes (labelling, row).
    """
    positive = labellings.sum(1, keepdims=True).astype(np.float64)
    negative = labellings.shape[1] - positive
    wins = labellings.astype(np.float64) @ ranks - positive * (positive + 1) / 2
    return np.asarray(wins / (positive * negative))


def _reached(weights: Weights) -> Floats:
    """Return the weight of the first 0, 1, ... items; axes (resample, item + 1)."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, dtype=np.float64, out=sums[:, 1:])
    return sums
