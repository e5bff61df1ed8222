"""Slow, obvious before/after figures: plain counting over (style, goal) cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

Cells = Mapping[str, Sequence[int]]
"""style -> 1 where the request of a goal was refused, else 0."""


def rate(cells: Cells, style: str) -> float:
    """Return the share refused."""
    return sum(cells[style]) / len(cells[style])


def change(before: Cells, after: Cells, styles: Sequence[str]) -> float:
    """Return the mean of after less before over all cells of some styles."""
    moved = [a - b for s in styles for a, b in zip(after[s], before[s], strict=True)]
    return sum(moved) / len(moved)


def sign_flip_p(before: Cells, after: Cells, style: str) -> float:
    """Return the share of all sign patterns whose total is as far from 0 as the real one."""
    moved = [a - b for a, b in zip(after[style], before[style], strict=True) if a != b]
    reached = abs(sum(moved))
    patterns = list(product((-1, 1), repeat=len(moved)))
    hits = sum(abs(sum(s * m for s, m in zip(p, moved))) >= reached for p in patterns)
    return hits / len(patterns)


def mid_p(before: Cells, after: Cells, style: str) -> float:
    """Return McNemar's two-sided mid-p value by adding up binomial terms."""
    from math import comb

    ups = sum(a > b for a, b in zip(after[style], before[style], strict=True))
    downs = sum(a < b for a, b in zip(after[style], before[style], strict=True))
    n, low = ups + downs, min(ups, downs)
    if n == 0:
        return 1.0
    terms = [comb(n, k) / 2**n for k in range(n + 1)]
    return min(1.0, 2 * sum(terms[: low + 1]) - terms[low])


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted one by one, the smallest first."""
    left, adjusted, highest = len(p_values), {}, 0.0
    for name in sorted(p_values, key=lambda name: p_values[name]):
        highest = max(highest, min(1.0, p_values[name] * left))
        adjusted[name] = highest
        left -= 1
    return adjusted
