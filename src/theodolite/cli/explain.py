"""theodolite explain ANALYSIS: look inside one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    ShowText,
    TaskOptions,
    resumed_run,
    task_options,
)
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.runs.panel import PanelResult

SUMMARIES = {
    "probes": "From which layer on can harm be read, beyond what the words give away?",
    "lens": "Which tokens does each layer point to, and from where on do they part by class?",
    "graft": "What happens when one layer's state is replaced by that of a friendly prompt?",
    "verdict": "Was a failed refusal not recognised, or recognised but not converted?",
}
app = typer.Typer(
    help="Look inside a model: probes, logit lens, grafting, and the recognition verdict.",
    no_args_is_help=True,
)


def add(name: str, summary: str) -> None:
    """Add one analysis as a command; all take the same options."""

    def explain(
        context: typer.Context,
        model: Annotated[
            str, typer.Option(help="smollm2, org/name, a folder or a .gguf file.")
        ] = "smollm2",
        harmful: Annotated[
            Path | None, typer.Option(help="File of harmful requests; default: the bundled set.")
        ] = None,
        benign: Annotated[Path | None, typer.Option(help="File of benign requests.")] = None,
        jailbreak: Annotated[
            Path | None,
            typer.Option(help="File of wrapped requests; default: the listed styles."),
        ] = None,
        base: Annotated[str | None, typer.Option(help="A second model to compare with.")] = None,
        template: Annotated[str, typer.Option(help="chat, none or auto.")] = "auto",
        limit: Annotated[
            int | None, typer.Option(help="The first so many distinct requests of each class.")
        ] = None,
        task: TaskOptions = None,
        adapter: Adapter = None,
        dtype: Dtype = "auto",
        device: Device = None,
        seed: Seed = 0,
        out: OutFolder = None,
        resume: Resume = None,
        config: Config = None,
        show_text: ShowText = False,
        as_json: AsJson = False,
    ) -> None:
        from theodolite.audit.explained import write_report
        from theodolite.cli.output import console_progress, print_json
        from theodolite.cli.settings import resolve
        from theodolite.mechanism.explain import command_of, request_schema, run_analysis

        schema = request_schema(name)
        path, asked = resumed_run(resume, command_of(name), out)
        values = {
            "model": model,
            "harmful": None if harmful is None else str(harmful),
            "benign": None if benign is None else str(benign),
            "jailbreak": None if jailbreak is None else str(jailbreak),
            "base": base,
            "template": template,
            "limit": limit,
            "adapter": adapter,
            "dtype": dtype,
            "device": device,
            "seed": seed,
        }
        request = resolve(
            context, schema, config, values, always=task_options(task or [], schema), resumed=asked
        )
        with console_progress() as progress:
            run, result = run_analysis(name, request, progress=progress, out=out, resume=path)
        report = write_report(run, show_text=show_text)
        if as_json:
            print_json(run, result.measurements, result.tables)
        else:
            show(name, f"{name}, {request.model}", result)
        typer.echo(f"Report: {escape(str(report))}", err=as_json)

    app.command(name, help=summary)(explain)


def show(name: str, title: str, result: PanelResult) -> None:
    """Print an analysis: its table, the figures that have plain words, and what was found."""
    from theodolite.cli.output import print_measurements, print_rows
    from theodolite.mechanism.explain import load_analysis

    print_rows(title, load_analysis(name).summary(result))
    told = [m for m in result.measurements if m.name in result.labels]
    print_measurements("Figures", told, result.labels)
    if len(told) < len(result.measurements):
        typer.echo(
            f"{len(result.measurements) - len(told)} more figures are in the report and in --json."
        )
    for sentence in result.findings:
        typer.echo(escape(sentence))


for _name, _summary in SUMMARIES.items():
    add(_name, _summary)
