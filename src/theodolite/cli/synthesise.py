"""theodolite correct synthesise [--loop]: preference groups that teach to turn round, and proof."""

from __future__ import annotations

from typing import Annotated

import typer

from theodolite.cli.options import Adapter, with_run_options
from theodolite.text.display import escape


@with_run_options(show_text=False)
def synthesise(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(help="The aligned model that writes: smollm2-aligned, org/name, a folder."),
    ] = "smollm2-aligned",
    adapter: Adapter = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="File of requests with harmful replies; default: a harmless toy set."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="So many harmful rows, and benign ones; default: all.")
    ] = None,
    tries: Annotated[int, typer.Option(help="How often what fails a gate is written again.")] = 3,
    loop: Annotated[
        bool, typer.Option("--loop", help="Train on the groups, and measure test rows again.")
    ] = False,
    method: Annotated[str, typer.Option(help="conditional or listwise.")] = "conditional",
    max_steps: Annotated[int, typer.Option(help="Steps of the training.")] = 70,
) -> None:
    """Write preference groups of corrections; with --loop, train on them and measure again."""
    from theodolite.audit.loops.recover import COMMAND, RecoverRequest, recover
    from theodolite.cli.output import print_json, print_measurements, print_rows
    from theodolite.cli.work import carried_out

    request, (run, result) = carried_out(context, COMMAND, RecoverRequest, recover)
    if context.params["as_json"]:
        print_json(run, result.measurements, result.tables)
        return
    print_measurements(f"correct synthesise, {request.model}", result.measurements, result.labels)
    if "recovered" in result.tables:
        print_rows("Before and after, test rows", result.tables["recovered"])
    if result.tables["dropped"]:
        print_rows("Left out", result.tables["dropped"])
    for sentence in result.findings:
        typer.echo(escape(sentence))
