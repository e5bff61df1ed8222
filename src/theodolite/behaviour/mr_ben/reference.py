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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from theodolite.behaviour.mr_ben.counts import COLUMNS, MRScore, figures, mr_score
from theodolite.behaviour.mr_ben.floors import floors_of, mean_floor
from theodolite.behaviour.mr_ben.judging import Claim, Judged
from theodolite.behaviour.mr_ben.rows import Graded, by_subject
from theodolite.behaviour.mr_ben.scoring import MEAN, NAME, scope
from theodolite.data.step_critique import CritiqueSample
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured

UNREAD: Final = "ERROR_PARSING"
_PARTS: Final = ("Solution Correctness", "First Error Step", "Error Reason")
_JUDGED: Final = ("Step-by-Step Reasoning:", "Student Error Reason Analysis:", "Final Decision:")
_STEPS: Final = {f"step {i}": str(i) for i in range(30)}
_HANGING: Final = frozenset({"acc_reason", "mr_score"})
_SAID: Final = re.compile(r"final decision\W*(.*)", re.I)


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


def reference_claims(
    samples: Iterable[CritiqueSample], answers: Mapping[str, str]
) -> dict[str, Claim]:
    """Return the reasons that the released scripts send to their judge, by id."""
    found = {}
    for sample in samples:
        said = reference_split(answers.get(sample.id, ""))
        if reference_outcome(sample, said).reviewed:
            found[sample.id] = Claim(sample, said.reason.strip(), said.step.strip())
    return found


def decision_words(said: Judged) -> str:
    """Return a judge's decision as it wrote it; one that cannot be read as the scripts note it."""
    found = _SAID.findall(said.raw)
    if found:
        return str(found[-1])
    return {True: "Correct", False: "Wrong", None: UNREAD}[said.accepted]


def reference_measurements(
    samples: Sequence[CritiqueSample],
    answers: Mapping[str, str],
    verdicts: Mapping[str, Judged] | None,
    rows: Sequence[Graded],
    *,
    seed: int = 0,
) -> list[Measurement]:
    """Return MR-Score and its parts by the released scripts, their mean first, then each subject.

    Args:
        answers: id -> what the model wrote.
        verdicts: on `reference_claims`; None where nobody judged: what hangs on them is then not
            measured.
        rows: the graded answers in the order of the samples, for floors.
        seed: of the bootstrap over questions.
    """
    graded = by_subject(rows)
    found: dict[str, dict[str, Measurement]] = {}
    for subject, own in graded.items():
        counts = np.array([_counts(s, answers, verdicts) for s in samples if s.subject == subject])
        floors = floors_of(own)
        found[subject] = {
            name: _figure(f"{NAME}/reference/{subject}/{name}", counts, own, floors[name], seed)
            if verdicts is not None or name not in _HANGING
            else not_measured(
                f"{NAME}/reference/{subject}/{name}", "share", "reasons were not judged"
            )
            for name in MRScore._fields
        }
    words = scope(list(found))
    means = [_mean(name, [each[name] for each in found.values()], words)
             for name in MRScore._fields]  # fmt: skip
    return [*means, *(one for each in found.values() for one in each.values())]


def _counts(
    sample: CritiqueSample, answers: Mapping[str, str], verdicts: Mapping[str, Judged] | None
) -> list[float]:
    said = reference_split(answers.get(sample.id, ""))
    own = (verdicts or {}).get(sample.id)
    found = reference_outcome(sample, said, None if own is None else decision_words(own))
    right, wrong = sample.gold_correct, not sample.gold_correct
    values = {
        "correct": right, "incorrect": wrong, "tp": found.right and right,
        "tn": found.right and wrong, "step": found.step, "reason": found.reason,
    }  # fmt: skip
    return [float(values.get(name, 0)) for name in COLUMNS]


def _figure(
    name: str, counts: Floats, rows: Sequence[Graded], floor: Floor, seed: int
) -> Measurement:
    part = name.rsplit("/", 1)[-1]
    value = float(figures(counts.sum(0, keepdims=True))[part][0])
    unit = "mcc" if part == "mcc" else "share"
    if not np.isfinite(value):
        return not_measured(name, unit, "no solution here lets it be computed")

    def statistic(weights: Floats) -> Floats:
        return figures(weights @ counts)[part]

    return resampled(
        name, value, len(counts), statistic, clusters=[row.question for row in rows], unit=unit,
        range=(-1.0, 1.0) if part == "mcc" else (0.0, 1.0), floor=floor, seed=seed,
        reason="as the released scripts read and score",
    )  # fmt: skip


def _mean(part: str, each: Sequence[Measurement], words: str) -> Measurement:
    name, unit = f"{NAME}/reference/{MEAN}/{part}", each[0].unit
    values = [one.value for one in each if one.value is not None]
    if len(values) < len(each):
        return not_measured(name, unit, "a subject has no value")
    floors = [one.floor for one in each if one.floor is not None]
    return Measurement(
        name=name,
        value=sum(values) / len(values),
        unit=unit,
        n=sum(one.n for one in each),
        floor=mean_floor(floors),
        range=(-1.0, 1.0) if part == "mcc" else (0.0, 1.0),
        reason=f"as the released scripts read and score; {words}; they give no interval",
    )
