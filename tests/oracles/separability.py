"""Difference of means, spelled out one coordinate and one prompt at a time."""

from __future__ import annotations

from collections.abc import Sequence


def mean(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean vector of some rows."""
    return [sum(row[j] for row in rows) / len(rows) for j in range(len(rows[0]))]


def nearer_to_harmful(
    harmful: Sequence[Sequence[float]],
    benign: Sequence[Sequence[float]],
    state: Sequence[float],
) -> bool:
    """Return whether a state lies on the harmful side of the plane half way between the means.

    The plane of points equally far from both means is the one the difference of means defines.
    """
    distances = []
    for centre in (mean(harmful), mean(benign)):
        distances.append(sum((a - b) ** 2 for a, b in zip(state, centre, strict=True)))
    return distances[0] < distances[1]
