"""The terminal's summary of a report: the key figures in 80 columns, text of others escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theodolite.report.numbers import format_seconds
from theodolite.report.rows import MeasurementRow, measurement_rows
from theodolite.text.display import escape

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from theodolite.report.document import Report, ReportPanel

_STYLES = {"incomplete": "yellow", "not_measured": "dim", "failed": "red", "skipped": "dim"}
_OVERVIEW = 12


def summary_lines(report: Report) -> RenderableType:
    """Return a rich renderable: the findings, the key figures, what was not done and why."""
    from rich.console import Group
    from rich.padding import Padding

    said = report.overview[:_OVERVIEW]
    lines: list[RenderableType] = [_text(sentence, 400) for sentence in said]
    table = _table(report)
    if table.row_count:
        lines.append(Padding(table, (1, 0)))
    for panel in report.panels:
        if panel.status != "done" and not any(panel.reason in sentence for sentence in said):
            lines.append(_unfinished(panel))
    return Group(*lines)


def _table(report: Report) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
    table.add_column("Measure", max_width=30, overflow="fold")
    table.add_column("Value", justify="right", max_width=12, overflow="fold")
    table.add_column("Interval", max_width=13, overflow="fold")
    table.add_column("Floor", max_width=9, overflow="fold")
    table.add_column("Items", justify="right", max_width=8, overflow="fold")
    for panel in report.panels:
        if panel.status != "done":
            continue
        time = f"  ({format_seconds(panel.seconds)})"
        table.add_row(_text(panel.title, 60, "bold", tail=time))
        for row in measurement_rows(panel.headline_measurements(), panel.labels()):
            table.add_row(*_cells(row))
    return table


def _cells(row: MeasurementRow) -> list[Any]:
    style = _STYLES.get(row.status, "")
    name = _text(
        row.label or row.name, 80, tail="" if row.status == "measured" else f": {row.status_words}"
    )
    value = "–" if row.status == "not_measured" else row.value
    if row.status != "measured" and row.reason:
        name.append(f" ({escape(row.reason, 120)})", style="dim")
    return [
        name,
        _text(value, 40, style or "bold"),
        _text(row.interval, 40),
        _text(row.floor or "none", 40, "" if row.floor else "dim"),
        _text(row.n, 20),
    ]


def _unfinished(panel: ReportPanel) -> Any:
    line = _text(panel.title, 60, "bold")
    line.append(f" {panel.status}", style=_STYLES[panel.status])
    return line.append(f": {escape(panel.reason, 300)}")


def _text(text: str, limit: int, style: str = "", *, tail: str = "") -> Any:
    """Return text that rich prints letter by letter: no markup, no control characters."""
    from rich.text import Text

    return Text(escape(text, limit), style=style).append(tail, style="dim")
