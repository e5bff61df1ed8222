"""theodolite explain residual-space and relevance: what training wrote, and what drives it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.explain import analyse
from theodolite.cli.options import (
    Adapter,
    AlignedModel,
    BaseToFit,
    BenignFile,
    Limit,
    TaskOptions,
    Template,
    with_run_options,
)

SUMMARY = "Which directions did safety training write, and do they read harm or style?"
RELEVANCE_SUMMARY = "Which words of a request drive a direction?"


@with_run_options()
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
    benign: BenignFile = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="One file of both instead: label or harmful, style, goal_id, split."),
    ] = None,
    template: Template = "auto",
    limit: Limit = None,
    task: TaskOptions = None,
) -> None:
    """Which directions did safety training write, and do they read harm or style?"""
    analyse(context, "residual-space")


@with_run_options()
def relevance(
    context: typer.Context,
    model: AlignedModel = "smollm2",
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
    base: BaseToFit = None,
    adapter: Adapter = None,
    template: Template = "auto",
    limit: Limit = None,
    task: TaskOptions = None,
) -> None:
    """Which words of a request drive a direction?"""
    analyse(context, "relevance", {} if target is None else {"task.target": target})
