"""Sheets that people fill in: CSV files that no spreadsheet program mistakes for formulas.

A cell that begins like a formula gets an apostrophe in front on the way out and loses it on the way
in, so that every text comes back as it was.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from theodolite.data.aliases import fold
from theodolite.data.prompts import check_text, shown
from theodolite.data.records import Place, Record, read_records
from theodolite.runs.atomic import as_run_error, write_bytes
from theodolite.text.suggest import did_you_mean

MARK: Final = "'"
_FORMULA: Final = re.compile(rf"{MARK}*\s*[=+\-@\t\r\n]")
_YES: Final = frozenset({"y", "yes", "1", "true", "x"})
_NO: Final = frozenset({"n", "no", "0", "false"})
# Spreadsheet programs read UTF-8 only where the file says so.
_BOM: Final = "\ufeff"


def guarded(cell: str) -> str:
    """Return a cell that no spreadsheet program runs; `restored` gives the text back."""
    return MARK + cell if _FORMULA.match(cell) else cell


def restored(cell: str) -> str:
    """Return the text of a cell that `guarded` wrote, or that a person typed."""
    marked = cell.startswith(MARK) and _FORMULA.match(cell)
    return cell[len(MARK) :] if marked else cell


def write_sheet(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write a sheet; the file is there in full or not at all.

    Args:
        path: ends in .csv.
        columns: in order; a row without one has an empty cell there, None is an empty cell.
        rows: values by column.

    Raises:
        DataError: a text cannot be encoded, or the ending is not .csv.
        RunError: the file cannot be written.
    """
    check_ending(path)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        cells = ["" if row.get(name) is None else str(row[name]) for name in columns]
        for name, cell in zip(columns, cells):
            check_text(name, cell)
        writer.writerow(map(guarded, cells))
    with as_run_error(path):
        write_bytes(path, (_BOM + text.getvalue()).encode("utf-8"))


def read_sheet(path: Path | str, columns: Sequence[str]) -> list[Record]:
    """Return the rows of a sheet that came back, all columns present, texts restored.

    Args:
        path: a .csv file.
        columns: those that are needed; others are ignored.

    Raises:
        DataError: the file cannot be read, or a column is missing; names file, line and column.
    """
    path = Path(path)
    check_ending(path)
    records = read_records(path)
    header = {fold(name) for record in records for name in record.values}
    for name in columns:
        if name not in header:
            near = did_you_mean(name, [fold(found) for found in header])
            raise Place(path, 1, name).error("the column is missing.", near)
    return [
        Record(
            record.line,
            dict.fromkeys(columns, "")
            | {
                fold(name): restored(str(cell))
                for name, cell in record.values.items()
                if fold(name) in columns
            },
        )
        for record in records
    ]


def yes_or_no(place: Place, cell: str) -> bool | None:
    """Return a cell as yes or no; None where it is empty.

    Raises: DataError: it is neither.
    """
    word = cell.strip().lower()
    if word and word not in _YES | _NO:
        raise place.error(f"{shown(cell)} is neither yes nor no.", "Write y or n.")
    return word in _YES if word else None


def whole_number(place: Place, cell: str, *, least: int = 0, most: int | None = None) -> int | None:
    """Return a cell as a whole number; None where it is empty.

    Raises: DataError: it is none, or out of its range.
    """
    text = cell.strip().removesuffix(".0")
    if not text:
        return None
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    if number is None or number < least or (most is not None and number > most):
        upper = "up" if most is None else f"to {most}"
        raise place.error(f"{shown(cell)} is not a whole number from {least} {upper}.")
    return number


def check_ending(path: Path) -> None:
    """Refuse a sheet that is not named .csv; raises DataError."""
    if path.suffix.lower() != ".csv":
        raise Place(path).error("a sheet is a .csv file.", "Name it so.")
