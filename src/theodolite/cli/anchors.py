"""theodolite explain anchors: which way does a planted answer take to the answer slot?"""

from __future__ import annotations

from typing import Annotated

import typer

from theodolite.cli.explain import analyse
from theodolite.cli.options import Adapter, TaskOptions, with_run_options

SUMMARY = "Through which heads, and at which depth, does a planted answer reach the answer?"


@with_run_options()
def anchors(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="smollm2, org/name or a folder.")] = "smollm2",
    questions: Annotated[
        str | None,
        typer.Option(
            help="File of questions, or official sets joined by commas; default: everyday ones, "
            "bundled."
        ),
    ] = None,
    task: TaskOptions = None,
    adapter: Adapter = None,
) -> None:
    """Follow a planted answer from its tokens to the slot: lens, attention, cuts and patches."""
    analyse(context, "anchors", {} if questions is None else {"task.questions": questions})
