"""Overlap of rankings the slow way: infinite sums cut late, and every choice counted."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any


def rank_biased_overlap(first: Sequence[Any], second: Sequence[Any], p: float) -> float:
    """Return the sum of (1 - p) p^(d - 1) agreement(d) to depth 3000, continued below the ends.

    Below the shorter list's end each further rank of the longer one is taken to be shared as often
    as the shorter one's were; below both ends agreement stays.
    """
    short, long = sorted((list(first), list(second)), key=len)
    rate = len(set(short) & set(long[: len(short)])) / len(short)
    total, agreement = 0.0, 0.0
    for depth in range(1, 3001):
        if depth <= len(long):
            seen = len(set(short[:depth]) & set(long[:depth]))
            agreement = (seen + rate * max(0, depth - len(short))) / depth
        total += (1 - p) * p ** (depth - 1) * agreement
    return total


def shared_by_chance(first: int, second: int, n: int) -> list[Fraction]:
    """Return the chance of each number of shared items, by trying every second choice."""
    counts = [0] * (min(first, second) + 1)
    for chosen in combinations(range(n), second):
        counts[sum(item < first for item in chosen)] += 1
    return [Fraction(count, sum(counts)) for count in counts]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Pearson's correlation of mid-ranks that are counted pair by pair."""
    ranks = [
        [sum(b < a for b in side) + (sum(b == a for b in side) + 1) / 2 for a in side]
        for side in (first, second)
    ]
    mean = (len(first) + 1) / 2
    x, y = ([rank - mean for rank in side] for side in ranks)
    scale = sum(a * a for a in x) * sum(b * b for b in y)
    return float(sum(a * b for a, b in zip(x, y)) / scale**0.5)
