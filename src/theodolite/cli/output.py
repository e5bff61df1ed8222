"""Where results go: documents to stdout, everything else to stderr, nothing lost on the way."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.audit.run import AuditOutcome
    from theodolite.measure.measurement import Measurement
    from theodolite.runs.progress import RichProgress

INCOMPLETE = 1
NARROWEST = 10  # characters per column below which a table cannot be read


def console_progress() -> RichProgress:
    """Return the progress bar on stderr."""
    from theodolite.runs.progress import RichProgress

    return RichProgress()


def print_json(
    run: Any, measurements: Sequence[Measurement], tables: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Print the one JSON document of a command on stdout."""
    from theodolite.runs.document import json_document

    typer.echo(json_document(run, measurements, tables))


def print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print records as a table, or field by field where the columns would be too narrow to read.

    Text from files is escaped and never read as markup. Names in the first column stay in one
    piece where they leave the others half the width.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [[_cell(row.get(column)) for column in columns] for row in rows]
    table = Table(title=Text(escape(title)), title_justify="left", box=None, header_style="bold")
    if len(columns) * NARROWEST > console.width:
        lines = [
            [escape(column), cell]
            for line in lines
            for column, cell in [*zip(columns, line, strict=True), ("", "")]
        ]
        columns = ["column", "value"]
    widest = max((len(line[0]) for line in lines), default=0)
    for place, column in enumerate(columns):
        whole = place == 0 and widest <= console.width // 2
        table.add_column(Text(escape(column.replace("_", " "))), overflow="fold", no_wrap=whole)
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table)


def _cell(value: Any) -> str:
    return "" if value is None else escape(str(value))


def print_measurements(
    title: str, measurements: Sequence[Measurement], labels: Mapping[str, str] | None = None
) -> None:
    """Print measurements as a table of names, plain words and values with their floors.

    Args:
        labels: plain words by name, for those that have some.
    """
    from theodolite.measure.display import format_reasoned

    rows = []
    for m in measurements:
        words = (labels or {}).get(m.name)
        name = f"{m.name} ({words})" if words else m.name
        rows.append({"measurement": name, "value": format_reasoned(m)})
    print_rows(title, rows)


def finish_audit(outcome: AuditOutcome, *, as_json: bool) -> None:
    """Print the summary or the document of an audit, and its report path last."""
    from rich.console import Console

    from theodolite.report.terminal import summary_lines

    failed = [panel.title for panel in outcome.report.panels if panel.status == "failed"]
    if as_json:
        tables = {
            f"{panel.name}/{name}": rows
            for panel in outcome.report.panels
            if panel.result is not None
            for name, rows in panel.result.tables.items()
        }
        print_json(outcome.run, outcome.measurements, tables)
    else:
        Console().print(summary_lines(outcome.report))
    typer.echo(f"Report: {escape(str(outcome.path))}", err=as_json)
    if failed:
        typer.echo(
            f"theodolite: not measured: {', '.join(failed)}. The report says why; "
            f"go on with `theodolite audit --resume {escape(str(outcome.run.path))}`.",
            err=True,
        )
        sys.exit(INCOMPLETE)
