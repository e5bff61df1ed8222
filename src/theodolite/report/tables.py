"""Records as tables of words: caps, number formats, and columns of raw text kept back."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from theodolite.report.budget import (
    CELL_CHARACTERS,
    COLUMNS_PER_TABLE,
    NAME_CHARACTERS,
    ROWS_PER_TABLE,
    Budget,
)
from theodolite.report.numbers import format_plain, format_seconds
from theodolite.text.display import escape

_CELL_MARKUP = 24
# Columns under these names hold text of models or data; it stays hidden like a harmful sample's.
TEXT_COLUMNS = frozenset(
    {
        "answer",
        "completion",
        "content",
        "instruction",
        "messages",
        "output",
        "prompt",
        "question",
        "request",
        "response",
        "text",
    }
)


@dataclass(frozen=True)
class DataTable:
    """A table ready to print, with a sentence on what was left out.

    Args:
        numeric: per column, whether its cells are numbers (set to the right).
    """

    name: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: str


def data_table(
    name: str,
    records: Sequence[Mapping[str, Any]],
    *,
    budget: Budget,
    show_text: bool = False,
) -> DataTable:
    """Return records as a table, capped in rows, columns, cell length and bytes."""
    every = list(dict.fromkeys(str(key) for record in records for key in record))
    columns = every[:COLUMNS_PER_TABLE]
    rows, values = [], []
    for record in records[:ROWS_PER_TABLE]:
        named = {str(key): value for key, value in record.items()}
        line = [named.get(column) for column in columns]
        row = tuple(_words(*pair, show_text) for pair in zip(columns, line, strict=True))
        if not budget.take(sum(len(html.escape(text)) + _CELL_MARKUP for text in row)):
            break
        rows.append(row)
        values.append(line)
    return DataTable(
        name=escape(name, NAME_CHARACTERS),
        columns=tuple(_header(column) for column in columns),
        numeric=tuple(all(_is_number(line[i]) for line in values) for i in range(len(columns))),
        rows=tuple(rows),
        left_out=_left_out(len(records), len(rows), every),
    )


def _left_out(total: int, kept: int, every: Sequence[str]) -> str:
    parts = []
    if kept < total:
        parts.append(f"The first {kept} of {total} rows are shown.")
    if len(every) > COLUMNS_PER_TABLE:
        parts.append(f"The first {COLUMNS_PER_TABLE} of {len(every)} columns are shown.")
    if parts:
        parts.append("The run folder holds the whole table.")
    return " ".join(parts)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, Real) and not isinstance(value, bool))


def _header(column: str) -> str:
    """Return a column's name; durations carry their unit in the cells."""
    return escape(column, NAME_CHARACTERS).removesuffix("_seconds") or column


def _words(column: str, value: Any, show_text: bool) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Real):
        exact = value if isinstance(value, int) else float(value)
        if column == "seconds" or column.endswith("_seconds"):
            return format_seconds(exact)
        return format_plain(exact)
    text = str(value)
    if not show_text and column.lower() in TEXT_COLUMNS:
        return f"hidden, {len(text)} characters"
    return escape(text, CELL_CHARACTERS)
