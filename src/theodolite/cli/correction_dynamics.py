"""theodolite explain correction-dynamics: how close a model is to turning round, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.explain import analyse
from theodolite.cli.options import Adapter, TaskOptions, with_run_options

SUMMARY = "Along a harmful reply, where would the model still turn round?"


@with_run_options()
def correction_dynamics(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="smollm2, org/name or a folder.")] = "smollm2",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="File of requests with the replies to force; default: the bundled test rows."
        ),
    ] = None,
    benign: Annotated[
        Path | None,
        typer.Option(
            help="File of benign requests with good replies, the control; default: those of "
            "--prompts, else the bundled ones."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The model before training, to compare with.")
    ] = None,
    template: Annotated[str, typer.Option(help="chat or auto.")] = "auto",
    limit: Annotated[
        int | None, typer.Option(help="So many requests of each class, drawn by a fixed seed.")
    ] = None,
    task: TaskOptions = None,
    adapter: Adapter = None,
) -> None:
    """Follow a model, or a model beside its base, along replies that are forced on it."""
    analyse(context, "correction-dynamics")
