"""Slow, obvious versions of intervals, tests and resampling: loops over items and resamples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from theodolite.text.hashing import item_seed


def wilson_by_bisection(successes: int, n: int, z: float) -> tuple[float, float]:
    """Solve |p - share| = z sqrt(p (1 - p) / n) for p on both sides of the share."""
    share = successes / n

    def outside(p: float) -> bool:
        return abs(p - share) > z * math.sqrt(p * (1 - p) / n)

    def edge(inner: float, outer: float) -> float:
        if not outside(outer):
            return outer
        for _ in range(200):
            middle = (inner + outer) / 2
            inner, outer = (inner, middle) if outside(middle) else (middle, outer)
        return inner

    return edge(share, 0.0), edge(share, 1.0)


def groups_of(items: Sequence[Hashable]) -> list[list[int]]:
    """Return the places of the items of each group, groups in order of appearance."""
    places: dict[Hashable, list[int]] = {}
    for place, group in enumerate(items):
        places.setdefault(group, []).append(place)
    return list(places.values())


def jackknife_variance(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Leave out each cluster, take the mean of the rest, and add up the squared changes."""
    groups, total = groups_of(clusters), 0.0
    whole = sum(values) / len(values)
    for group in groups:
        rest = [value for place, value in enumerate(values) if place not in group]
        total += (sum(rest) / len(rest) - whole) ** 2
    return (len(groups) - 1) / len(groups) * total


def bootstrap_draws(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    statistic: Callable[[list[float]], float],
    *,
    seed: int,
    resamples: int,
) -> list[float]:
    """Draw whole clusters, list all their items, and compute the statistic of the list."""
    groups = groups_of(clusters)
    rng = np.random.default_rng(item_seed(seed, "cluster bootstrap"))
    draws = []
    for chosen in rng.integers(0, len(groups), (resamples, len(groups))):
        draws.append(statistic([values[place] for group in chosen for place in groups[group]]))
    return draws


def mcnemar_exact(only_first: int, only_second: int) -> tuple[float, float]:
    """Return the exact and the mid-p value by adding up binomial probabilities."""
    n = only_first + only_second
    if n == 0:
        return 1.0, 1.0
    chances = [math.comb(n, k) / 2**n for k in range(n + 1)]
    fewer = min(only_first, only_second)
    tail = sum(chances[: fewer + 1])
    return min(1.0, 2 * tail), min(1.0, 2 * tail - chances[fewer])


def sign_flip_p(differences: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Swap the sides of whole clusters in every possible way."""
    groups = groups_of(clusters)
    sums = [sum(differences[place] for place in group) for group in groups]
    observed = abs(sum(sums))
    reached = [
        abs(sum(sign * value for sign, value in zip(signs, sums))) >= observed - 1e-12
        for signs in itertools.product((-1, 1), repeat=len(sums))
    ]
    return sum(reached) / len(reached)
