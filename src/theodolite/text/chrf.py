"""chrF: how alike two texts are in their character n-grams, as sacreBLEU computes it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF


def chrf(hypothesis: str, reference: str) -> float:
    """Return the chrF of a text against another, 0 to 1; 0 where either is empty.

    Source: Popovic 2015, in sacreBLEU's standard settings (chrF2, orders 1 to 6, case kept, white
    space left out). Recall counts four times as much as precision, so the order of the two texts
    matters.
    """
    score: float = _metric().sentence_score(hypothesis, [reference]).score
    return score / 100


@cache
def _metric() -> CHRF:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
