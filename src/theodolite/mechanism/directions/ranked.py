"""Ranking figures of scores under item weights: AUROC and TPR at a given FPR, a whole bootstrap
at once.

Scores are sorted once; a resample then costs two cumulative sums. Weights count items, so that
weight two is the item twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Ranked:
    """Scores of two classes in falling order, items of one score together.

    Args:
        order: the items from the highest score down.
        starts: where each group of equal scores begins.
        positive: which items, in that order, are of the positive class.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> Self:
        """Sort scores.

        Args:
            scores: axis (item).
            labels: 1 for the positive class; axis (item).
        """
        values, positive = np.asarray(scores, np.float64), np.asarray(labels) == 1
        order = np.argsort(-values, kind="stable")
        falling = values[order]
        starts = np.flatnonzero(np.r_[True, falling[1:] != falling[:-1]])
        return cls(order, starts, positive[order])

    def auroc(self, weights: Floats) -> Floats:
        """Return the chance that a positive item scores above a negative one, ties counted half.

        Args:
            weights: axes (resample, item).

        Returns: axis (resample); NaN where a class has no weight.
        """
        first, second = self._grouped(weights)
        below = second.sum(1, keepdims=True) - np.cumsum(second, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            wins = (first * (below + second / 2)).sum(1)
            return np.asarray(wins / (first.sum(1) * second.sum(1)))

    def tpr(self, weights: Floats, fpr: float) -> Floats:
        """Return the share of positive items above a threshold that few negative ones reach.

        Args:
            weights: axes (resample, item).
            fpr: the largest share of negative items above it.

        Returns: axis (resample); NaN where the negative items are too few to allow any but none,
            or the positive class has no weight.
        """
        first, second = self._grouped(weights)
        total = second.sum(1, keepdims=True)
        allowed = np.floor(total * fpr + _ROUNDING)
        # The negative item that is one too many sets the threshold; ties with it do not count.
        too_many = np.argmax(np.cumsum(second, axis=1) > allowed, axis=1)
        above = np.cumsum(first, axis=1) - first
        found = np.take_along_axis(above, too_many[:, None], axis=1)[:, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = found / first.sum(1)
        usable = (allowed[:, 0] >= 1) & (total[:, 0] > allowed[:, 0])
        return np.where(usable, share, np.nan)

    def _grouped(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the weight of positive and negative items per score; axes (resample, score)."""
        ordered = np.asarray(weights, np.float64)[:, self.order]
        first = np.add.reduceat(ordered * self.positive, self.starts, axis=1)
        second = np.add.reduceat(ordered * ~self.positive, self.starts, axis=1)
        return first, second
