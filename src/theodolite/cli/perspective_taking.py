"""theodolite explain perspective-taking: does imagining readers show inside the model?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.explain import analyse
from theodolite.cli.options import Adapter, TaskOptions, with_run_options

SUMMARY = "Does imagining readers move the model's inside off toxic text, where it goes on?"


@with_run_options()
def perspective_taking(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="smollm2, org/name or a folder.")] = "smollm2",
    prompts: Annotated[
        Path | None,
        typer.Option(help="File of beginnings to go on with; default: the bundled harmless ones."),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            help="File of texts (text, toxic 0 or 1) for the direction; default: the model's own, "
            "scored."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="So many beginnings, drawn by a fixed seed.")
    ] = None,
    template: Annotated[str, typer.Option(help="chat or auto.")] = "auto",
    task: TaskOptions = None,
    adapter: Adapter = None,
) -> None:
    """Read the stream where a completion begins, before and after readers are imagined."""
    typed = {} if texts is None else {"task.texts": str(texts)}
    analyse(context, "perspective-taking", typed)
