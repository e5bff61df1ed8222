"""Slow, obvious versions of agreement: pairs of ratings, one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def kappa(first: Sequence[Any], second: Sequence[Any]) -> float:
    """Agreement seen, less the agreement of every first label with every second label."""
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second)) / n
    chance = sum(a == b for a in first for b in second) / n**2
    return (seen - chance) / (1 - chance)


def alpha(ratings: Sequence[Sequence[Any]], metric: str) -> float:
    """One less the mean distance within items over the mean distance between all ratings."""
    items = [[v for v in column if v is not None] for column in zip(*ratings)]
    items = [item for item in items if len(item) > 1]
    everything = [value for item in items for value in item]
    n = len(everything)
    apart = _distance(metric, everything)
    observed = 0.0
    for item in items:
        pairs = [apart(a, b) for i, a in enumerate(item) for j, b in enumerate(item) if i != j]
        observed += sum(pairs) / (len(item) - 1)
    expected = sum(
        apart(a, b) for i, a in enumerate(everything) for j, b in enumerate(everything) if i != j
    )
    return 1 - (observed / n) / (expected / (n * (n - 1)))


def _distance(metric: str, everything: Sequence[Any]) -> Callable[[Any, Any], float]:
    def ordinal(a: Any, b: Any) -> float:
        low, high = min(a, b), max(a, b)
        between = sum(low <= value <= high for value in everything)
        return (between - (everything.count(a) + everything.count(b)) / 2) ** 2 if a != b else 0.0

    return {
        "nominal": lambda a, b: float(a != b),
        "ordinal": ordinal,
        "interval": lambda a, b: float(a - b) ** 2,
        "ratio": lambda a, b: ((a - b) / (a + b)) ** 2 if a + b else 0.0,
    }[metric]
