"""theodolite eval NAME: one benchmark on one model, or on answers made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from theodolite.cli.options import (
    Adapter,
    AsJson,
    Config,
    Device,
    Dtype,
    Judge,
    OutFolder,
    Resume,
    Revision,
    Seed,
    resumed_run,
)
from theodolite.errors import ConfigError
from theodolite.text.display import escape


def evaluate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The benchmark, e.g. refusal.")],
    model: Annotated[
        str, typer.Option(help="smollm2, org/name, a folder, a .gguf file or api:PROVIDER/MODEL.")
    ] = "smollm2",
    task: Annotated[
        list[str] | None,
        typer.Option("-T", "--task", metavar="KEY=VALUE", help="An option of the benchmark."),
    ] = None,
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
    from theodolite.cli.output import console_progress, print_json, print_measurements
    from theodolite.cli.settings import resolve

    schema = request_schema(name)
    path, asked = resumed_run(resume, command_of(name), out)
    values = {
        "model": model,
        "responses": None if responses is None else str(responses),
        "interventions": None if interventions is None else str(interventions),
        "adapter": adapter,
        "revision": revision,
        "dtype": dtype,
        "device": device,
        "judge": judge,
        "seed": seed,
    }
    request = resolve(
        context, schema, config, values, always=task_options(task or []), resumed=asked
    )
    with console_progress() as progress:
        run, result = run_benchmark(name, request, progress=progress, out=out, resume=path)
    if as_json:
        print_json(run, result.measurements, result.tables)
        return
    title = f"{name}, {request.responses or request.model}"
    print_measurements(title, result.measurements, result.labels)
    for sentence in result.findings:
        typer.echo(escape(sentence))
    typer.echo(f"Run: {escape(str(run.path))}")


def task_options(pairs: list[str]) -> dict[str, Any]:
    """Read `key=value` words; whole numbers, true and false are taken as such.

    Raises: ConfigError: a word without `=`.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"-T {pair!r} holds no value.", fix="Write it as -T key=value.")
        options[f"task.{key.replace('-', '_')}"] = plain_value(value)
    return options


def plain_value(text: str) -> Any:
    """Return a number or truth value where the text is one, else the text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
