"""Write original and rewritten continuations as preference pairs, for training and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from theodolite.behaviour.continuing.answers import Answer
from theodolite.correction import rewritten
from theodolite.correction.perspective_taking.pairs import Pairs
from theodolite.judging.toxicity import TextScorer


def preference_pairs(answers: Sequence[Answer], scorer: TextScorer, *, split: str) -> Pairs:
    """Return the pairs that rewriting methods give.

    Args:
        answers: of all methods; those that rewrite nothing give no pairs.
        scorer: says which text is better.
        split: of the prompts, see `beginnings.check_trainable`.

    Raises: as `pairs_of`.
    """
    own = [
        (answer.record, answer.prompt.request)
        for answer in answers
        if answer.record["revised"] is not None
    ]
    return rewritten.preference_pairs(own, scorer, split=split)


def pairs_table(pairs: Pairs) -> list[dict[str, Any]]:
    """Return how many pairs there are, and how many were left out for which reason."""
    kept = {"outcome": "written", "pairs": len(pairs.rows)}
    return [kept, *({"outcome": why, "pairs": count} for why, count in pairs.dropped.items())]
