"""theodolite explain steering: what happens when a direction is taken out, or added."""

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

SUMMARY = "What does taking a direction out, or adding it, do to refusal, and at what cost?"


def steering(
    context: typer.Context,
    model: Annotated[
        str, typer.Option("--model", "--aligned", help="smollm2, org/name or a folder.")
    ] = "smollm2",
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
    """Edit along a direction inside a measurement, and read refusal and cost by dose."""
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
        *(context, "steering", values, typed, task),
        folders=(out, resume, config),
        show_text=show_text,
        as_json=as_json,
    )
