"""theodolite runs list|show|rm|query: what was measured so far."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.options import AsJson
from theodolite.text.display import escape

app = typer.Typer(help="List, show, query and remove runs.", no_args_is_help=True)

Root = Annotated[Path, typer.Option("--root", help="The folder that holds the runs.")]
RunName = Annotated[str, typer.Argument(help="A run folder, its name, or `latest`.")]


@app.command("list")
def list_all(root: Root = Path("runs"), as_json: AsJson = False) -> None:
    """List the runs, newest first."""
    from theodolite.cli.output import print_json, print_rows
    from theodolite.runs.listing import list_runs

    rows = [
        {
            "run": run.path.name,
            "command": run.command,
            "model": run.model,
            "started": run.started,
            "status": run.status,
        }
        for run in list_runs(root)
    ]
    if as_json:
        print_json(None, [], {"runs": rows})
    elif rows:
        for row in rows:
            row["started"] = row["started"].replace("T", " ").removesuffix("Z")
        print_rows(f"Runs in {root} (times in UTC)", rows)
    else:
        typer.echo(f"No runs in {escape(str(root))}. Start one: theodolite audit smollm2", err=True)


@app.command("show")
def show(name: RunName = "latest", root: Root = Path("runs"), as_json: AsJson = False) -> None:
    """Show a run's measurements."""
    from theodolite.cli.output import print_json, print_measurements
    from theodolite.runs.listing import find_run
    from theodolite.runs.run import Run

    run = Run.open(find_run(name, root))
    measurements = run.load_measurements()
    if as_json:
        tables = {table: run.load_table(table) for table in run.table_names()}
        print_json(run, measurements, tables)
        return
    if not measurements:
        typer.echo(f"{escape(str(run.path))} holds no measurements yet.", err=True)
        return
    labels = {
        name: words
        for panel in run.panel_names()
        for name, words in run.load_panel(panel).labels.items()
    }
    title = f"{run.path.name} ({run.manifest['command']})"
    print_measurements(title, measurements, labels)


@app.command("query")
def query(
    sql: Annotated[str, typer.Argument(help="DuckDB SQL over the table `measurements`.")],
    root: Root = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Query the measurements of all runs."""
    from theodolite.cli.output import print_json, print_rows
    from theodolite.runs.listing import query_measurements

    rows = query_measurements(root, sql)
    if as_json:
        print_json(None, [], {"query": rows})
    else:
        print_rows(f"{len(rows)} rows", rows)


@app.command("rm")
def remove(
    name: Annotated[str, typer.Argument(help="A run folder or its name.")],
    root: Root = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a run folder."""
    from theodolite.runs.listing import find_run, remove_run

    path = find_run(name, root)
    if not yes:
        typer.confirm(f"Delete {escape(str(path))} and everything in it?", abort=True)
    remove_run(path, root)
    typer.echo(f"Deleted {escape(str(path))}", err=True)
