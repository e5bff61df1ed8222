"""theodolite data debates write|merge|check: perspectives on questions, and who can see them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.options import Adapter, AnyModel, AsJson, with_run_options
from theodolite.text.display import escape
from theodolite.text.lists import names_in

app = typer.Typer(
    help="Write perspectives on debatable questions, merge people's checks, check a scoring model.",
    no_args_is_help=True,
)


@app.command("write")
@with_run_options(show_text=False)
def write(
    context: typer.Context,
    questions: Annotated[
        str,
        typer.Argument(
            help="File of questions: .txt, one a line, .jsonl, .csv ...", show_default=False
        ),
    ] = "",
    docs: Annotated[
        str,
        typer.Option(
            help="File of documents: rows with text, and title, url, question_id.",
            show_default=False,
        ),
    ] = "",
    model: AnyModel = "smollm2",
    adapter: Adapter = None,
    limit: Annotated[int | None, typer.Option(help="The first so many questions.")] = None,
    most: Annotated[int, typer.Option(help="Views of a question at most.")] = 8,
    docs_each: Annotated[int, typer.Option(help="Documents of a question at most.")] = 5,
    trusted: Annotated[
        str | None, typer.Option(help="Ends of host names, e.g. edu,gov; others are left out.")
    ] = None,
    tries: Annotated[int, typer.Option(help="How often what cannot be used is rewritten.")] = 2,
) -> None:
    """Let a model write perspectives step by step; rows, review sheet and data card are left."""
    from theodolite.behaviour.debateqa.building.build import COMMAND, write_debates
    from theodolite.behaviour.debateqa.building.request import BuildRequest
    from theodolite.cli.output import print_json, print_measurements, print_rows
    from theodolite.cli.work import carried_out

    request, (run, result) = carried_out(
        context, COMMAND, BuildRequest, write_debates, trusted=names_in
    )
    if context.params["as_json"]:
        print_json(run, result.measurements, result.tables)
        return
    print_measurements(f"data debates write, {request.model}", result.measurements, result.labels)
    if result.tables["debates_left_out"]:
        print_rows("Left out", result.tables["debates_left_out"])
    for sentence in (*result.findings, *result.limits):
        typer.echo(escape(sentence))


@app.command("merge")
def merge(
    folder: Annotated[Path, typer.Argument(help="The run folder of `data debates write`.")],
    sheets: Annotated[list[Path], typer.Argument(help="Review sheets that came back, .csv.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the result; default FOLDER/reviewed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Merge the sheets of two or three reviewers: what stands becomes the set."""
    from theodolite.behaviour.debateqa.building.merge import findings, merge_sheets, summary
    from theodolite.cli.output import print_json, print_measurements, print_rows

    checked = merge_sheets(folder, sheets, out=out)
    if as_json:
        print_json(None, checked.merged.measurements, {"debates_review": summary(checked)})
        return
    print_rows("Perspectives", summary(checked))
    print_measurements("Reviewers", checked.merged.measurements)
    for sentence in findings(checked):
        typer.echo(escape(sentence))


@app.command("check")
@with_run_options(show_text=False)
def check(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="The scoring model: smollm2, org/name, a folder.")
    ] = "smollm2",
    adapter: Adapter = None,
    source: Annotated[
        str, typer.Option(help="The questions: bundled, claims, perspectrum or a file.")
    ] = "bundled",
    limit: Annotated[int | None, typer.Option(help="So many questions.")] = None,
    views: Annotated[int, typer.Option(help="Perspectives of each.")] = 4,
    template: Annotated[str, typer.Option(help="chat, or plain without a chat template.")] = "chat",
) -> None:
    """Check with answers whose content is known whether a scoring model sees what they hold."""
    from theodolite.behaviour.debateqa.scorer_check import COMMAND, CheckRequest, check_scorer
    from theodolite.cli.output import print_json, print_measurements
    from theodolite.cli.work import carried_out

    request, (run, result) = carried_out(context, COMMAND, CheckRequest, check_scorer)
    if context.params["as_json"]:
        print_json(run, result.measurements, result.tables)
        return
    print_measurements(f"data debates check, {request.model}", result.measurements, result.labels)
    for sentence in (*result.findings, *result.limits):
        typer.echo(escape(sentence))
