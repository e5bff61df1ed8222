"""Slow, obvious versions of rank correlations: pairs counted one by one, and residuals."""

from __future__ import annotations

from collections.abc import Sequence

from tests.oracles.head_overlap import spearman


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float:
    """Return (concordant - discordant) / sqrt((pairs untied in x) (pairs untied in y))."""
    agree = untied_x = untied_y = 0
    for i in range(len(first)):
        for j in range(i):
            x = (first[i] > first[j]) - (first[i] < first[j])
            y = (second[i] > second[j]) - (second[i] < second[j])
            agree += x * y
            untied_x += abs(x)
            untied_y += abs(y)
    return agree / float(untied_x * untied_y) ** 0.5


def partial_spearman(
    first: Sequence[float], second: Sequence[float], given: Sequence[float]
) -> float:
    """Return Pearson's correlation of what is left of two rankings after a line through the third.

    Args:
        given: the third side; not all alike.
    """
    x, y, z = (_ranks(side) for side in (first, second, given))
    left = [_residuals(side, z) for side in (x, y)]
    top = sum(a * b for a, b in zip(*left))
    return top / (sum(a * a for a in left[0]) * sum(b * b for b in left[1])) ** 0.5


def _ranks(side: Sequence[float]) -> list[float]:
    return [sum(b < a for b in side) + (sum(b == a for b in side) + 1) / 2 for a in side]


def _residuals(side: Sequence[float], given: Sequence[float]) -> list[float]:
    mean, centre = sum(side) / len(side), sum(given) / len(given)
    slope = sum((a - mean) * (z - centre) for a, z in zip(side, given))
    slope /= sum((z - centre) ** 2 for z in given)
    return [a - mean - slope * (z - centre) for a, z in zip(side, given)]


__all__ = ["kendall_tau_b", "partial_spearman", "spearman"]
