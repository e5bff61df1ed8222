"""theodolite explain heads [PART]: which attention heads a refusal hangs on."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from theodolite.cli.explain import analyse
from theodolite.cli.options import Adapter, Limit, LocalModel, TaskOptions, with_run_options
from theodolite.errors import ConfigError

SUMMARY = "Which attention heads does a refusal hang on, and how few?"
OWN: Final = ("operator", "epsilon", "level", "group_size", "screen")
"""Options of an analysis that are options of the command, too."""


@with_run_options()
def heads(
    context: typer.Context,
    part: Annotated[
        str,
        typer.Argument(
            help="map (every head), group (the worst few together), asr (what the model then "
            "answers), overlap (the same heads elsewhere?), transplant (a base's attention)."
        ),
    ] = "map",
    model: LocalModel = "smollm2",
    harmful: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            "--harmful",
            help="File of harmful requests; default: 16 of the bundled set, with benign twins.",
        ),
    ] = None,
    benign: Annotated[
        Path | None, typer.Option(help="File of benign requests, the control.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="A second model: for overlap and transplant.")
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(help="ua, sc, zero, head_mean, dataset_mean or resample; default ua."),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="Factor of ua (default 0, exact) and sc (default 1e-5).")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="query (heads per prompt) or dataset (one list for all).")
    ] = None,
    group_size: Annotated[
        int | None, typer.Option(help="Heads that are taken out together, at most.")
    ] = None,
    screen: Annotated[
        str | None, typer.Option(help="fisher: only the likely heads are scored exactly.")
    ] = None,
    template: Annotated[
        str, typer.Option(help="chat, chat-system, parity, none or auto.")
    ] = "auto",
    limit: Limit = None,
    task: TaskOptions = None,
    adapter: Adapter = None,
) -> None:
    """Which attention heads does a refusal hang on, and how few?"""
    name = f"heads {part}"
    own = {option: context.params[option] for option in OWN}
    analyse(context, name, task_values(name, own))


def task_values(name: str, typed: dict[str, Any]) -> dict[str, Any]:
    """Return options of the command as options of the analysis, by dotted name.

    Raises: ConfigError: the analysis has no such option, or does not exist.
    """
    from theodolite.mechanism.explain import load_analysis

    known = {field.name for field in fields(load_analysis(name).Options)}
    given = {key: value for key, value in typed.items() if value is not None}
    for key in given:
        if key not in known:
            option = f"--{key.replace('_', '-')}"
            raise ConfigError(
                f"{option} has no part in `explain {name}`.", fix=f"Leave {option} out."
            )
    return {f"task.{key}": value for key, value in given.items()}
