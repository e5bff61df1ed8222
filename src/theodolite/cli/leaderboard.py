"""theodolite leaderboard NAME: published figures of a benchmark, and where a run stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from theodolite.cli.options import AsJson
from theodolite.text.display import escape


def leaderboard(
    name: Annotated[str, typer.Argument(help="The benchmark: mr-ben.")],
    run: Annotated[
        str | None,
        typer.Option("--run", help="A finished run of it: folder, name, or `latest`."),
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="The folder that holds the runs.")] = Path(
        "runs"
    ),
    as_json: AsJson = False,
) -> None:
    """List a benchmark's published figures, with a run of yours in its place."""
    from theodolite.cli.output import print_json, print_rows
    from theodolite.report.leaderboard import place
    from theodolite.runs.listing import find_run

    board = place(None if run is None else find_run(run, root), name)
    if as_json:
        print_json(None, [], {"leaderboard": [dict(row) for row in board.rows]})
        return
    print_rows(f"Leaderboard of {name}", [_shown(row) for row in board.rows])
    for sentence in board.sentences:
        typer.echo(escape(sentence))


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as short as a terminal needs it; the run's own stands out."""
    score = "" if row["mr_score"] is None else f"{row['mr_score']:.1f}"
    if row["low"] is not None:
        score = f"{score} [{row['low']:.1f}, {row['high']:.1f}]".strip()
    if row["floor"] is not None:
        score += f" (floor {row['floor']:.1f})"
    return {
        "place": row["place"],
        "model": f"> {row['model']}" if row["run"] else row["model"],
        "MR-Score": score,
        "mean over": row["subjects"].removeprefix("mean over "),
        "confidence": row["confidence"],
    }
