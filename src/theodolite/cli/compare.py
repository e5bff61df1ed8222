"""theodolite compare A B: what changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.options import AsJson, Seed


def compare(
    a: Annotated[str, typer.Argument(help="The run before: folder, name, or `latest`.")],
    b: Annotated[str, typer.Argument(help="The run after.")],
    root: Annotated[Path, typer.Option("--root", help="The folder that holds the runs.")] = Path(
        "runs"
    ),
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two runs figure by figure, paired by item where both keep their items."""
    from theodolite.cli.output import print_json, print_rows
    from theodolite.measure.display import format_value
    from theodolite.runs.compare import compare as compare_runs
    from theodolite.runs.listing import find_run
    from theodolite.runs.run import Run

    result = compare_runs(Run.open(find_run(a, root)), Run.open(find_run(b, root)), seed=seed)
    if as_json:
        tables = {"comparison": result.rows, "settings": result.settings}
        print_json(None, result.measurements, tables)
        return
    if result.settings:
        print_rows("Asked differently", result.settings)
    rows = [
        {
            "difference (B - A)": row["measurement"],
            "value": format_value(measurement),
            "p (Holm)": None if row["p_holm"] is None else f"{row['p_holm']:.3g}",
            "paired": "yes" if row["paired"] else "no",
        }
        for row, measurement in zip(result.rows, result.measurements, strict=True)
    ]
    print_rows("Measured differently", rows)
