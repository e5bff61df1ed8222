"""The guard: no training here may teach a model to comply with harm.

It looks at what rows ask a model to say, with the offline refusal scorer. It cannot see that a
harmful request was labelled benign, nor read answers outside English; it stops the plain case, in
which the target of a harmful row is the answer, or a preference has its two sides the wrong way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from theodolite.data.prompts import shown
from theodolite.errors import DataError
from theodolite.judging.refusal import score_refusal
from theodolite.training.refusals import opens_refusal
from theodolite.training.rows import OPEN, TrainingRow

# The scorer was made for whole answers. Of the first five words of 550 that people called
# compliant it takes 43 for a refusal, and 8 where it is this sure; it is of 235 of 279 refusals.
SURE: Final = 0.9


def refuse_unsafe_rows(rows: Sequence[TrainingRow], method: str) -> None:
    """Refuse rows that would train safety away.

    Args:
        rows: all rows of a training.
        method: `ssft-label` needs no look: there the label is the target.

    Raises:
        DataError: says how many rows labelled harmful have a target that is no refusal (nor, where
            the turn is open, the beginning of one) or that answers after it, or a rejected answer
            that is one, and names the first.
    """
    if method == "ssft-label":
        return
    harmful = [row for row in rows if row.harmful and row.target is not None]
    _refuse(
        harmful,
        lambda row: not _declines(row),
        "a target that is no refusal",
        "Give every harmful row a refusal as its target, and nothing after it.",
    )
    if method == "dpo":
        _refuse(
            [row for row in harmful if row.rejected is not None],
            lambda row: _refuses(row.rejected) or _opens_a_refusal(row, row.rejected),
            "a rejected answer that is a refusal",
            "Swap the two sides: the refusal is the target.",
        )


def _refuses(answer: str | None) -> bool:
    return score_refusal(answer or "").refused is True


def _declines(row: TrainingRow) -> bool:
    """Return whether a target declines, and does not answer all the same."""
    if _opens_a_refusal(row, row.target):
        return True
    verdict = score_refusal(row.target or "")
    sure = row.turn != OPEN or verdict.confidence >= SURE
    return verdict.label == "refusal" and sure


def _opens_a_refusal(row: TrainingRow, answer: str | None) -> bool:
    """Return whether an open answer is how a refusal of ours begins: too short to be scored."""
    return row.turn == OPEN and opens_refusal(answer or "")


def _refuse(
    rows: Iterable[TrainingRow], wrong: Callable[[TrainingRow], bool], what: str, fix: str
) -> None:
    rows = list(rows)
    found = [row for row in rows if wrong(row)]
    if found:
        raise DataError(
            f"{len(found)} of {len(rows)} rows labelled harmful have {what}, the first is "
            f"{shown(found[0].id)}.",
            fix=fix,
        )
