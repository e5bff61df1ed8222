"""The slow, obvious way to the figures of preemptive answers: counting, item by item."""

from __future__ import annotations

import math
from collections.abc import Sequence

Runs = Sequence[int]


def asr(clean: Runs, attacked: Runs) -> float | None:
    """Return (clean-right items that the attack turns wrong) / (clean-right items)."""
    right = [i for i in range(len(clean)) if clean[i] == 1]
    if not right:
        return None
    lost = 0
    for i in right:
        if attacked[i] == 0:
            lost += 1
    return lost / len(right)


def repair(clean: Runs, attacked: Runs) -> float | None:
    """Return (clean-wrong items that come right) / (clean-wrong items)."""
    wrong = [i for i in range(len(clean)) if clean[i] == 0]
    if not wrong:
        return None
    return sum(1 for i in wrong if attacked[i] == 1) / len(wrong)


def recovered(clean: Runs, attacked: Runs, mitigated: Runs) -> float | None:
    """Return the part of the lost accuracy that comes back; None for a loss of a point or less."""
    n = len(clean)
    lost = sum(clean) - sum(attacked)
    if lost * 100 <= n:
        return None
    return (sum(mitigated) - sum(attacked)) / lost


def mcnemar_exact(clean: Runs, attacked: Runs) -> float:
    """Return the two-sided binomial p-value by adding up every outcome as rare or rarer."""
    down = sum(1 for c, a in zip(clean, attacked) if c == 1 and a == 0)
    up = sum(1 for c, a in zip(clean, attacked) if c == 0 and a == 1)
    n = down + up
    chances = [math.comb(n, k) / 2**n for k in range(n + 1)]
    return min(1.0, sum(p for p in chances if p <= chances[down] * (1 + 1e-9)))


def majority(answers: Sequence[str | None]) -> str | None:
    """Return the answer said most; of several, the one that was said first."""
    best, most = None, 0
    for answer in answers:
        if answer is None:
            continue
        count = sum(1 for other in answers if other == answer)
        if count > most:
            best, most = answer, count
    return best
