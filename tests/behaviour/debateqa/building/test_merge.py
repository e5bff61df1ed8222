"""Sheets of reviewers come back: what stands is the set, what waits goes out again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.debateqa.building.made import files, writer
from theodolite.behaviour.debateqa.building.build import CARD, ROWS, SHEET, records_of, write_folder
from theodolite.behaviour.debateqa.building.merge import OPEN, findings, merge_sheets, summary
from theodolite.behaviour.debateqa.building.request import BuildRequest, asked_of
from theodolite.behaviour.debateqa.data import load_rows
from theodolite.behaviour.debateqa.review import COLUMNS, NEEDS_THIRD, NOT_GROUNDED
from theodolite.behaviour.sheets import read_sheet, write_sheet
from theodolite.data.debates import perspectives_of
from theodolite.errors import DataError
from theodolite.runs.run import Run

FINE = {"grounded": "y", "one_perspective": "y"}
FALSE = {"grounded": "n", "one_perspective": "y"}
THREE = (
    "VIEW: Cities should close their centres to cars [1]\n"
    "VIEW: Shops in the centre live from drivers [2]\nVIEW: Nobody minds either way [1]"
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two questions with three perspectives each, once."""
    folder = tmp_path_factory.mktemp("debates")
    asked = asked_of(BuildRequest(**files(folder, 2), entailment=False))
    with Run.create("data debates write", "mock", out=folder / "run") as run:
        records = records_of(writer(THREE).model, asked, run=run)
        write_folder(asked, records, {"model": "mock", "fingerprint": "f"}, run.path)
    return folder / "run"


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "run"))


def sheet(folder: Path, reviewer: str, cells: dict[int, dict[str, str]]) -> Path:
    """Fill in the sheet as a person would: all fine but for some rows."""
    rows = [dict(record.values) for record in read_sheet(folder / SHEET, COLUMNS)]
    for place, row in enumerate(rows):
        row.update(FINE | {"reviewer": reviewer} | cells.get(place, {}))
    path = folder.parent / f"{reviewer}.csv"
    write_sheet(path, COLUMNS, rows)
    return path


def test_what_two_reviewers_pass_is_the_set(folder: Path) -> None:
    """Row 1 falls for both; row 2 repeats row 0, so the first question keeps too few."""
    both: dict[int, dict[str, str]] = {1: FALSE, 2: {"duplicate_of": "0"}, 5: FALSE}
    sheets = [sheet(folder, name, both) for name in "AB"]
    checked = merge_sheets(folder, sheets)
    rows = load_rows(folder / "reviewed" / ROWS, controls=0)
    assert [row.id for row in rows] == ["q1"] and rows[0].meta["reviewed"] is True
    assert [one.point_of_view for one in perspectives_of(rows[0])] == [
        "Cities should close their centres to cars",
        "Shops in the centre live from drivers",
    ]
    card: dict[str, Any] = json.loads((folder / "reviewed" / CARD).read_text())
    assert card["reviewed"] is True and card["written_by"]["model"] == "mock"
    assert card["review"]["stand"] == 3 and card["review"]["fall"][NOT_GROUNDED] == 2
    assert card["review"]["questions"] == 1
    assert sum(row["count"] for row in summary(checked)) == 6
    assert not (folder / "reviewed" / OPEN).exists()


def test_what_is_open_goes_out_again_and_is_merged_with_a_third_sheet(folder: Path) -> None:
    sheets = [sheet(folder, "A", {0: FALSE}), sheet(folder, "B", {})]
    checked = merge_sheets(folder, sheets)
    again = read_sheet(folder / "reviewed" / OPEN, COLUMNS)
    assert [row.values["question_id"] for row in again] == ["q0"]
    assert list(checked.merged.open.values()) == [NEEDS_THIRD]
    assert checked.card["reviewed"] is False and "1 perspectives wait" in findings(checked)[1]
    write_sheet(
        folder.parent / "C.csv",
        COLUMNS,
        [dict(row.values) | FINE | {"reviewer": "C"} for row in again],
    )
    after = merge_sheets(folder, [*sheets, folder.parent / "C.csv"])
    assert after.card["reviewed"] is True and len(after.merged.kept) == 6
    assert not (folder / "reviewed" / OPEN).exists()


def test_the_same_sheets_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    sheets = [sheet(folder, name, {4: FALSE}) for name in "AB"]
    first = merge_sheets(folder, sheets, out=tmp_path / "a").folder
    second = merge_sheets(folder, sheets, out=tmp_path / "b").folder
    for name in (ROWS, CARD):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_what_cannot_be_merged_is_refused(folder: Path, tmp_path: Path) -> None:
    filled = sheet(folder, "A", {})
    for sheets, where, says in (
        ([], folder, "no sheet"),
        ([filled], tmp_path, "no perspectives in"),
        ([tmp_path / "none.csv"], folder, "none.csv"),
    ):
        with pytest.raises(DataError, match=says):
            merge_sheets(where, sheets)
    with pytest.raises(DataError, match="what was sent"):
        merge_sheets(folder, [filled], out=folder)
    (folder / CARD).write_text("[]")
    with pytest.raises(DataError, match="data_card"):
        merge_sheets(folder, [filled])
    (folder / ROWS).write_text('{"id": 3}\n')
    with pytest.raises(DataError, match="no row of"):
        merge_sheets(folder, [filled])
