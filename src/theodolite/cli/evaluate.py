"""theodolite eval NAME: one benchmark on one model, or on answers made elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.options import (
    Adapter,
    AnyModel,
    AsJson,
    Config,
    Device,
    Dtype,
    Judge,
    OutFolder,
    Resume,
    Revision,
    Seed,
    TaskOptions,
    task_options,
)
from theodolite.text.display import escape


def evaluate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The benchmark, e.g. refusal.")],
    model: AnyModel = "smollm2",
    task: TaskOptions = None,
    responses: Annotated[
        Path | None, typer.Option(help="Score the answers in this jsonl file; no model is needed.")
    ] = None,
    interventions: Annotated[
        Path | None, typer.Option(help="Interventions that are active while the model answers.")
    ] = None,
    adapter: Adapter = None,
    revision: Revision = None,
    dtype: Dtype = "auto",
    device: Device = None,
    judge: Judge = None,
    seed: Seed = 0,
    out: OutFolder = None,
    resume: Resume = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Run a benchmark and print its measurements."""
    from theodolite.behaviour.evaluation import command_of, request_schema, run_benchmark
    from theodolite.cli.output import print_json, print_measurements
    from theodolite.cli.work import carried_out

    schema = request_schema(name)
    always, work = task_options(task or [], schema), partial(run_benchmark, name)
    request, (run, result) = carried_out(context, command_of(name), schema, work, always=always)
    if as_json:
        print_json(run, result.measurements, result.tables)
        return
    title = f"{name}, {request.responses or request.model}"
    print_measurements(title, result.measurements, result.labels)
    for sentence in result.findings:
        typer.echo(escape(sentence))
    typer.echo(f"Run: {escape(str(run.path))}")
