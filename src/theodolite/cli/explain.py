"""theodolite explain ANALYSIS: look inside one model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from theodolite.cli.options import (
    Adapter,
    BenignFile,
    Limit,
    LocalModel,
    TaskOptions,
    Template,
    task_options,
    with_run_options,
)
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.runs.panel import PanelResult

SUMMARIES = {
    "probes": "From which layer on can harm be read, beyond what the words give away?",
    "lens": "Which tokens does each layer point to, and from where on do they part by class?",
    "graft": "What happens when one layer's state is replaced by that of a friendly prompt?",
    "verdict": "Was a failed refusal not recognised, or recognised but not converted?",
    "triggers": "Which style weakens a refusal, and which words carry it?",
}
app = typer.Typer(
    help="Look inside a model: probes, logit lens, grafting, the recognition verdict, heads, and "
    "what safety training wrote.",
    no_args_is_help=True,
)


def add(name: str, summary: str) -> None:
    """Add one analysis as a command; all take the same options."""

    @with_run_options()
    def explain(
        context: typer.Context,
        model: LocalModel = "smollm2",
        harmful: Annotated[
            Path | None, typer.Option(help="File of harmful requests; default: the bundled set.")
        ] = None,
        benign: BenignFile = None,
        jailbreak: Annotated[
            Path | None,
            typer.Option(help="File of wrapped requests; default: the listed styles."),
        ] = None,
        base: Annotated[str | None, typer.Option(help="A second model to compare with.")] = None,
        template: Template = "auto",
        limit: Limit = None,
        task: TaskOptions = None,
        adapter: Adapter = None,
    ) -> None:
        analyse(context, name)

    app.command(name, help=summary)(explain)


def analyse(context: typer.Context, name: str, typed: Mapping[str, Any] | None = None) -> None:
    """Run one analysis as it was typed, write its report and print what it found.

    Args:
        context: of the command, whose parameters are those of `add`, more or fewer.
        name: of the analysis.
        typed: options of the analysis that were typed as options of the command, by dotted name;
            the words behind `-T` win.
    """
    from theodolite.audit.explained import write_report
    from theodolite.cli.output import print_json
    from theodolite.cli.work import carried_out
    from theodolite.mechanism.explain import command_of, request_schema, run_analysis

    said = context.params
    schema = request_schema(name)
    always = {**(typed or {}), **task_options(said["task"] or [], schema)}
    work = partial(run_analysis, name)
    request, (run, result) = carried_out(context, command_of(name), schema, work, always=always)
    report = write_report(run, show_text=said["show_text"])
    if said["as_json"]:
        print_json(run, result.measurements, result.tables)
    else:
        show(name, f"{name}, {request.model}", result)
    typer.echo(f"Report: {escape(str(report))}", err=said["as_json"])


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
