"""The slow, obvious way to the spread over wordings and over perspectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Gains = Mapping[str, Sequence[Sequence[float]]]


def variance_components(gains: Gains) -> tuple[float, float]:
    """Return the variance over wordings of a perspective, and over perspectives of a question.

    Args:
        gains: question -> perspectives -> the gain of each wording.

    The analysis of variance is written out with one indicator column per perspective: what the
    perspectives' own means leave over is the first variance; what the questions' means leave over
    beyond that is, in expectation, the first variance once per degree of freedom and the second one
    times a size that unequal groups make smaller.
    """
    inside = inside_free = across = across_free = size = 0.0
    for perspectives in gains.values():
        everything = [g for own in perspectives for g in own]
        whole = math.fsum(everything) / len(everything)
        for own in perspectives:
            centre = math.fsum(own) / len(own)
            inside += math.fsum((g - centre) ** 2 for g in own)
            inside_free += len(own) - 1
            across += len(own) * (centre - whole) ** 2
            size += len(own) - len(own) ** 2 / len(everything)
        across_free += len(perspectives) - 1
    within = inside / inside_free
    # E[across] = size * between + across_free * within
    return within, (across - across_free * within) / size
