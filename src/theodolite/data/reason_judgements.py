"""Error reasons that people judged, with the verdict of a model judge beside theirs.

Used to see how far a judge can be trusted before its verdicts count. Source: MR-GSM8K
(arXiv:2312.17080), the reasons of six models; each row has one expert reason and no corrected step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from theodolite.data.catalogue import official
from theodolite.data.prompts import shown
from theodolite.data.records import read_records
from theodolite.data.step_critique import CritiqueSample, SolutionPlace, labelled

NAME: Final = "mr-ben/mr_gsm8k_reason_judgements"
_LABELS: Final = {"correct": True, "incorrect": False, "wrong": False}


@dataclass(frozen=True)
class JudgedReason:
    """One reason a model gave for an error, with two verdicts on it.

    Args:
        sample: the solution and the experts' reason.
        reason: the model's.
        human: whether people accept it.
        stored: what the model judge of the file decided; None where it is not recorded.
        stored_words: that judge's decision as it wrote it.
        model: who gave the reason.
    """

    sample: CritiqueSample
    reason: str
    human: bool
    stored: bool | None
    stored_words: str
    model: str


def official_judgements() -> list[JudgedReason]:
    """Return the official rows, their file checked."""
    return read_judgements(official(NAME))


def read_judgements(path: Path | str) -> list[JudgedReason]:
    """Return judged reasons in file order.

    Args:
        path: rows with uuid, question, solution_steps, gold_first_error_step, gold_error_reason,
            pred_error_reason and human_label; gpt4_label, gpt4_decision_raw and evaluated_model may
            be missing.

    Raises: DataError: a row cannot be read; names file, row and field.
    """
    path = Path(path)
    return [_row(path, record.line, record.values) for record in read_records(path)]


def _row(path: Path, line: int, row: dict[str, object]) -> JudgedReason:
    place = SolutionPlace(path, str(row.get("uuid", "")), line)
    step = row.get("gold_first_error_step")
    if isinstance(step, bool) or not isinstance(step, int):
        raise place.error("gold_first_error_step", "this must be a whole number.")
    sample = place.sample(
        "question",
        id=f"{place.key}/{row.get('evaluated_model', '')}/{line}",
        key=place.text(row, "uuid"),
        subject="math",
        sub_subject=str(row.get("question_type", "")),
        question=place.text(row, "question"),
        steps=labelled(place.lines(row, "solution_steps")),
        gold_correct=False,
        gold_step=step,
        reasons=(place.text(row, "gold_error_reason"),),
    )
    stored = row.get("gpt4_label")
    return JudgedReason(
        sample=sample,
        reason=place.text(row, "pred_error_reason"),
        human=_label(place, row, "human_label"),
        stored=None if stored is None else _label(place, row, "gpt4_label"),
        stored_words=str(row.get("gpt4_decision_raw", "")),
        model=str(row.get("evaluated_model", "")),
    )


def _label(place: SolutionPlace, row: dict[str, object], column: str) -> bool:
    word = place.text(row, column).strip().lower()
    if word not in _LABELS:
        raise place.error(column, f"{shown(word)} is neither correct nor incorrect.")
    return _LABELS[word]
