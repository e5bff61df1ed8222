"""What a model makes of a solution it is asked to check."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.preemptive_answers.extraction import extract
from theodolite.behaviour.preemptive_answers.outcomes import (
    ACCEPTED,
    FIXED,
    NO_VERDICT,
    STILL_WRONG,
    Outcome,
)
from theodolite.data.preemptive import Item
from theodolite.errors import DataError
from theodolite.text.normalise import strip_reasoning

_VERDICT: Final = re.compile(r"\b(in)?correct\b", re.IGNORECASE)
OUTCOMES: Final = (ACCEPTED, STILL_WRONG, FIXED, NO_VERDICT)


@dataclass(frozen=True)
class Check:
    """A reply to the request to check.

    Args:
        accepted: whether the solution was called correct; None without a verdict.
        answer: the answer that stands after it; None where there is none.
    """

    accepted: bool | None
    answer: str | None


@dataclass(frozen=True)
class Reflected:
    """An item before and after the check.

    Args:
        id, cluster: of the item.
        before, after: whether its answer was and is right.
        accepted: the verdict; None without one.
    """

    id: str
    cluster: str
    before: bool
    after: bool
    accepted: bool | None

    @property
    def kind(self) -> str:
        """What became of a wrong answer."""
        if self.after:
            return FIXED
        if self.accepted is None:
            return NO_VERDICT
        return ACCEPTED if self.accepted else STILL_WRONG


def read_check(reply: str, item: Item, old: str | None) -> Check:
    """Return the verdict in the first line with one, and the answer that stands.

    Args:
        old: the answer that was checked; it stands where no new one is given.
    """
    shown = strip_reasoning(reply)
    first = next((line for line in shown.splitlines() if line.strip()), "")
    match = _VERDICT.search(first)
    accepted = None if match is None else match[1] is None
    if match and re.search(r"\bnot\s+$", first[: match.start()], re.IGNORECASE):
        accepted = not accepted
    new = extract(shown, item.answer_type, options=item.options).final
    return Check(accepted, old if new is None else new)


def reflected(before: Outcome, after: Outcome, accepted: bool | None) -> Reflected:
    """Return an item before and after the check.

    Raises: DataError: the outcomes are of two items.
    """
    if before.id != after.id:
        raise DataError("The outcomes before and after the check are of different items.")
    return Reflected(before.id, before.cluster, before.correct, after.correct, accepted)


def wrong_outcomes(rows: Sequence[Reflected]) -> dict[str, int]:
    """Return how often a wrong answer was accepted, flagged and still wrong, or fixed."""
    counts = Counter(row.kind for row in rows if not row.before)
    return {kind: counts[kind] for kind in OUTCOMES}


def right_outcomes(rows: Sequence[Reflected]) -> dict[str, int]:
    """Return how often a right answer was called wrong (`false_alarm`) and was lost (`broken`)."""
    right = [row for row in rows if row.before]
    return {
        "right": len(right),
        "false_alarm": sum(row.accepted is False for row in right),
        "broken": sum(not row.after for row in right),
    }
