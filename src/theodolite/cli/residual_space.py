"""theodolite explain residual-space and relevance: what training wrote, and what drives it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.explain import analyse, text_of
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
)

SUMMARY = "Which directions did safety training write, and do they read harm or style?"
RELEVANCE_SUMMARY = "Which words of a request drive a direction?"


def residual_space(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            "--aligned", "--model", help="The model after training, or the folder of its adapter."
        ),
    ] = "smollm2-aligned",
    base: Annotated[
        str | None,
        typer.Option(
            help="The model before training; known for bundled models and adapters. Without one, "
            "prompts are contrasted within the model."
        ),
    ] = None,
    adapter: Adapter = None,
    harmful: Annotated[
        Path | None, typer.Option(help="File of harmful requests; default: the bundled set.")
    ] = None,
    benign: Annotated[Path | None, typer.Option(help="File of benign requests.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="One file of both instead: label or harmful, style, goal_id, split."),
    ] = None,
    template: Annotated[str, typer.Option(help="chat, none, moderation or auto.")] = "auto",
    limit: Annotated[
        int | None, typer.Option(help="The first so many distinct requests of each class.")
    ] = None,
    task: TaskOptions = None,
    dtype: Dtype = "auto",
    device: Device = None,
    seed: Seed = 0,
    out: OutFolder = None,
    resume: Resume = None,
    config: Config = None,
    show_text: ShowText = False,
    as_json: AsJson = False,
) -> None:
    """Which directions did safety training write, and do they read harm or style?"""
    values = {
        "model": model,
        "harmful": text_of(harmful),
        "benign": text_of(benign),
        "prompts": text_of(prompts),
        "base": base,
        "template": template,
        "limit": limit,
        "adapter": adapter,
        "dtype": dtype,
        "device": device,
        "seed": seed,
    }
    analyse(
        *(context, "residual-space", values, {}, task),
        folders=(out, resume, config),
        show_text=show_text,
        as_json=as_json,
    )


def relevance(
    context: typer.Context,
    model: Annotated[
        str, typer.Option("--model", "--aligned", help="smollm2, org/name or a folder.")
    ] = "smollm2",
    target: Annotated[
        str | None,
        typer.Option(help="refusal, or components of one depth like L14-C1; default refusal."),
    ] = None,
    harmful: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            "--harmful",
            help="File of requests; default: 16 of the bundled set, with benign twins.",
        ),
    ] = None,
    benign: Annotated[
        Path | None, typer.Option(help="File of benign requests to set beside them.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The model before training, to fit components on.")
    ] = None,
    adapter: Adapter = None,
    template: Annotated[str, typer.Option(help="chat, none, moderation or auto.")] = "auto",
    limit: Annotated[
        int | None, typer.Option(help="The first so many distinct requests of each class.")
    ] = None,
    task: TaskOptions = None,
    dtype: Dtype = "auto",
    device: Device = None,
    seed: Seed = 0,
    out: OutFolder = None,
    resume: Resume = None,
    config: Config = None,
    show_text: ShowText = False,
    as_json: AsJson = False,
) -> None:
    """Which words of a request drive a direction?"""
    values = {
        "model": model,
        "harmful": text_of(harmful),
        "benign": text_of(benign),
        "base": base,
        "template": template,
        "limit": limit,
        "adapter": adapter,
        "dtype": dtype,
        "device": device,
        "seed": seed,
    }
    typed = {} if target is None else {"task.target": target}
    analyse(
        *(context, "relevance", values, typed, task),
        folders=(out, resume, config),
        show_text=show_text,
        as_json=as_json,
    )
