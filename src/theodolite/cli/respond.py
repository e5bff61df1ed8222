"""theodolite correct respond: answer a prompt, rewrite the answer by a method, and show both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from theodolite.cli.options import Adapter, AnyModel, AsJson, Config, OutFolder, Resume, Seed
from theodolite.text.display import escape
from theodolite.text.lists import names_in

if TYPE_CHECKING:
    from theodolite.correction.respond_request import RespondRequest
    from theodolite.runs.panel import PanelResult, Sample


def respond(
    context: typer.Context,
    prompt: Annotated[str | None, typer.Option(help="One prompt; its texts are printed.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="File of prompts instead (.jsonl, .csv, .txt ...).")
    ] = None,
    continuation: Annotated[
        bool,
        typer.Option(
            "--continuation", help="A prompt is the beginning of a text, not a message to answer."
        ),
    ] = False,
    model: AnyModel = "smollm2",
    adapter: Adapter = None,
    method: Annotated[
        str,
        typer.Option(help="pet_io, pet_is, critic, any_depth ...; see the guide."),
    ] = "pet_io",
    readers: Annotated[
        int | None, typer.Option(help="Readers that are imagined; default 5.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="How often a text is rewritten.")] = None,
    wording: Annotated[
        str | None, typer.Option(help="v0 to v4: how the readers' view is asked for.")
    ] = None,
    language: Annotated[
        str, typer.Option(help="Of what the model is told: en, de or a .toml file.")
    ] = "en",
    tool: Annotated[
        str | None, typer.Option(help="Scorer that takes part in critic and shap_words.")
    ] = None,
    scorers: Annotated[
        str | None, typer.Option(help="What rates the texts, e.g. alt_profanity,judge:MODEL.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a text at most.")] = 512,
    seed: Seed = 0,
    out: OutFolder = None,
    resume: Resume = None,
    config: Config = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print the texts of a file, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer prompts, let the model rewrite its answers, and say what that changed and cost."""
    from theodolite.audit.loops.respond import COMMAND
    from theodolite.audit.loops.respond import respond as run_respond
    from theodolite.cli.output import print_json
    from theodolite.cli.work import carried_out
    from theodolite.correction.respond_request import RespondRequest

    request, (run, result) = carried_out(
        context, COMMAND, RespondRequest, run_respond, scorers=names_in
    )
    typed = request.prompt is not None
    shown = result.samples if typed or show_text else None
    if as_json:
        texts = {} if shown is None else {"texts": [_texts(one) for one in shown]}
        print_json(run, result.measurements, {**result.tables, **texts})
    else:
        _print(request, result, shown or ())
    typer.echo(f"Run: {escape(str(run.path))}", err=typed or as_json)


def _print(request: RespondRequest, result: PanelResult, shown: Sequence[Sample]) -> None:
    """Print texts, then what changed: remarks on stderr for one prompt, else the figures."""
    from theodolite.cli.output import print_measurements

    typed = request.prompt is not None
    for sample in shown:
        _print_texts(sample, rewrites=request.rewrites, named=not typed)
    if typed:
        _print_remarks(result, rewrites=request.rewrites)
        return
    print_measurements(f"correct respond, {request.model}", result.measurements, result.labels)
    for sentence in (*result.findings, *result.limits):
        typer.echo(escape(sentence))


def _texts(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "prompt": sample.prompt,
        "original": sample.meta["original"],
        "final": sample.completion,
    }


def _print_texts(sample: Sample, *, rewrites: bool, named: bool) -> None:
    """Print the texts of an answer, in which nothing can command a terminal.

    Args:
        rewrites: whether there are two of them.
        named: print the prompt's id, too.
    """
    of = f" of {escape(sample.id, 80)}" if named else ""
    texts = {f"Original{of}": sample.meta["original"]} if rewrites else {}
    final = f"Rewritten{of} ({sample.meta['method']})" if rewrites else f"Answer{of}"
    for title, text in {**texts, final: sample.completion}.items():
        typer.echo(f"{title}:\n{escape(text, keep_newlines=True)}\n")


def _print_remarks(result: PanelResult, *, rewrites: bool) -> None:
    """Print on stderr what the one answer cost, and what is to be said of it."""
    (row,) = result.tables["answers"]
    said = [_cost(row)]
    scores = [(m.name, m.value) for m in result.measurements if m.unit == "score"]
    told = [f"{name.split('/', 1)[1]} {value:.3f}" for name, value in scores if value is not None]
    said += [f"Scores: {', '.join(told)}."] if told else []
    said += ["The text did not change."] if rewrites and not row["changed"] else []
    said += [] if row["parse_ok"] else ["No text could be found in the answer; all of it counts."]
    said += ["The answer refuses."] if row["refused_after"] else []
    for sentence in (*said, *result.limits):
        typer.echo(escape(sentence), err=True)


def _cost(row: Mapping[str, Any]) -> str:
    """Say what an answer took."""
    calls = f"{row['calls']} call{'' if row['calls'] == 1 else 's'}"
    if row["tokens_in"] is None or row["tokens_out"] is None:
        tokens = "tokens not stated by the model"
    else:
        tokens = f"{row['tokens_in']:,} tokens read, {row['tokens_out']:,} written"
    return f"{calls}, {tokens}, {row['capped']} cut at a cap."
