"""The slow, obvious way to the shift along the direction of toxic text, and to its bands."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]


def centre(rows: Sequence[Vector]) -> list[float]:
    """Return the mean of vectors, one coordinate at a time."""
    return [math.fsum(row[i] for row in rows) / len(rows) for i in range(len(rows[0]))]


def dot(one: Vector, other: Vector) -> float:
    """Return the inner product."""
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def shift(toxic: Sequence[Vector], other: Sequence[Vector], before: Vector, after: Vector) -> float:
    """Return how far a state moves from the mean of other texts to that of toxic ones.

    1 is all the way: the move along the line between both means, by the length of that line.
    """
    up, down = centre(toxic), centre(other)
    line = [a - b for a, b in zip(up, down, strict=True)]
    moved = [a - b for a, b in zip(after, before, strict=True)]
    return dot(moved, line) / dot(line, line)


def reach(
    moved: Sequence[Vector], directions: Sequence[Vector], gap: float, share: float = 0.95
) -> float:
    """Return what a share of directions stay below, of the mean move along them, in gaps.

    The value between two directions is taken on the straight line between theirs.
    """
    mean = centre(moved)
    found = sorted(abs(dot(mean, one)) / math.sqrt(dot(one, one)) / gap for one in directions)
    place = share * (len(found) - 1)
    below = int(place)
    above = min(below + 1, len(found) - 1)
    return found[below] + (place - below) * (found[above] - found[below])
