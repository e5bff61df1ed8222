"""Two sister collections in the shape of `step_critique`: MR-GSM8K and ProcessBench.

Traps this file exists for: MR-GSM8K calls a wrong solution `wrong` and numbers steps by label;
ProcessBench counts steps from 0, writes -1 for a solution without error, and its steps have no
labels, so they are given some, from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from theodolite.data.prompts import shown
from theodolite.data.records import read_records
from theodolite.data.step_critique import (
    CritiqueSample,
    CritiqueSet,
    SolutionPlace,
    labelled,
    numbered,
)
from theodolite.errors import DataError

MR_GSM8K: Final = "mr-gsm8k"
PROCESSBENCH: Final = "processbench"
_RIGHT: Final = {"correct": True, "wrong": False, "incorrect": False}
_Read = Callable[[SolutionPlace, Mapping[str, Any]], CritiqueSample]


def read_mr_gsm8k(path: Path | str, *, strict: bool = True) -> CritiqueSet:
    """Return the solutions of a file in MR-GSM8K's format (arXiv:2312.17080), in file order.

    Args:
        strict: refuse a row that cannot be read; else skip and tell it.

    Raises: DataError: a row cannot be read; names file, row and field.
    """
    return _read(Path(path), "uuid", _mr_gsm8k, strict)


def read_processbench(path: Path | str, *, strict: bool = True) -> CritiqueSet:
    """Return the solutions of a file in ProcessBench's format (arXiv:2412.06559), in file order.

    Args, Raises: as for `read_mr_gsm8k`.
    """
    return _read(Path(path), "id", _processbench, strict)


def _read(path: Path, key: str, read: _Read, strict: bool) -> CritiqueSet:
    samples, skipped = [], []
    seen: set[str] = set()
    for record in read_records(path):
        place = SolutionPlace(path, str(record.values.get(key, "")), record.line)
        try:
            sample = read(place, record.values)
            if sample.id in seen:
                raise place.error(key, "the id occurs twice.", "Give every solution its own.")
        except DataError as error:
            if strict:
                raise
            skipped.append(error.message)
            continue
        seen.add(sample.id)
        samples.append(sample)
    return CritiqueSet(tuple(samples), tuple(skipped))


def _mr_gsm8k(place: SolutionPlace, row: Mapping[str, Any]) -> CritiqueSample:
    right = _verdict(place, row, "model_output_solution_correctness")
    answer = row.get("model_output_answer_correctness")
    reason = str(row.get("model_output_solution_first_error_reason") or "")
    known = answer is not None and not right
    return place.sample(
        "question",
        id=place.text(row, "uuid"),
        key=place.key,
        subject=MR_GSM8K,
        sub_subject=str(row.get("question_type") or ""),
        question=place.text(row, "question"),
        steps=labelled(place.lines(row, "model_output_steps")),
        gold_correct=right,
        gold_step=None if right else _number(place, row, "model_output_solution_first_error_step"),
        reasons=() if right or not reason.strip() else (reason,),
        process_only=_verdict(place, row, "model_output_answer_correctness") if known else None,
    )


def _processbench(place: SolutionPlace, row: Mapping[str, Any]) -> CritiqueSample:
    steps = place.lines(row, "steps")
    label = _number(place, row, "label", least=-1)
    if label >= len(steps):
        raise place.error("label", f"step {label} is not among its {len(steps)} steps.")
    answer = row.get("final_answer_correct")
    known = isinstance(answer, bool) and label >= 0
    return place.sample(
        "problem",
        id=place.text(row, "id"),
        key=place.key,
        subject=PROCESSBENCH,
        sub_subject=place.key.rsplit("-", 1)[0],
        question=place.text(row, "problem"),
        steps=numbered(steps),
        gold_correct=label < 0,
        gold_step=None if label < 0 else label + 1,
        source_model=str(row.get("generator") or ""),
        process_only=bool(answer) if known else None,
    )


def _verdict(place: SolutionPlace, row: Mapping[str, Any], column: str) -> bool:
    word = place.text(row, column).strip().lower()
    if word not in _RIGHT:
        raise place.error(column, f"{shown(word)} is neither correct nor wrong.")
    return _RIGHT[word]


def _number(place: SolutionPlace, row: Mapping[str, Any], column: str, *, least: int = 0) -> int:
    value = row.get(column)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value[:9])
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 10_000:
        raise place.error(column, f"{shown(value)} is not the number of a step.")
    return value
