"""theodolite report RUN: write the report of a finished audit, analysis or hardening again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.options import ShowText
from theodolite.text.display import escape


def report(
    name: Annotated[str, typer.Argument(help="A run folder, its name, or `latest`.")] = "latest",
    root: Annotated[Path, typer.Option("--root", help="The folder that holds the runs.")] = Path(
        "runs"
    ),
    out: Annotated[Path | None, typer.Option("--out", help="HTML file to write.")] = None,
    show_text: ShowText = False,
) -> None:
    """Write the HTML report of a run again, e.g. with --show-text or to another place."""
    from theodolite.audit.document import rebuild
    from theodolite.audit.explained import analysis_of, explained_report
    from theodolite.audit.loops.report import hardening_report, is_hardening
    from theodolite.report import render_report
    from theodolite.runs.listing import find_run
    from theodolite.runs.run import Run

    run = Run.open(find_run(name, root))
    target = out if out is not None else run.path / "report.html"
    if is_hardening(run):
        found = hardening_report(run)
    else:
        found = rebuild(run) if analysis_of(run) is None else explained_report(run)
    path = render_report(found, target, show_text=show_text)
    typer.echo(f"Report: {escape(str(path))}")
