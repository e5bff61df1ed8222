"""theodolite correct synthesise [--loop]: preference groups that teach to turn round, and proof."""

from __future__ import annotations

from typing import Annotated

import typer

from theodolite.cli.options import (
    Adapter,
    AsJson,
    Config,
    Device,
    Dtype,
    OutFolder,
    Resume,
    Seed,
    resumed_run,
)
from theodolite.text.display import escape


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
    dtype: Dtype = "auto",
    device: Device = None,
    seed: Seed = 0,
    out: OutFolder = None,
    resume: Resume = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write preference groups of corrections; with --loop, train on them and measure again."""
    from theodolite.audit.loops.recover import COMMAND, RecoverRequest, recover
    from theodolite.cli.output import console_progress, print_json, print_measurements, print_rows
    from theodolite.cli.settings import parameters, resolve

    path, asked = resumed_run(resume, COMMAND, out)
    values = parameters(context, RecoverRequest)
    request = resolve(context, RecoverRequest, config, values, resumed=asked)
    with console_progress() as progress:
        run, result = recover(request, progress=progress, out=out, resume=path)
    if as_json:
        print_json(run, result.measurements, result.tables)
        return
    print_measurements(f"correct synthesise, {request.model}", result.measurements, result.labels)
    if "recovered" in result.tables:
        print_rows("Before and after, test rows", result.tables["recovered"])
    if result.tables["dropped"]:
        print_rows("Left out", result.tables["dropped"])
    for sentence in result.findings:
        typer.echo(escape(sentence))
