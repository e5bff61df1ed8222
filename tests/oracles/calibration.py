"""What calibration and ranking figures mean, counted item by item."""

from __future__ import annotations

import math
from collections.abc import Sequence


def auroc(scores: Sequence[float], labels: Sequence[int]) -> float | None:
    """Return the share of pairs (class 1, class 0) in the right order; ties count half."""
    wins = [
        (a > b) + 0.5 * (a == b)
        for a, x in zip(scores, labels, strict=True)
        for b, y in zip(scores, labels, strict=True)
        if x == 1 and y == 0
    ]
    return sum(wins) / len(wins) if wins else None


def tpr_at_fpr(scores: Sequence[float], labels: Sequence[int], fpr: float) -> float | None:
    """Return the best rate over all thresholds that keep class 0 within `fpr`."""
    positive = [s for s, y in zip(scores, labels, strict=True) if y == 1]
    negative = [s for s, y in zip(scores, labels, strict=True) if y == 0]
    if not positive or not negative or len(negative) < 1 / fpr - 1e-9:
        return None
    rates = [0.0]
    for threshold in scores:
        if sum(s >= threshold for s in negative) / len(negative) <= fpr + 1e-12:
            rates.append(sum(s >= threshold for s in positive) / len(positive))
    return max(rates)


def ece(chances: Sequence[float], labels: Sequence[int], bins: int) -> float:
    """Return the calibration error; chances differ and fill the bins evenly."""
    ordered = sorted(zip(chances, labels, strict=True))
    size = len(ordered) // bins
    total = 0.0
    for begin in range(0, len(ordered), size):
        members = ordered[begin : begin + size]
        confidence = sum(p for p, _ in members) / size
        share = sum(y for _, y in members) / size
        total += size / len(ordered) * abs(confidence - share)
    return total


def log_loss(scores: Sequence[float], labels: Sequence[int], temperature: float) -> float:
    """Return the mean log-loss of sigmoid(score / temperature)."""
    signed = [(s if y else -s) / temperature for s, y in zip(scores, labels, strict=True)]
    return sum(math.log1p(math.exp(-m)) if m > -30 else -m for m in signed) / len(signed)


def macro_f1(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Return the mean F1 over classes that occur in either."""
    scores = []
    pairs = list(zip(predicted, labels, strict=True))
    for k in sorted({*predicted, *labels}):
        hits = sum(p == k and y == k for p, y in pairs)
        misses = sum((p == k) != (y == k) for p, y in pairs)
        scores.append(2 * hits / (2 * hits + misses))
    return sum(scores) / len(scores)
