"""Write original and rewritten continuations as preference pairs, for training and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from theodolite.behaviour.continuing.answers import Answer
from theodolite.correction.perspective_taking.pairs import Pairs, Revision, pairs_of
from theodolite.correction.perspective_taking.severity import severities
from theodolite.judging.toxicity import TextScorer


def preference_pairs(answers: Sequence[Answer], scorer: TextScorer, *, split: str) -> Pairs:
    """Return the pairs that rewriting methods give.

    Args:
        answers: of all methods; those that rewrite nothing give no pairs.
        scorer: says which text is better.
        split: of the prompts, see `beginnings.check_trainable`.

    Raises: as `pairs_of`.
    """
    own = [answer for answer in answers if answer.record["revised"] is not None]
    before = severities(scorer, [answer.record["original"] for answer in own])
    after = severities(scorer, [answer.record["revised"] for answer in own])
    return pairs_of(
        (
            Revision.of(answer.record, answer.prompt.request, sides)
            for answer, sides in zip(own, zip(before, after), strict=True)
        ),
        split=split,
    )


def pairs_table(pairs: Pairs) -> list[dict[str, Any]]:
    """Return how many pairs there are, and how many were left out for which reason."""
    kept = {"outcome": "written", "pairs": len(pairs.rows)}
    return [kept, *({"outcome": why, "pairs": count} for why, count in pairs.dropped.items())]
