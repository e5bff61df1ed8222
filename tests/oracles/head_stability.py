"""Rank stability the slow way: prompts are drawn one by one, heads ranked in plain lists."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def top(scores: Sequence[float], k: int) -> list[int]:
    """Return the heads of the k highest scores; ties go to the earlier head."""
    return sorted(range(len(scores)), key=lambda head: (-scores[head], head))[:k]


def frequency(rows: Sequence[Sequence[float]], k: int) -> list[float]:
    """Return in what share of the rows each head is among the top k."""
    return [sum(head in top(row, k) for row in rows) / len(rows) for head in range(len(rows[0]))]


def resampled_means(rows: Sequence[Sequence[float]], draws: int, seed: int) -> list[list[float]]:
    """Return the heads' means over prompts drawn with replacement, by a generator of its own."""
    rng = np.random.default_rng(seed)
    picked = [[rows[i] for i in rng.integers(0, len(rows), len(rows))] for _ in range(draws)]
    return [[float(np.mean(column)) for column in zip(*some)] for some in picked]


def gini(values: Sequence[int]) -> Fraction:
    """Return half the mean absolute difference of all pairs, by the mean."""
    n, total = len(values), sum(values)
    return Fraction(sum(abs(a - b) for a in values for b in values), 2 * n * total)
