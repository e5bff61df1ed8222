"""theodolite correct respond|harden|synthesise: repair what was measured, by words or training."""

from __future__ import annotations

from typing import Annotated

import typer

from theodolite.cli.options import Adapter, with_run_options
from theodolite.cli.respond import respond
from theodolite.cli.synthesise import synthesise
from theodolite.text.display import escape
from theodolite.text.lists import names_in, numbers_in

app = typer.Typer(help="Repair what was measured, and measure it again.", no_args_is_help=True)


@app.callback()
def correct() -> None:
    """Repair what was measured, and measure it again."""


@app.command("harden")
@with_run_options()
def harden(
    context: typer.Context,
    model: Annotated[
        str, typer.Option(help="smollm2-aligned, org/name or a folder.")
    ] = "smollm2-aligned",
    adapter: Adapter = None,
    weakness: Annotated[
        str | None, typer.Option(help="Run folder of `theodolite explain triggers`.")
    ] = None,
    styles: Annotated[
        str | None, typer.Option(help="Weak styles, joined by commas; default: the weakest found.")
    ] = None,
    loop: Annotated[
        bool, typer.Option("--loop", help="Retrain, and measure the same test goals again.")
    ] = False,
    method: Annotated[str, typer.Option(help="ssft-chat or dpo.")] = "ssft-chat",
    exposure: Annotated[
        str, typer.Option(help="Harmful goals per weak style; several (8,16,48) give a curve.")
    ] = "48",
    replay: Annotated[
        int, typer.Option(help="Harmful goals in other forms, so that what was good stays.")
    ] = 48,
    base: Annotated[str | None, typer.Option(help="The model before its safety training.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="File of bare requests with label, split and pair_id.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="So many test pairs, and val pairs; default: all.")
    ] = None,
) -> None:
    """Write training data against a weak style; with --loop, retrain and measure again."""
    from theodolite.audit.loops.harden import harden as run_harden
    from theodolite.audit.loops.report import write_report
    from theodolite.audit.loops.request import COMMAND, HardenRequest
    from theodolite.audit.loops.result import summary
    from theodolite.cli.output import print_json, print_rows
    from theodolite.cli.work import carried_out

    request, (run, result) = carried_out(
        *(context, COMMAND, HardenRequest, run_harden),
        styles=names_in,
        exposure=lambda text: numbers_in(text, "--exposure"),
    )
    as_json = context.params["as_json"]
    report = write_report(run, show_text=context.params["show_text"])
    if as_json:
        print_json(run, result.measurements, result.tables)
    else:
        for title, rows in summary(result, request.model):
            print_rows(title, rows)
        for sentence in (*result.findings, *result.limits):
            typer.echo(escape(sentence))
    typer.echo(f"Report: {escape(str(report))}", err=as_json)


app.command("respond")(respond)
app.command("synthesise")(synthesise)
