"""theodolite explain steering: what happens when a direction is taken out, or added."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.explain import analyse
from theodolite.cli.options import (
    Adapter,
    AlignedModel,
    BaseToFit,
    Limit,
    TaskOptions,
    Template,
    with_run_options,
)

SUMMARY = "What does taking a direction out, or adding it, do to refusal, and at what cost?"


@with_run_options()
def steering(
    context: typer.Context,
    model: AlignedModel = "smollm2",
    target: Annotated[
        str | None,
        typer.Option(help="refusal, components like L14-C1,L14-C6, or both; default refusal."),
    ] = None,
    harmful: Annotated[
        Path | None,
        typer.Option(
            help="File of requests that are measured; default: 16 of the bundled test part, with "
            "benign twins."
        ),
    ] = None,
    benign: Annotated[
        Path | None, typer.Option(help="File of benign requests, on which cost is read.")
    ] = None,
    base: BaseToFit = None,
    adapter: Adapter = None,
    template: Template = "auto",
    limit: Limit = None,
    task: TaskOptions = None,
) -> None:
    """Edit along a direction inside a measurement, and read refusal and cost by dose."""
    analyse(context, "steering", {} if target is None else {"task.target": target})
