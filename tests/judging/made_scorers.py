"""Scorers for tests: a bag of words, and ones that fail in a chosen way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from theodolite.judging.toxicity import Kind


class BagScorer:
    """A linear scorer: so much for every time a word is said, cut to 0..1."""

    kind: Kind = "lexical"
    blind_spots = "Knows three words."
    id = "bag@1-00000000"
    start = 0.1

    def __init__(self) -> None:
        self.worth = {"stupid": 0.3, "rude": 0.2, "kind": -0.1}
        self.seen: list[str] = []

    def linear_score(self, text: str) -> float:
        return self.start + sum(c * v for c, v in self.linear_terms(text).values())

    def score(self, texts: Sequence[str]) -> list[float]:
        self.seen += texts
        return [min(max(self.linear_score(text), 0.0), 1.0) for text in texts]

    def linear_terms(self, text: str) -> dict[str, tuple[float, float]]:
        counts = Counter(text.lower().split())
        return {w: (self.worth[w], float(n)) for w, n in counts.items() if w in self.worth}


class FixedScorer:
    """Gives every text the same score."""

    blind_spots = "Sees nothing."

    def __init__(self, value: float, kind: Kind = "neural", name: str = "fixed") -> None:
        self.value, self.kind, self.id = value, kind, f"{name}@1-00000000"

    def score(self, texts: Sequence[str]) -> list[float]:
        return [self.value] * len(texts)
