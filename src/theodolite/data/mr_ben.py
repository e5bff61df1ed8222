"""MR-Ben (arXiv:2406.13975): solutions in seven subjects, each with its first error, and the demos.

Traps this file exists for:
  - nine physics rows carry another id than their key, and one coding question has two solutions of
    one model: an id here is key, model and place under the key;
  - the gold step is a label (see `step_critique`); in coding it is a line of code, sometimes blank;
  - keys of two letters ("AC") mean that annotators accept either;
  - `logic.json` is too large for some copies, so any subset of the subjects is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.data.catalogue import data_dir, official
from theodolite.data.prompts import shown
from theodolite.data.records import Place, decode, load_json, read_bytes
from theodolite.data.step_critique import (
    CODING,
    CritiqueSample,
    CritiqueSet,
    SolutionPlace,
    labelled,
    unlabelled,
)
from theodolite.errors import ConfigError, DataError
from theodolite.text.suggest import did_you_mean

PART: Final = "mr-ben"
SUBJECTS: Final = ("biology", "chemistry", "physics", "math", "medicine", CODING, "logic")
DELIVERED: Final = SUBJECTS[:-1]
DEMOS: Final = "k_shot_demo.json"
CORRECT: Final = "correct"
INCORRECT: Final = "incorrect"
OTHER_ID: Final = "id differs from the key"
TWICE: Final = "two solutions of one model to one question"
NO_SUCH_LABEL: Final = "gold step is no label of the solution"
LABELS_REPEAT: Final = "labels repeat"
BLANK_LINE: Final = "gold line is blank"
_NONE: Final = "n/a"
_CHOICE: Final = re.compile(r"Choice[_ ]?([A-D])")


@dataclass(frozen=True)
class Demo:
    """A worked example: a solution and a full answer about it."""

    sample: CritiqueSample
    answer: str


def official_mr_ben(subjects: Sequence[str] | None = None) -> CritiqueSet:
    """Return the solutions of the data folder, the content of each delivered file checked.

    Args:
        subjects: those that are read; None takes what is there. `logic` is read unchecked.

    Raises:
        ConfigError: there is no such subject.
        DataError: a file is missing, changed or cannot be read.
    """
    folder = data_dir() / PART
    chosen = chosen_subjects(folder, subjects)
    for subject in chosen:
        if subject in DELIVERED:
            official(f"{PART}/{subject}.json")
    return read_mr_ben(folder, chosen)


def read_mr_ben(
    folder: Path | str, subjects: Sequence[str] | None = None, *, strict: bool = True
) -> CritiqueSet:
    """Return the solutions of a folder of `<subject>.json` files, in file order.

    Args:
        subjects: those that are read; None takes every one that is there.
        strict: refuse a row that cannot be read; else skip and tell it.

    Raises:
        ConfigError: there is no such subject.
        DataError: no file, or a file that was asked for, is not there; or a row cannot be read
            (names file, solution and field).
    """
    folder = Path(folder)
    samples: list[CritiqueSample] = []
    skipped: list[str] = []
    oddities: Counter[str] = Counter()
    for subject in chosen_subjects(folder, subjects):
        for place, row in rows_of(folder / f"{subject}.json"):
            try:
                sample = _sample(place, row, subject)
            except DataError as error:
                if strict:
                    raise
                skipped.append(error.message)
                continue
            samples.append(sample)
            oddities.update(_oddities(place, row, sample))
    pairs = Counter((s.subject, s.key, s.source_model) for s in samples)
    oddities[TWICE] = sum(count > 1 for count in pairs.values())
    return CritiqueSet(tuple(samples), tuple(skipped), +oddities)


def chosen_subjects(folder: Path, subjects: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the subjects to read, in the order of `SUBJECTS`; raises as `read_mr_ben`."""
    for subject in subjects or ():
        if subject not in SUBJECTS:
            raise ConfigError(
                f"There is no subject {shown(subject)}.", fix=did_you_mean(subject, SUBJECTS)
            )
    there = [subject for subject in SUBJECTS if (folder / f"{subject}.json").is_file()]
    missing = [s for s in (subjects or ()) if s not in there]
    if missing or not there:
        wanted = ", ".join(f"{s}.json" for s in (missing or SUBJECTS))
        raise DataError(
            f"The folder {shown(str(folder))} has no {wanted}.",
            fix="Give the folder of the official files, or other subjects.",
        )
    return tuple(subject for subject in there if subjects is None or subject in subjects)


def rows_of(path: Path) -> Iterator[tuple[SolutionPlace, Mapping[str, Any]]]:
    """Yield the rows of a subject's file as they are, each with its place.

    Raises: DataError: the file is not an object of lists of objects.
    """
    for key, listed in _object_of(path).items():
        if not isinstance(listed, list) or not key.strip():
            raise Place(path).error(f"the value of {shown(key)} must be a list of solutions.")
        for index, row in enumerate(listed):
            place = SolutionPlace(path, key, index)
            if not isinstance(row, dict):
                raise place.error("", "a solution must be an object.")
            yield place, row


