"""Sheets go out harmless and come back as they were; what is wrong in them is named by place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.behaviour.sheets import (
    guarded,
    read_sheet,
    restored,
    whole_number,
    write_sheet,
    yes_or_no,
)
from theodolite.data.records import Place
from theodolite.errors import DataError

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
HOSTILE = st.text(st.sampled_from("'=+-@\t\r\n \"a,;"), max_size=8)
HERE = Place(Path("sheet.csv"), 3, "grounded")


@given(st.one_of(TEXT, HOSTILE))
def test_every_text_comes_back_and_none_begins_like_a_formula(text: str) -> None:
    assert restored(guarded(text)) == text
    assert not guarded(text).lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r\n=1", " =1", "'=1", "''@x"]
)
def test_formulas_are_defused(cell: str) -> None:
    assert guarded(cell) == "'" + cell
    assert guarded("plain - text") == "plain - text" and restored("'tis") == "'tis"


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.one_of(TEXT, HOSTILE), TEXT), min_size=1, max_size=5))
def test_a_sheet_comes_back_cell_by_cell(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sheets") / "sheet.csv"
    write_sheet(
        path, ("id", "a", "b"), [{"id": i, "a": a, "b": b} for i, (a, b) in enumerate(rows)]
    )
    back = read_sheet(path, ("id", "a", "b"))
    assert [(r.values["a"], r.values["b"]) for r in back] == rows


def test_columns_are_found_by_name_and_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text('Extra,Note Text,ID\n1,"two\nlines",a\n2,b\n', "utf-8")
    found = read_sheet(path, ("id", "note_text"))
    assert [(r.line, r.values) for r in found] == [
        (2, {"id": "a", "note_text": "two\nlines"}),
        (4, {"id": "", "note_text": "b"}),
    ]


def test_a_missing_column_and_a_wrong_ending_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("id,reviewr\n1,x\n", "utf-8")
    with pytest.raises(
        DataError, match=r"sheet.csv, line 1, field 'reviewer': .* missing.*reviewr"
    ):
        read_sheet(path, ("id", "reviewer"))
    with pytest.raises(DataError, match=r"a \.csv file"):
        write_sheet(tmp_path / "sheet.xlsx", ("id",), [])
    with pytest.raises(DataError, match="surrogate"):
        write_sheet(path, ("id",), [{"id": "\ud800"}])
    assert path.read_text("utf-8").startswith("id,reviewr")  # what was there is there


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("y", True),
        (" Yes ", True),
        ("1", True),
        ("n", False),
        ("0", False),
        ("", None),
        ("  ", None),
    ],
)
def test_yes_and_no(cell: str, said: bool | None) -> None:
    assert yes_or_no(HERE, cell) is said


def test_cells_that_say_neither_are_named_by_place() -> None:
    with pytest.raises(
        DataError, match=r"sheet\.csv, line 3, field 'grounded': 'maybe' is neither"
    ):
        yes_or_no(HERE, "maybe")
    with pytest.raises(DataError, match="'6' is not a whole number from 1 to 5"):
        whole_number(HERE, "6", least=1, most=5)
    for bad in ("-1", "1.5", "²", "9" * 30, "=1"):
        with pytest.raises(DataError, match="not a whole number"):
            whole_number(HERE, bad)
    assert (whole_number(HERE, "4.0"), whole_number(HERE, " 2 "), whole_number(HERE, "")) == (
        4,
        2,
        None,
    )
