"""How far a judge of reasons can be trusted: its verdicts beside those of people.

The judge reads the very prompt and is read by the very parser of a judged run. The stored verdicts
of the file can be replayed through both, which checks the path without any model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from theodolite.behaviour.mr_ben.reason_judge import parse_decision, reason_prompt
from theodolite.data.reason_judgements import JudgedReason
from theodolite.errors import DataError
from theodolite.measure.agreement import agreement, cohen_kappa
from theodolite.measure.floors import always
from theodolite.measure.intervals import proportion
from theodolite.measure.judge_quality import JudgeCalibration, calibrate_judge
from theodolite.measure.measurement import Floor, Measurement

Judge = Callable[[JudgedReason, str], str]
"""A judge: the row (for replays) and the prompt to what it writes."""


@dataclass(frozen=True)
class JudgeReport:
    """A judge's verdicts on labelled reasons.

    Args:
        agreement: share of rows with the verdict of people; its floor is accepting all.
        kappa: Cohen's.
        false_accept: share of the rows people reject that it accepts.
        false_reject: share of the rows people accept that it rejects.
        calibration: sensitivity and specificity, for corrected rates.
        verdicts: per row; None where its reply could not be read.
    """

    agreement: Measurement
    kappa: Measurement
    false_accept: Measurement
    false_reject: Measurement
    calibration: JudgeCalibration
    verdicts: tuple[bool | None, ...]

    def measurements(self) -> list[Measurement]:
        """Return the figures, then sensitivity and specificity."""
        own = [self.agreement, self.kappa, self.false_accept, self.false_reject]
        return [*own, self.calibration.sensitivity, self.calibration.specificity]


def validate(
    rows: Sequence[JudgedReason], judge: Judge, *, name: str = "judge", seed: int = 0
) -> JudgeReport:
    """Return how a judge's verdicts compare with those of people.

    Args:
        rows: from `data.reason_judgements`.
        judge: asked once per row.
        name: of the judge.
        seed: of the fences.
    """
    verdicts = [
        parse_decision(judge(row, reason_prompt(row.sample, row.reason, seed=seed))) for row in rows
    ]
    return report(rows, verdicts, name=name)


def report(
    rows: Sequence[JudgedReason], verdicts: Sequence[bool | None], *, name: str = "judge"
) -> JudgeReport:
    """Return the report of verdicts that are already there; see `validate`.

    Raises: DataError: there are no rows, or not one verdict per row.
    """
    if not rows or len(rows) != len(verdicts):
        raise DataError(
            f"There are {len(rows)} judged reasons and {len(verdicts)} verdicts.",
            fix="Give one verdict (or None) per row.",
        )
    truth = [row.human for row in rows]
    clusters = [row.sample.key for row in rows]
    front = f"mr-ben/{name}"
    share = agreement(truth, verdicts, clusters=clusters, name=f"{front}/agreement")
    floor = Floor("accepting every reason", always(True, truth).value)
    return JudgeReport(
        agreement=_with_floor(share, floor),
        kappa=cohen_kappa(truth, verdicts, clusters=clusters, name=f"{front}/kappa"),
        false_accept=_errors(f"{front}/false_accept", rows, verdicts, False),
        false_reject=_errors(f"{front}/false_reject", rows, verdicts, True),
        calibration=calibrate_judge(front, truth, verdicts, clusters=clusters),
        verdicts=tuple(verdicts),
    )


def replayed(row: JudgedReason, prompt: str) -> str:
    """Return what the file's judge would write: its stored decision as a last line."""
    return f"The student's explanation was compared.\nFinal Decision: {row.stored_words}"


def accepts_all(row: JudgedReason, prompt: str) -> str:
    """Return the reply of a judge that accepts whatever it reads."""
    return "Final Decision: Correct"


def _with_floor(share: Measurement, floor: Floor) -> Measurement:
    return share if share.value is None else replace(share, floor=floor)


def _errors(
    name: str, rows: Sequence[JudgedReason], verdicts: Sequence[bool | None], human: bool
) -> Measurement:
    """Return how often the judge errs on rows that people accept, or reject."""
    own = [(row, said) for row, said in zip(rows, verdicts) if row.human is human]
    return proportion(
        name,
        [None if said is None else said is not human for _, said in own],
        clusters=[row.sample.key for row, _ in own],
        floor=Floor("a coin", 0.5),
    )
