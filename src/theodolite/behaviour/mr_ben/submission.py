"""Write answers in the released scripts' own result format, and read such a file back.

One list of rows per subject: the official row as it is, the parsed answer, whether its reason is to
be reviewed, and the judge's verdict. The words are those the released scorer understands: bare
digits for a step, "Correct" or "Wrong" for a verdict ("Incorrect" it would accept).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.mr_ben.answers import Critique
from theodolite.data.mr_ben import chosen_subjects, rows_of, sample_id
from theodolite.data.prompts import shown
from theodolite.data.records import Place, decode, load_json, read_bytes
from theodolite.data.step_critique import CritiqueSample
from theodolite.errors import DataError
from theodolite.runs.atomic import as_run_error, write_text

RESULT: Final = "Evaluation_Result"
REVIEW: Final = "Need_Error_Reason_Review"
ANALYSIS: Final = "Error_Reason_Correctness_Analysis"
_SAID: Final = {True: "correct", False: "incorrect", None: ""}
_DECIDED: Final = {True: "Correct", False: "Wrong"}


_DECISIONS: Final = {"correct": True, "wrong": False, "incorrect": False, "not correct": False}


@dataclass(frozen=True)
class Answered:
    """One answer with everything a submission holds of it.

    Args:
        raw: what the model wrote.
        critique: what was read of it.
        reviewed: whether its reason is to be judged.
        accepted: the judge's verdict; None where there is none.
        judge_raw: what the judge wrote.
    """

    raw: str
    critique: Critique
    reviewed: bool = False
    accepted: bool | None = None
    judge_raw: str = ""


def submission(
    folder: Path | str,
    answers: Mapping[str, Answered],
    *,
    model: str,
    judge: str = "",
    subjects: Sequence[str] | None = None,
    partial: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Return the official rows with the answers to them, lists by subject.

    Args:
        folder: of the official files.
        answers: by id of the sample; every solution of the subjects needs one.
        model, judge: the names that stand in the file.
        subjects: None takes those that are there.
        partial: leave out solutions without an answer.

    Raises: DataError: a solution has no answer, or a file cannot be read.
    """
    folder = Path(folder)
    found: dict[str, list[dict[str, Any]]] = {}
    for subject in chosen_subjects(folder, subjects):
        for place, row in rows_of(folder / f"{subject}.json"):
            name = sample_id(place, row)
            if partial and name not in answers:
                continue
            if name not in answers:
                raise DataError(
                    f"The solution {shown(name)} of {subject} has no answer.",
                    fix="Finish the run, or choose subjects that are complete.",
                )
            own = {**row, **_result(answers[name], model, judge)}
            found.setdefault(subject, []).append(own)
    return found


def write_submission(path: Path, content: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write a submission; the file is there in full or not at all.

    Raises: RunError: the file cannot be written.
    """
    with as_run_error(path):
        write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_submission(path: Path | str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a submission by subject, ours or one of the released scripts.

    Raises: DataError: the file is none; names the subject, row and field.
    """
    path = Path(path)
    value = load_json(Place(path), decode(path, read_bytes(path)))
    if not isinstance(value, dict) or not value:
        raise Place(path).error("the file must hold one object with a list of rows per subject.")
    for subject, rows in value.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Place(path, field=subject).error("this must be a list of objects.")
        for index, row in enumerate(rows):
            _check(path, subject, index, row)
    return value


def is_submission(path: Path | str) -> bool:
    """Return whether a file looks like a submission: a .json file that holds one object.

    Raises: DataError: the file cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        return False
    return isinstance(load_json(Place(path), decode(path, read_bytes(path))), dict)


def answers_of(
    path: Path | str, samples: Iterable[CritiqueSample]
) -> tuple[dict[str, str], dict[str, bool | None]]:
    """Return what a submission holds for some solutions: the raw answers, and the verdicts.

    Rows are found by question, solution and the model that wrote it, so that their order is free.

    Returns: id -> raw answer, and id -> verdict of the judge that the file names; None where its
        words are no verdict.

    Raises: DataError: the file is no submission, holds no raw answer, or a row of it is unknown.
    """
    path = Path(path)
    known: dict[tuple[str, ...], list[str]] = {}
    for sample in samples:
        known.setdefault(_content(sample.question, sample.source_model, sample.lines), []).append(
            sample.id
        )
    texts: dict[str, str] = {}
    verdicts: dict[str, bool | None] = {}
    for subject, rows in read_submission(path).items():
        for index, row in enumerate(rows):
            place = Place(path, field=f"{subject}[{index}]")
            steps = row.get("Model_Solution_Steps")
            lines = steps.split("\n") if isinstance(steps, str) else steps or []
            same = known.get(_content(row.get("Question"), row.get("Sampled_Model"), lines), [])
            raw = row[RESULT].get("evaluation_raw_response")
            if not same or not isinstance(raw, str):
                raise place.error(
                    "the raw answer is missing." if same else "the solution is not in the source.",
                    "Name the source of these solutions with -T source=, and its subjects.",
                )
            name = same.pop(0) if len(same) > 1 else same[0]
            texts[name] = raw
            if ANALYSIS in row:
                words = row[ANALYSIS]["error_reason_correctness"].strip().strip("*.[]- ").lower()
                verdicts[name] = _DECISIONS.get(words)
    return texts, verdicts


def _content(question: Any, model: Any, lines: Iterable[Any]) -> tuple[str, ...]:
    return (str(question), str(model or ""), *map(str, lines))


def _check(path: Path, subject: str, index: int, row: Mapping[str, Any]) -> None:
    needed: dict[str, tuple[str, ...]] = {
        RESULT: ("solution_correctness", "first_error_step", "error_reason")
    }
    if ANALYSIS in row:
        needed[ANALYSIS] = ("error_reason_correctness",)
    for part, fields in needed.items():
        own = row.get(part)
        for field in fields:
            if not isinstance(own, dict) or not isinstance(own.get(field), str):
                raise Place(path, field=f"{subject}[{index}].{part}.{field}").error(
                    "this must be text."
                )


def _result(answered: Answered, model: str, judge: str) -> dict[str, Any]:
    said = answered.critique
    step = str(said.step) if said.step is not None else said.step_text
    result = {
        RESULT: {
            "evaluated_model": model,
            "evaluation_raw_response": answered.raw,
            "solution_correctness": _SAID[said.correct],
            "first_error_step": step or "N/A",
            "error_reason": said.reason or "N/A",
        },
        REVIEW: answered.reviewed,
    }
    if answered.accepted is None:
        return result
    verdict = _DECIDED[answered.accepted]
    return result | {
        ANALYSIS: {
            "scoring_model": judge,
            "scoring_raw_response": answered.judge_raw or f"Final Decision: {verdict}",
            "annotation_analysis": "",
            "error_reason_analysis": "",
            "error_reason_correctness": verdict,
        }
    }
