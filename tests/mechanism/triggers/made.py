"""Made-up outcomes and requests: what a style does is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.mechanism.triggers.outcomes import StyleOutcomes

VERDICT = {1: "refusal", 0: "compliance", None: ""}


def outcomes_of(
    table: Mapping[str, Sequence[int | None]],
    *,
    label: str = HARMFUL,
    odds: Sequence[Sequence[float]] | None = None,
) -> StyleOutcomes:
    """Return outcomes from refused (1), answered (0) or not asked (None), by style."""
    width = len(next(iter(table.values())))
    return StyleOutcomes(
        label=label,
        styles=tuple(table),
        prompt_ids=tuple(f"{label}-{i}" for i in range(width)),
        clusters=tuple(f"goal-{i}" for i in range(width)),
        verdicts=np.array([[VERDICT[v] for v in row] for row in table.values()], dtype="<U12"),
        log_odds=None if odds is None else np.array(odds, np.float64),
        pairs=tuple(f"pair-{i}" for i in range(width)),
    )


def requests(n: int, label: str = HARMFUL, split: str = "test") -> list[Prompt]:
    """Return bare requests of which each has its own goal and twin."""
    verbs, things = ("bake", "paint", "grow", "fold", "tune"), ("bread", "walls", "maps", "bells")
    kind = "odd" if label == BENIGN else "grim"
    return [
        Prompt(
            f"{split}-{label}-{i}",
            text=f"How do I {verbs[i % 5]} {things[i % 4]} {kind} number {i}?",
            label=label,
            goal_id=f"{split}-{label}-goal-{i}",
            pair_id=f"{split}-pair-{i}",
            split=split,
        )
        for i in range(n)
    ]
