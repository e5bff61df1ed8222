"""Two reviewers, a third where they differ: what stands, what falls, and what is still open."""

from __future__ import annotations

from pathlib import Path

import pytest

from theodolite.behaviour.debateqa import review as module
from theodolite.behaviour.debateqa.review import (
    COLUMNS,
    Draft,
    Review,
    merge_reviews,
    read_review_sheets,
    write_review_sheet,
)
from theodolite.behaviour.sheets import read_sheet, write_sheet
from theodolite.errors import DataError

DRAFTS = [
    Draft("q1", i, f"=Point {i}", f"- because of {i},\nas people say", "1; 2") for i in range(4)
]
Said = tuple[bool, bool, int | None]
FINE: Said = (True, True, None)


def reviews(*said: tuple[int, str, Said]) -> list[Review]:
    return [Review(("q1", i), who, *what) for i, who, what in said]


def filled(path: Path, reviewer: str, cells: dict[int, dict[str, str]]) -> Path:
    """Write a reviewer's sheet, then fill in rows as a person would."""
    write_review_sheet(path, DRAFTS, reviewer=reviewer)
    rows = [dict(record.values) for record in read_sheet(path, COLUMNS)]
    for index, values in cells.items():
        rows[index] |= values
    write_sheet(path, COLUMNS, rows)
    return path


def test_sheets_come_back_with_what_was_filled_in(tmp_path: Path) -> None:
    yes = {"grounded": "y", "one_perspective": "y"}
    first = filled(tmp_path / "a.csv", "A", {0: yes, 2: yes | {"duplicate_of": "0", "note": "+"}})
    second = filled(tmp_path / "b.csv", "B", {0: yes | {"grounded": "no"}})
    assert b"'=Point 0" in first.read_bytes()
    assert read_review_sheets([first, second], DRAFTS) == [
        Review(("q1", 0), "A", True, True),
        Review(("q1", 2), "A", True, True, 0, "+"),
        Review(("q1", 0), "B", False, True),
    ]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"grounded": "y"}, "field 'one_perspective': the check is missing"),
        ({"grounded": "x?", "one_perspective": "y"}, "field 'grounded': 'x\\?' is neither"),
        ({"grounded": "y", "one_perspective": "y", "reviewer": " "}, "field 'reviewer'"),
        ({"grounded": "y", "one_perspective": "y", "duplicate_of": "1"}, "no earlier perspective"),
        ({"grounded": "y", "one_perspective": "y", "duplicate_of": "9"}, "no earlier perspective"),
        ({"explanation": "other words"}, "field 'explanation': the text was changed"),
        ({"question_id": "q9"}, "belongs to no perspective"),
    ],
)
def test_what_is_wrong_in_a_sheet_is_named_by_file_and_line(
    tmp_path: Path, cells: dict[str, str], words: str
) -> None:
    path = filled(tmp_path / "a.csv", "A", {1: cells})
    # Row 1 begins on line 4: the explanation of row 0 takes two lines.
    with pytest.raises(DataError, match=rf"a\.csv, line 4.*{words}"):
        read_review_sheets([path], DRAFTS)


def test_a_reviewer_reviews_a_row_once(tmp_path: Path) -> None:
    yes = {"grounded": "y", "one_perspective": "y"}
    paths = [filled(tmp_path / f"{name}.csv", "A", {0: yes}) for name in "ab"]
    with pytest.raises(DataError, match=r"b\.csv, line 2: the reviewer 'A' has reviewed"):
        read_review_sheets(paths, DRAFTS)


def test_two_that_agree_decide_and_a_third_decides_between_two() -> None:
    no: Said = (False, True, None)
    merged = merge_reviews(
        DRAFTS,
        reviews(
            *((0, who, FINE) for who in "AB"),
            *((1, who, no) for who in "AB"),
            *((2, who, what) for who, what in zip("ABC", (FINE, no, FINE))),
            *((3, who, what) for who, what in zip("AB", (FINE, no))),
        ),
    )
    assert [draft.index for draft in merged.kept] == [0, 2]
    assert merged.dropped == {("q1", 1): module.NOT_GROUNDED}
    assert merged.open == {("q1", 3): module.NEEDS_THIRD}
    one = merge_reviews(DRAFTS[:1], reviews((0, "A", FINE)))
    assert one.open == {("q1", 0): module.NEEDS_SECOND}


def test_a_repeat_falls_only_where_what_it_repeats_stands() -> None:
    def merged(of_first: Said, chain: bool = False) -> module.Merged:
        repeats: Said = (True, True, 0)
        third: Said = (True, True, 1 if chain else 0)
        rows = [(0, of_first), (1, repeats), (2, third), (3, FINE)]
        return merge_reviews(DRAFTS, reviews(*((i, who, s) for i, s in rows for who in "AB")))

    for chain in (False, True):
        stands = merged(FINE, chain)
        assert [draft.index for draft in stands.kept] == [0, 3]
        assert set(stands.dropped.values()) == {module.REPEATS}
    falls = merged((False, True, None))
    assert [draft.index for draft in falls.kept] == [1, 2, 3]
    waits = merge_reviews(
        DRAFTS[:2], reviews((0, "A", FINE), *((1, who, (True, True, 0)) for who in "AB"))
    )
    assert waits.open == {("q1", 0): module.NEEDS_SECOND, ("q1", 1): module.WAITS}


def test_agreement_is_that_of_the_first_two() -> None:
    no: Said = (True, False, None)
    merged = merge_reviews(
        DRAFTS,
        reviews(
            *((0, who, FINE) for who in "AB"),
            *((1, who, no) for who in "AB"),
            *((2, who, what) for who, what in zip("ABC", (FINE, no, no))),
            (3, "A", FINE),
        ),
    )
    found = {one.name: one for one in merged.measurements}
    agree, kappa = (found[f"review/one_perspective/{what}"] for what in ("agreement", "kappa"))
    assert agree.value == pytest.approx(2 / 3) and agree.unscored.count == 1
    assert kappa.value == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    assert found["review/grounded/kappa"].status == "not_measured"


def test_four_reviews_are_one_too_many() -> None:
    with pytest.raises(DataError, match="more than 3 reviews"):
        merge_reviews(DRAFTS, reviews(*((0, who, FINE) for who in "ABCD")))
