"""People check drafted perspectives: sheet out, sheets back, what stands, what falls, what is open.

Every perspective is checked by two reviewers; where they disagree a third one decides. Checked is
whether it is grounded in its passages, whether it answers the question from one perspective, and
whether it repeats an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from theodolite.behaviour.sheets import (
    read_sheet,
    whole_number,
    write_sheet,
    yes_or_no,
)
from theodolite.data.prompts import shown
from theodolite.data.records import Place
from theodolite.errors import DataError
from theodolite.measure.agreement import agreement, cohen_kappa
from theodolite.measure.measurement import Measurement

COLUMNS: Final = (
    "question_id",
    "perspective",
    "point_of_view",
    "explanation",
    "passages",
    "grounded",
    "one_perspective",
    "duplicate_of",
    "note",
    "reviewer",
)
REVIEWERS: Final = 2
MOST_REVIEWERS: Final = 3
CHECKS: Final = ("grounded", "one_perspective", "duplicate")
NOT_GROUNDED: Final = "not grounded in its passages"
SEVERAL: Final = "not an answer from one perspective"
REPEATS: Final = "repeats an earlier perspective"
NEEDS_SECOND: Final = "needs two reviews"
NEEDS_THIRD: Final = "the reviewers disagree: needs a third review"
WAITS: Final = "waits for the perspective it repeats"

Key = tuple[str, int]


@dataclass(frozen=True)
class Draft:
    """A perspective that waits for review.

    Args:
        question: id.
        index: of the perspective within its question.
        point_of_view, explanation: its text.
        passages: what it was drawn from, as shown to the reviewer.
    """

    question: str
    index: int
    point_of_view: str
    explanation: str
    passages: str = ""

    @property
    def key(self) -> Key:
        """Names the draft."""
        return self.question, self.index


@dataclass(frozen=True)
class Review:
    """What one reviewer says of one draft.

    Args:
        key: of the draft.
        reviewer: code.
        grounded, one_perspective: the two checks.
        duplicate_of: index of the earlier perspective it repeats; None where it repeats none.
        note: free text.
    """

    key: Key
    reviewer: str
    grounded: bool
    one_perspective: bool
    duplicate_of: int | None = None
    note: str = ""

    def said(self, check: str) -> bool:
        """Return what the review says to one of `CHECKS`."""
        if check == "duplicate":
            return self.duplicate_of is not None
        return self.grounded if check == "grounded" else self.one_perspective


@dataclass(frozen=True)
class Merged:
    """What the reviews come to.

    Args:
        kept: drafts that stand, in order.
        dropped: why the others fall.
        open: what has to be done before the rest is decided.
        measurements: agreement and Cohen's kappa of the first two reviewers, per check.
    """

    kept: tuple[Draft, ...]
    dropped: dict[Key, str]
    open: dict[Key, str]
    measurements: tuple[Measurement, ...]


def write_review_sheet(path: Path, drafts: Sequence[Draft], *, reviewer: str = "") -> None:
    """Write the sheet that one reviewer fills in.

    Args:
        drafts: in the order they are to be read.
        reviewer: code, written into every row.

    Raises:
        DataError, RunError: as for `write_sheet`.
    """
    rows = [
        {
            "question_id": draft.question,
            "perspective": draft.index,
            "point_of_view": draft.point_of_view,
            "explanation": draft.explanation,
            "passages": draft.passages,
            "reviewer": reviewer,
        }
        for draft in drafts
    ]
    write_sheet(path, COLUMNS, rows)


def read_review_sheets(paths: Iterable[Path | str], drafts: Sequence[Draft]) -> list[Review]:
    """Return the reviews of sheets that came back, in order; rows not filled in are left out.

    Args:
        paths: the sheets of all reviewers.
        drafts: what was sent out.

    Raises:
        DataError: a row belongs to no draft or its text was changed, a check is neither yes nor no
            or is missing, or a reviewer has a row twice; names file, line and column.
    """
    known = {draft.key: draft for draft in drafts}
    found: list[Review] = []
    seen: set[tuple[Key, str]] = set()
    for path in map(Path, paths):
        for record in read_sheet(path, COLUMNS):
            place = Place(path, record.line)
            review = _review(place, record.values, known)
            if review is None:
                continue
            if (review.key, review.reviewer) in seen:
                raise place.error(
                    f"the reviewer {shown(review.reviewer)} has reviewed this row before."
                )
            seen.add((review.key, review.reviewer))
            found.append(review)
    return found


def merge_reviews(
    drafts: Sequence[Draft], reviews: Sequence[Review], *, name: str = "review"
) -> Merged:
    """Return which drafts stand.

    Args:
        drafts: what was sent out, repeats after what they repeat.
        reviews: two of each draft, a third where those disagree.
        name: the front of the measurements' names.

    Raises:
        DataError: a draft has more than three reviews.
    """
    of: dict[Key, list[Review]] = {draft.key: [] for draft in drafts}
    for review in reviews:
        of[review.key].append(review)
        if len(of[review.key]) > MOST_REVIEWERS:
            raise DataError(
                f"Perspective {review.key[1]} of question {shown(review.key[0])} has more than "
                f"{MOST_REVIEWERS} reviews.",
                fix="Leave out a sheet.",
            )
    kept: list[Draft] = []
    dropped: dict[Key, str] = {}
    waiting: dict[Key, str] = {}
    for draft in sorted(drafts, key=lambda draft: draft.index):
        why = _fate(draft, of[draft.key], of, dropped, waiting)
        if why is None:
            kept.append(draft)
        else:
            (waiting if why in (NEEDS_SECOND, NEEDS_THIRD, WAITS) else dropped)[draft.key] = why
    order = {draft.key: place for place, draft in enumerate(drafts)}
    kept.sort(key=lambda draft: order[draft.key])
    return Merged(tuple(kept), dropped, waiting, tuple(_agreements(of, name)))


def _review(place: Place, cells: dict[str, str], known: dict[Key, Draft]) -> Review | None:
    """Return the review of one row; None where it is not filled in."""
    index = whole_number(place._replace(field="perspective"), cells["perspective"])
    draft = known.get((cells["question_id"], -1 if index is None else index))
    if draft is None:
        raise place.error("the row belongs to no perspective that was sent out.")
    for column in ("point_of_view", "explanation"):
        if cells[column].split() != str(getattr(draft, column)).split():
            raise place._replace(field=column).error(
                "the text was changed.", "Keep it, and write what is wrong into 'note'."
            )
    said = [
        yes_or_no(place._replace(field=column), cells[column])
        for column in ("grounded", "one_perspective")
    ]
    if said == [None, None]:
        return None
    for column, value in zip(("grounded", "one_perspective"), said):
        if value is None:
            raise place._replace(field=column).error("the check is missing.", "Write y or n.")
    reviewer = cells["reviewer"].strip()
    if not reviewer:
        raise place._replace(field="reviewer").error("the reviewer's code is missing.")
    repeats = place._replace(field="duplicate_of")
    earlier = whole_number(repeats, cells["duplicate_of"])
    if earlier is not None and not ((draft.question, earlier) in known and earlier < draft.index):
        raise repeats.error(
            f"perspective {earlier} is no earlier perspective of this question.",
            "Mark the later one of two that say the same.",
        )
    return Review(draft.key, reviewer, bool(said[0]), bool(said[1]), earlier, cells["note"])


def _fate(
    draft: Draft,
    own: Sequence[Review],
    of: dict[Key, list[Review]],
    dropped: dict[Key, str],
    waiting: dict[Key, str],
) -> str | None:
    """Return why a draft falls or waits; None where it stands."""
    if len(own) < REVIEWERS:
        return NEEDS_SECOND
    said = {check: _decided(own, check) for check in CHECKS}
    if said["grounded"] is False:
        return NOT_GROUNDED
    if said["one_perspective"] is False:
        return SEVERAL
    if None in said.values():
        return NEEDS_THIRD
    if not said["duplicate"]:
        return None
    # What repeats a perspective that falls for another reason stands in its place.
    earlier = _original(own, draft.question)
    while dropped.get(earlier) == REPEATS:
        earlier = _original(of[earlier], draft.question)
    if earlier in waiting:
        return WAITS
    return None if earlier in dropped else REPEATS


def _original(own: Sequence[Review], question: str) -> Key:
    """Return the earlier perspective that the first reviewer who names one names."""
    return question, next(r.duplicate_of for r in own if r.duplicate_of is not None)


def _decided(own: Sequence[Review], check: str) -> bool | None:
    """Return what two reviewers agree on, else what the third says; None without a third."""
    votes = [review.said(check) for review in own]
    if votes[0] is votes[1]:
        return votes[0]
    return votes[REVIEWERS] if len(votes) > REVIEWERS else None


def _agreements(of: dict[Key, list[Review]], name: str) -> list[Measurement]:
    """Return how far the first two reviewers of each draft agree."""
    pairs = [(key, own[:REVIEWERS]) for key, own in of.items()]
    found = []
    for check in CHECKS:
        first, second = (
            [own[i].said(check) if len(own) == REVIEWERS else None for _, own in pairs]
            for i in range(REVIEWERS)
        )
        clusters = [key[0] for key, _ in pairs]
        found += [
            agreement(first, second, clusters=clusters, name=f"{name}/{check}/agreement"),
            cohen_kappa(first, second, clusters=clusters, name=f"{name}/{check}/kappa"),
        ]
    return found
