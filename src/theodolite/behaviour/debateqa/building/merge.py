"""Merge the review sheets of people into the set: what stands, what falls, what is still open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.debateqa.building.build import CARD, FEW, ROWS, drafts_of, write_rows
from theodolite.behaviour.debateqa.building.request import FEWEST
from theodolite.behaviour.debateqa.review import (
    Draft,
    Merged,
    merge_reviews,
    read_review_sheets,
    write_review_sheet,
)
from theodolite.data.debates import PARTIAL_ANSWERS
from theodolite.data.json_object import read_json_object
from theodolite.data.prompts import shown
from theodolite.data.records import Place, read_records
from theodolite.errors import DataError
from theodolite.runs.atomic import as_run_error, write_text
from theodolite.runs.strict_json import strict_dumps
from theodolite.text.hashing import content_key

REVIEWED: Final = "reviewed"
"""Folder beside the unchecked rows, unless another one is named."""
OPEN: Final = "open.csv"
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Checked:
    """What is left after the review.

    Args:
        rows: questions with the perspectives that stand, two or more.
        merged: what the reviews came to.
        card: the data card with the counts of the review.
        folder: where all of it lies.
    """

    rows: tuple[Mapping[str, Any], ...]
    merged: Merged
    card: Mapping[str, Any]
    folder: Path


def merge_sheets(
    folder: Path | str, sheets: Sequence[Path | str], *, out: Path | None = None
) -> Checked:
    """Merge the sheets of reviewers into the perspectives of a run.

    Args:
        folder: of `data debates write`.
        sheets: that came back, of all reviewers.
        out: where the result is written; default: `reviewed` in the folder. What was merged there
            before is replaced.

    Returns: what stands; also in `debates.jsonl` and `data_card.json`, and what waits for another
        review in `open.csv`.

    Raises:
        DataError: the folder holds no perspectives, a sheet cannot be read or does not belong to
            them, or nothing stands yet.
    """
    folder = Path(folder)
    if not sheets:
        raise DataError("There is no sheet to merge.", fix="Give the sheets that came back.")
    rows = _rows(folder / ROWS)
    drafts = drafts_of(rows)
    merged = merge_reviews(drafts, read_review_sheets(sheets, drafts), name="debates/review")
    kept = kept_rows(rows, merged)
    card = _card(_card_of(folder), merged, drafts, kept)
    target = out if out is not None else folder / REVIEWED
    if target.resolve() == folder.resolve():
        raise DataError(
            f"{shown(str(folder))} holds what was sent to the reviewers.",
            fix="Name another folder with --out.",
        )
    with as_run_error(target):
        target.mkdir(parents=True, exist_ok=True)
        write_text(target / CARD, strict_dumps(card, indent=1) + "\n")
        (target / OPEN).unlink(missing_ok=True)
    waiting = [draft for draft in drafts if draft.key in merged.open]
    if waiting:
        write_review_sheet(target / OPEN, waiting)
    write_rows(target / ROWS, kept)
    return Checked(tuple(kept), merged, card, target)


def kept_rows(rows: Sequence[Mapping[str, Any]], merged: Merged) -> list[dict[str, Any]]:
    """Return the rows with the perspectives that stand; those with fewer than two are left out."""
    stands = {draft.key for draft in merged.kept}
    found = []
    for row in rows:
        views = [
            view
            for index, view in enumerate(row[PARTIAL_ANSWERS])
            if (str(row["id"]), index) in stands
        ]
        if len(views) >= FEWEST:
            found.append({**row, "reviewed": True, PARTIAL_ANSWERS: views})
    return found


def summary(checked: Checked) -> list[dict[str, Any]]:
    """Return what the terminal shows: counts by outcome and reason."""
    merged = checked.merged
    counted = [("stands", "two reviewers agree", len(merged.kept))]
    for what, found in (("falls", merged.dropped), ("waits", merged.open)):
        counted += [(what, why, n) for why, n in sorted(Counter(found.values()).items())]
    return [dict(zip(("perspective", "because", "count"), one)) for one in counted]


def findings(checked: Checked) -> list[str]:
    """Say what is left, and what is to be done."""
    said = [
        f"{len(checked.rows)} questions stand, with "
        f"{sum(len(row[PARTIAL_ANSWERS]) for row in checked.rows)} perspectives that people have "
        f"checked: {checked.folder / ROWS}."
    ]
    if checked.merged.open:
        said.append(
            f"{len(checked.merged.open)} perspectives wait: send {checked.folder / OPEN} to "
            "another reviewer, and merge all sheets again."
        )
    return said


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(
            f"There are no perspectives in {shown(str(path.parent))}.",
            fix="Name the folder of a run of `theodolite data debates write`.",
        )
    rows = [dict(record.values) for record in read_records(path)]
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get(PARTIAL_ANSWERS), list) or not isinstance(row.get("id"), str):
            raise Place(path, number, PARTIAL_ANSWERS).error(
                "this is no row of `data debates write`.", "Leave the file as it was written."
            )
    return rows


def _card_of(folder: Path) -> dict[str, Any]:
    return read_json_object(
        folder / CARD, most_bytes=_MOST_BYTES, fix="Leave it in the folder as it was written."
    )


def _card(
    card: Mapping[str, Any], merged: Merged, drafts: Sequence[Draft], kept: Sequence[Any]
) -> dict[str, Any]:
    questions = {draft.question for draft in drafts}
    stand = sum(len(row[PARTIAL_ANSWERS]) for row in kept)
    return {
        **card,
        "reviewed": not merged.open,
        "review": {
            "perspectives": len(drafts),
            "stand": len(merged.kept),
            "fall": dict(sorted(Counter(merged.dropped.values()).items())),
            "wait": dict(sorted(Counter(merged.open.values()).items())),
            "questions": len(kept),
            "questions_left_out": {FEW: len(questions) - len(kept)},
            "perspectives_kept": stand,
            "agreement": {
                m.name: {"value": m.value, "low": m.low, "high": m.high, "n": m.n}
                for m in merged.measurements
            },
        },
        "key": content_key(list(kept)),
    }