def sample_id(place: SolutionPlace, row: Mapping[str, Any]) -> str:
    """Return the id of a row: key, model and place under the key."""
    return f"{place.key}/{row.get('Sampled_Model', '')}/{place.index}"


def official_demos() -> dict[str, tuple[Demo, ...]]:
    """Return the official worked examples by sub-subject, their file checked."""
    return read_demos(official(f"{PART}/{DEMOS}"))


def read_demos(path: Path | str) -> dict[str, tuple[Demo, ...]]:
    """Return worked examples by sub-subject, in file order.

    Raises: DataError: an example cannot be read; names file, example and field.
    """
    path = Path(path)
    found: dict[str, list[Demo]] = {}
    for place, row in rows_of(path):
        coding = place.key == CODING
        own = {**row, "Subject": place.key}
        if coding:
            own["Model_Solution_Steps"] = place.text(row, "Solution")
        sample = _sample(place, own, CODING if coding else place.key.rsplit("_", 1)[-1])
        demo = Demo(sample, place.text(row, "cot_analysis"))
        found.setdefault(place.key, []).append(demo)
    return {name: tuple(demos) for name, demos in found.items()}


def final_choice(lines: Sequence[str]) -> str | None:
    """Return the letter of the last "Choice_X" in a solution; None where there is none."""
    found = _CHOICE.findall("\n".join(lines))
    return found[-1] if found else None


def _object_of(path: Path) -> dict[str, Any]:
    value = load_json(Place(path), decode(path, read_bytes(path)))
    if not isinstance(value, dict) or not value:
        raise Place(path).error("the file must hold one object with a list of solutions per key.")
    return value


def _sample(place: SolutionPlace, row: Mapping[str, Any], subject: str) -> CritiqueSample:
    coding = subject == CODING
    verdict = place.text(row, "Model_Solution_Correctness").strip().lower()
    if verdict not in (CORRECT, INCORRECT):
        raise place.error(
            "Model_Solution_Correctness", f"{shown(verdict)} is neither correct nor incorrect."
        )
    lines = _lines(place, row, coding)
    step, line = _gold(place, row, coding) if verdict == INCORRECT else (None, "")
    choice = None if coding else final_choice(lines)
    key = str(row.get("Ground_Truth_Answer_Modified") or row.get("Ground_Truth_Answer") or "")
    right = None if choice is None or not key.strip() else choice in key
    return place.sample(
        "Question",
        id=sample_id(place, row),
        key=place.key,
        subject=subject,
        sub_subject=place.text(row, "Subject"),
        question=place.text(row, "Question"),
        options="" if coding else place.text(row, "Options"),
        steps=unlabelled(lines) if coding else labelled(lines),
        gold_correct=verdict == CORRECT,
        gold_step=step,
        gold_line=line,
        reasons=_notes(place, row, "Model_Solution_Error_Reason"),
        fixes=_notes(place, row, "Model_Solution_Rectified_First_Error_Step"),
        source_model=place.text(row, "Sampled_Model"),
        final_choice=choice,
        process_only=None if right is None else right and verdict == INCORRECT,
    )


def _lines(place: SolutionPlace, row: Mapping[str, Any], coding: bool) -> list[str]:
    column = "Model_Solution_Steps"
    if coding and isinstance(row.get(column), str):
        return place.text(row, column).split("\n")
    return place.lines(row, column)


def _gold(place: SolutionPlace, row: Mapping[str, Any], coding: bool) -> tuple[int | None, str]:
    """Return the label, or the line, of the first error."""
    column = "Model_Solution_First_Error_Step"
    value = place.text(row, column, empty=True)
    if coding:
        return None, value
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 4):
        raise place.error(column, f"{shown(value)} is not the number of a step.")
    return int(digits), ""


def _notes(place: SolutionPlace, row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """Return what annotators wrote: a text, a list of texts, or nothing."""
    value = row.get(column)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(one, str) for one in listed):
        raise place.error(column, "this must be text or a list of texts.")
    return tuple(one for one in listed if one.strip() and one.strip().lower() != _NONE)


def _oddities(
    place: SolutionPlace, row: Mapping[str, Any], sample: CritiqueSample
) -> Iterator[str]:
    if row.get("Question_UUID") not in (None, place.key):
        yield OTHER_ID
    wrong = not sample.gold_correct
    if wrong and sample.coding and not sample.gold_line.strip():
        yield BLANK_LINE
    if sample.coding:
        return
    if wrong and sample.gold_step not in sample.labels:
        yield NO_SUCH_LABEL
    if len(sample.labels) < sum(step.label is not None for step in sample.steps):
        yield LABELS_REPEAT
