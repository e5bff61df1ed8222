"""The obvious way to probe: for every place and split, the nearest of two standardised means."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev


def nearest_mean(
    train: Sequence[Sequence[float]], labels: Sequence[int], tests: Sequence[Sequence[float]]
) -> list[int]:
    """Return the class whose mean is nearer, in coordinates standardised on the training rows."""
    width = len(train[0])
    centre = [fmean(row[c] for row in train) for c in range(width)]
    spread = [pstdev(row[c] for row in train) for c in range(width)]

    def scaled(row: Sequence[float]) -> list[float]:
        return [(row[c] - centre[c]) / spread[c] if spread[c] else 0.0 for c in range(width)]

    means = []
    for label in (0, 1):
        own = [scaled(row) for row, each in zip(train, labels, strict=True) if each == label]
        means.append([fmean(row[c] for row in own) for c in range(width)])
    found = []
    for row in tests:
        point = scaled(row)
        far = [sum((a - b) ** 2 for a, b in zip(point, mean, strict=True)) for mean in means]
        found.append(int(far[1] < far[0]))
    return found
