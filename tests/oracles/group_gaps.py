"""Gaps between groups by loops: step functions walked along, pairs visited one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean


def wasserstein(first: Sequence[float], second: Sequence[float]) -> float:
    """Integrate the distance of the two step functions between neighbouring points."""
    points = sorted({*first, *second})
    total = 0.0
    for left, right in pairwise(points):
        below = [sum(v <= left for v in side) / len(side) for side in (first, second)]
        total += abs(below[0] - below[1]) * (right - left)
    return total


def spread_of_means(groups: Mapping[str, Sequence[float]]) -> float:
    """Take the standard deviation of the group means, divided by their number."""
    means = [fmean(values) for values in groups.values()]
    return math.sqrt(fmean((mean - fmean(means)) ** 2 for mean in means))


def range_of_means(groups: Mapping[str, Sequence[float]]) -> float:
    """Take the highest group mean minus the lowest."""
    means = [fmean(values) for values in groups.values()]
    return max(means) - min(means)


def mean_wasserstein(groups: Mapping[str, Sequence[float]]) -> float:
    """Average the distance of each group to all values pooled."""
    pooled = [value for values in groups.values() for value in values]
    return fmean(wasserstein(values, pooled) for values in groups.values())


def ordered_pairs(groups: Mapping[str, Sequence[Sequence[float]]], order: int) -> list[float]:
    """List the distance of mean vectors of every ordered pair, each group with itself too."""
    means = [[fmean(entry) for entry in zip(*vectors)] for vectors in groups.values()]
    return [
        sum(abs(x - y) ** order for x, y in zip(a, b)) ** (1 / order) for a in means for b in means
    ]
