"""The best of k samples, by looking at every subset."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean


def expected_maximum(values: Sequence[float], k: int) -> float:
    """Average the maximum over every subset of size k."""
    return fmean(max(subset) for subset in combinations(values, k))


def chance_of_any(n: int, hits: int, k: int) -> float:
    """Count the subsets of size k that hold one of the first `hits` samples."""
    subsets = list(combinations(range(n), k))
    return sum(any(place < hits for place in subset) for subset in subsets) / len(subsets)
