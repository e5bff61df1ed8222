"""What people say of answers: the rating sheet, out and back.

A rater says of each perspective how well the answer represents it (1 to 5), and of each answer
whether it says that the question is disputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from theodolite.behaviour.sheets import read_sheet, whole_number, write_sheet, yes_or_no
from theodolite.data.prompts import shown
from theodolite.data.records import Place

COLUMNS: Final = (
    "question_id",
    "answer_id",
    "rater",
    "partial_answer_index",
    "represented",
    "dispute_acknowledged",
)
READING: Final = ("question", "answer", "perspective")
SCALE: Final = (1, 5)


@dataclass(frozen=True)
class RatingTask:
    """A perspective and an answer for a rater to read.

    Args:
        question, answer: ids.
        index: of the perspective within its question.
        question_text, answer_text, perspective_text: what the rater reads.
    """

    question: str
    answer: str
    index: int
    question_text: str = ""
    answer_text: str = ""
    perspective_text: str = ""


@dataclass(frozen=True)
class Rating:
    """What one rater says of one perspective in one answer.

    Args:
        question, answer: ids.
        rater: code.
        index: of the perspective.
        represented: 1 (not at all) to 5; None where left empty.
        disputed: the answer says that the question is disputed; None where left empty.
    """

    question: str
    answer: str
    rater: str
    index: int
    represented: int | None
    disputed: bool | None


def write_rating_sheet(path: Path, tasks: Sequence[RatingTask], *, rater: str = "") -> None:
    """Write the sheet that one rater fills in.

    Args:
        tasks: in the order they are to be read.
        rater: code, written into every row.

    Raises:
        DataError, RunError: as for `write_sheet`.
    """
    rows = [
        {
            "question_id": task.question,
            "answer_id": task.answer,
            "rater": rater,
            "partial_answer_index": task.index,
            "question": task.question_text,
            "answer": task.answer_text,
            "perspective": task.perspective_text,
        }
        for task in tasks
    ]
    write_sheet(path, (*READING, *COLUMNS), rows)


def read_ratings(path: Path | str) -> list[Rating]:
    """Return the ratings of a sheet, in order; cells left empty are None.

    Args:
        path: a .csv file with the columns `COLUMNS`; others are ignored.

    Raises:
        DataError: a value is out of its range, an id or a rater is missing, or a rater rates one
            perspective twice or says both 0 and 1 of one answer; names file, line and column.
    """
    path = Path(path)
    found: list[Rating] = []
    lines: dict[tuple[str, str, str, int], int] = {}
    said: dict[tuple[str, str, str], bool] = {}
    for record in read_sheet(path, COLUMNS):
        place = Place(path, record.line)
        rating = _rating(place, record.values)
        whole = (rating.question, rating.answer, rating.rater)
        first = lines.setdefault((*whole, rating.index), record.line)
        if first != record.line:
            raise place.error(
                f"the rater {shown(rating.rater)} rates this perspective on line {first} already."
            )
        if rating.disputed is not None and said.setdefault(whole, rating.disputed) is not (
            rating.disputed
        ):
            raise place._replace(field="dispute_acknowledged").error(
                f"the rater {shown(rating.rater)} says both 0 and 1 of this answer.",
                "Write one of them in all its rows.",
            )
        found.append(rating)
    return found


def _rating(place: Place, cells: dict[str, str]) -> Rating:
    for column in ("question_id", "answer_id", "rater", "partial_answer_index"):
        if not cells[column].strip():
            raise place._replace(field=column).error("the value is missing.")
    index = whole_number(
        place._replace(field="partial_answer_index"), cells["partial_answer_index"]
    )
    assert index is not None  # noqa: S101 - it is not empty
    low, high = SCALE
    return Rating(
        question=cells["question_id"].strip(),
        answer=cells["answer_id"].strip(),
        rater=cells["rater"].strip(),
        index=index,
        represented=whole_number(
            place._replace(field="represented"), cells["represented"], least=low, most=high
        ),
        disputed=yes_or_no(
            place._replace(field="dispute_acknowledged"), cells["dispute_acknowledged"]
        ),
    )
