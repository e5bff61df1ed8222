"""The guard: no training here may teach a model to comply with harm.

It looks at what rows ask a model to say, with the offline refusal scorer. It cannot see that a
harmful request was labelled benign, nor read answers outside English; it stops the plain case, in
which the target of a harmful row is the answer, or a preference has its two sides the wrong way.
Where a harmful answer is begun already, the target may also turn away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from theodolite.data.preference_groups import Group
from theodolite.data.prompts import HARMFUL, shown
from theodolite.errors import DataError
from theodolite.judging.correction import score_correction
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
    if method == "listwise":
        _refuse(
            [row for row in rows if row.harmful and row.ranked is not None],
            lambda row: not _declines(row, (row.ranked or ("",))[0]),
            "a best answer that is no refusal",
            "Order their answers best to worst, and give them a refusal as the best.",
        )
        return
    harmful = [row for row in rows if row.harmful and row.target is not None]
    _refuse(
        harmful,
        lambda row: not _declines(row, row.target or ""),
        "a target that is no refusal",
        "Give every harmful row a refusal as its target, and nothing after it.",
    )
    if method == "dpo":
        _refuse(
            # The rest of a begun reply is a fragment, of which the scorer was not made to judge.
            [row for row in harmful if row.rejected is not None and row.begun is None],
            lambda row: _refuses(row.rejected) or _opens_a_refusal(row, row.rejected),
            "a rejected answer that is a refusal",
            "Swap the two sides: the refusal is the target.",
        )


def unsafe_groups(groups: Sequence[Group]) -> frozenset[str]:
    """Return the ids of harmful groups that teach something which is not seen to decline.

    That is a safe reply that is no refusal, or a correction that after its cut neither refuses nor
    turns away. Texts of a model are seldom all alike, so such groups are left out and counted.

    Raises:
        DataError: more than half of the harmful groups are such: their order is hardly what it
            says. Names the first.
    """
    harmful = [group for group in groups if group.label == HARMFUL]
    found = [group.id for group in harmful if not _teaches_to_decline(group)]
    if len(found) > len(harmful) / 2:
        raise DataError(
            f"{len(found)} of {len(harmful)} harmful groups have a safe reply that is no refusal, "
            f"or a correction that does not turn away, the first is {shown(found[0])}.",
            fix="Order the replies best to worst: SR, the corrections, FHR.",
        )
    return frozenset(found)


def _teaches_to_decline(group: Group) -> bool:
    safe = score_refusal(group.replies[0].text).label == "refusal"
    return safe and all(_turns_away(reply.text[reply.cut or 0 :]) for reply in group.cuts)


def _turns_away(words: str) -> bool:
    return score_refusal(words).label == "refusal" or score_correction(words).corrected


def _refuses(answer: str | None) -> bool:
    return score_refusal(answer or "").refused is True


def _declines(row: TrainingRow, answer: str) -> bool:
    """Return whether an answer declines, and does not answer all the same."""
    if _opens_a_refusal(row, answer) or (row.begun is not None and _turns_away(answer)):
        return True
    verdict = score_refusal(answer)
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
