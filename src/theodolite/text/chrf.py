"""chrF: how alike two texts are in their character n-grams.

Source: Popovic 2015, as sacreBLEU computes it for one reference (chrF2, orders 1 to 6, case kept,
white space left out, orders that one side is too short for are skipped).
"""

from __future__ import annotations

from collections import Counter
from typing import Final

ORDERS: Final = range(1, 7)
BETA: Final = 2


def chrf(hypothesis: str, reference: str) -> float:
    """Return the chrF of a text against another, 0 to 1; 0 where either is empty.

    Recall counts four times as much as precision, so the order of the two texts matters.
    """
    texts = ["".join(text.split()) for text in (hypothesis, reference)]
    precision, recall, orders = 0.0, 0.0, 0
    for n in ORDERS:
        grams = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts]
        own, other = (sum(side.values()) for side in grams)
        if own and other:
            shared = (grams[0] & grams[1]).total()
            precision, recall, orders = (
                precision + shared / own,
                recall + shared / other,
                orders + 1,
            )
    if not precision or not recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
