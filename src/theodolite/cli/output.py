"""Where results go: documents to stdout, everything else to stderr, nothing lost on the way."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from theodolite.audit.run import AuditOutcome
    from theodolite.measure.measurement import Measurement
    from theodolite.runs.progress import RichProgress

INCOMPLETE = 1


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
    """Print records as a table; text from files is escaped and never read as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from theodolite.text.display import escape

    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        cells = (row.get(column) for column in columns)
        table.add_row(*(Text(escape("" if cell is None else str(cell))) for cell in cells))
    Console().print(table)


def print_measurements(title: str, measurements: Sequence[Measurement]) -> None:
    """Print measurements as a table of names and values with their floors."""
    from theodolite.measure.display import format_value

    rows = [{"measurement": m.name, "value": format_value(m)} for m in measurements]
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
    typer.echo(f"Report: {outcome.path}", err=as_json)
    if failed:
        typer.echo(
            f"theodolite: not measured: {', '.join(failed)}. The report says why; "
            f"go on with `theodolite audit --resume {outcome.run.path}`.",
            err=True,
        )
        sys.exit(INCOMPLETE)
