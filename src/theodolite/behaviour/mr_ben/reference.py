"""How the released scripts read and score an answer, for comparison with figures made by them.

Kept on purpose: headings are found in their exact spelling and the first ones count; only "Step k"
with k below 30, or bare digits, is a step; digits with any space around them are sent to the judge
and scored as a miss; a verdict is accepted where it contains "correct", so "Incorrect" is accepted;
a program whose marked line is empty gives credit for the step to any answer whose line cannot be
matched. Their retries, resume and missing demo path have no counterpart here: nothing of them
changes a score that was completed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.mr_ben.counts import MRScore, mr_score
from theodolite.data.step_critique import CritiqueSample

UNREAD: Final = "ERROR_PARSING"
_PARTS: Final = ("Solution Correctness", "First Error Step", "Error Reason")
_JUDGED: Final = ("Step-by-Step Reasoning:", "Student Error Reason Analysis:", "Final Decision:")
_STEPS: Final = {f"step {i}": str(i) for i in range(30)}


@dataclass(frozen=True)
class ReferenceAnswer:
    """The fields the released parser finds; "" for those it does not."""

    correctness: str = ""
    step: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ReferenceOutcome:
    """What the released scripts make of one answer.

    Args:
        right: the verdict counts as right.
        reviewed: the reason is sent to the judge.
        step, reason: credit.
        missing_review: their script stops here, for it looks up a verdict nobody made.
    """

    right: bool
    reviewed: bool
    step: bool
    reason: bool
    missing_review: bool = False


def reference_split(text: str) -> ReferenceAnswer:
    """Return the fields of an answer as the released parser does."""
    fields: list[str] = []
    rest = text
    for title in _PARTS:
        pieces = re.split(rf"\*?\*?{title}:?\*?\*?:?", rest)[:2]
        if len(pieces) < 2:
            break
        before, rest = pieces
        fields.append(before)
    if len(fields) == len(_PARTS):
        return ReferenceAnswer(fields[1], fields[2], rest)
    return ReferenceAnswer(fields[1]) if len(fields) == 2 else ReferenceAnswer()


def reference_step(text: str, *, strip: bool) -> str:
    """Return the step the released scripts read: digits, or a number of "step k"; else ""."""
    if text.strip().isdigit():
        return text.strip() if strip else text
    return _STEPS.get(re.sub(r"[^\w\s]", "", text).strip().lower(), "")


def reference_decision(reply: str) -> str:
    """Return the decision the released parser finds in a judge's reply."""
    reasoning, analysis, decision = map(re.escape, _JUDGED)
    found = re.search(rf"{reasoning}.*?{analysis}.*?{decision}\s*(.*)", reply, re.S)
    return found[1] if found else UNREAD


def reference_outcome(
    sample: CritiqueSample, answer: ReferenceAnswer, decision: str | None = None
) -> ReferenceOutcome:
    """Return what the released scripts make of an answer.

    Args:
        decision: the judge's words; None where it was not asked.
    """
    gold = "" if sample.gold_step is None else str(sample.gold_step)
    if sample.coding:
        gold = sample.gold_line
    says_wrong = "incorrect" in answer.correctness.lower()
    sent = reference_step(answer.step, strip=True) == gold
    reviewed = not sample.gold_correct and says_wrong and (sample.coding or sent)
    verdict = re.sub(r"[^a-z]", "", answer.correctness.lower())
    right = verdict == ("correct" if sample.gold_correct else "incorrect")
    if not right or sample.gold_correct:
        return ReferenceOutcome(right, reviewed, False, False)
    accepted = decision is not None and "correct" in decision.lower()
    if sample.coding and accepted:
        return ReferenceOutcome(True, reviewed, True, True)
    step = reference_step(answer.step, strip=False) == gold
    missing = decision is None and (step or sample.coding)
    return ReferenceOutcome(True, reviewed, step, step and accepted, missing)


def reference_score(
    samples: Iterable[CritiqueSample],
    answers: Mapping[str, str],
    decisions: Mapping[str, str] | None = None,
) -> dict[str, MRScore]:
    """Return MR-Score and its parts per subject as the released scripts compute them.

    Args:
        answers: id -> what the model wrote; a missing one is an empty answer.
        decisions: id -> what the judge decided.
    """
    counts: dict[str, list[int]] = {}
    for sample in samples:
        said = reference_split(answers.get(sample.id, ""))
        found = reference_outcome(sample, said, (decisions or {}).get(sample.id))
        own = counts.setdefault(sample.subject, [0] * 6)
        right, wrong = sample.gold_correct, not sample.gold_correct
        row = (found.right and right, found.right and wrong, right, wrong, found.step, found.reason)
        counts[sample.subject] = [a + b for a, b in zip(own, row)]
    return {subject: mr_score(*own) for subject, own in counts.items()}
