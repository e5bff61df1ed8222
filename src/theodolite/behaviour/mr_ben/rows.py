"""What is known of one answer about one solution, before anything is counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from theodolite.behaviour.mr_ben.answers import UNPARSED, Critique
from theodolite.behaviour.mr_ben.code_lines import match_line
from theodolite.data.prompts import shown
from theodolite.data.step_critique import CritiqueSample
from theodolite.errors import DataError

NOT_JUDGED: Final = "reason_not_judged"


@dataclass(frozen=True)
class Graded:
    """One answer about one solution, without any text.

    Args:
        id, question, subject, sub_subject, source_model, gold_correct, gold_step, process_only:
            as of the sample; `question` is the cluster.
        coding: the first error is a line; only a judge can give credit for it.
        labels: how many labels the solution has.
        position: which third of the steps the first error lies in.
        correct: the model's verdict; None where it cannot be read, which counts as wrong.
        step: the label it names.
        accepted: whether its reason is accepted; None where nobody judged it.
        unjudged: why nobody did.
        line: whether it names the marked line of code; None outside of code and where none is
            marked. Never part of a score.
        flags: of the parser.
        tokens: of its answer.
    """

    id: str
    question: str
    subject: str
    gold_correct: bool
    gold_step: int | None = None
    coding: bool = False
    sub_subject: str = ""
    source_model: str = ""
    labels: int = 0
    position: str | None = None
    process_only: bool | None = None
    correct: bool | None = None
    step: int | None = None
    accepted: bool | None = None
    unjudged: str = NOT_JUDGED
    line: bool | None = None
    flags: tuple[str, ...] = ()
    tokens: int | None = None

    @property
    def caught(self) -> bool:
        """Whether it calls a wrong solution wrong."""
        return not self.gold_correct and self.correct is False

    @property
    def located(self) -> bool:
        """Whether it also names the right step; never so for code."""
        return (
            self.caught
            and not self.coding
            and self.step is not None
            and self.step == self.gold_step
        )

    @property
    def reviewed(self) -> bool:
        """Whether its reason is to be judged."""
        return self.located or (self.caught and self.coding)

    @property
    def reason_credit(self) -> bool:
        """Whether it earns credit for its reason."""
        return self.reviewed and self.accepted is True

    @property
    def step_credit(self) -> bool:
        """Whether it earns credit for the step; for code, acceptance of its reason gives it."""
        return self.reason_credit if self.coding else self.located

    @property
    def waiting(self) -> bool:
        """Whether credit hangs on a judge who did not decide."""
        return self.reviewed and self.accepted is None


def grade(
    sample: CritiqueSample,
    critique: Critique | None,
    *,
    accepted: bool | None = None,
    unjudged: str = NOT_JUDGED,
    tokens: int | None = None,
) -> Graded:
    """Return a row from a solution and what a model says of it.

    Args:
        critique: None where there is no answer.
        accepted: the judge's verdict on its reason; None where nobody decided, then `unjudged`
            says why.
        tokens: of the answer.
    """
    said = critique or Critique(None, flags=(UNPARSED,))
    return Graded(
        id=sample.id,
        question=f"{sample.subject}/{sample.key}",
        subject=sample.subject,
        gold_correct=sample.gold_correct,
        gold_step=sample.gold_step,
        coding=sample.coding,
        sub_subject=sample.sub_subject,
        source_model=sample.source_model,
        labels=len(sample.labels),
        position=sample.position,
        process_only=sample.process_only,
        correct=said.correct,
        step=said.step,
        accepted=accepted,
        unjudged=unjudged,
        line=_line(sample, said),
        flags=said.flags,
        tokens=tokens,
    )


def by_subject(rows: Iterable[Graded]) -> dict[str, list[Graded]]:
    """Return the rows of each subject, subjects in order of appearance.

    Raises: DataError: a solution is graded twice.
    """
    found: dict[str, list[Graded]] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.subject, row.id) in seen:
            raise DataError(
                f"The solution {shown(row.id)} is graded twice.", fix="Give one answer to each."
            )
        seen.add((row.subject, row.id))
        found.setdefault(row.subject, []).append(row)
    return found


def _line(sample: CritiqueSample, said: Critique) -> bool | None:
    if not sample.coding or not sample.gold_line.strip():
        return None
    named: Any = match_line(said.step_text, sample.lines) if said.correct is False else None
    return named is not None and sample.lines[named].strip() == sample.gold_line.strip()
