"""theodolite data list|check|fetch|debates: official data files, and data that a model writes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from theodolite.cli import debates
from theodolite.cli.options import AsJson

app = typer.Typer(
    help="List, check and fetch official data; write debatable questions.", no_args_is_help=True
)
app.add_typer(debates.app, name="debates")

Selection = Annotated[str, typer.Argument(help="A part, part/file, or all.")]


def show_status(name: str, as_json: bool) -> bool:
    """Print the status of a selection; returns whether every file is as it should be."""
    from theodolite.cli.output import print_json, print_rows
    from theodolite.data.catalogue import OK, check, data_dir

    states = check(name)
    rows = [
        {
            "file": state.file.name,
            "status": state.status,
            "bytes": state.file.size,
            "licence": state.file.origin.licence,
        }
        for state in states
    ]
    if as_json:
        print_json(None, [], {"files": rows})
    else:
        print_rows(f"Official data in {data_dir()}", rows)
    return all(state.status == OK for state in states)


@app.command("list")
def list_all(name: Selection = "all", as_json: AsJson = False) -> None:
    """List the official files and whether they are here."""
    show_status(name, as_json)


@app.command("check")
def check_all(name: Selection = "all", as_json: AsJson = False) -> None:
    """Check every file's SHA-256; exit code 1 where one is missing or changed."""
    if not show_status(name, as_json):
        sys.exit(1)


@app.command("fetch")
def fetch_all(name: Selection = "all") -> None:
    """Download what can be downloaded, verified, into THEODOLITE_DATA."""
    from theodolite.data.catalogue import how_to_get, select
    from theodolite.data.fetch import fetch

    for file in select(name):
        if file.urls:
            typer.echo(str(fetch(file)), err=True)
        else:
            typer.echo(f"{file.name}: {how_to_get(file)}", err=True)
