"""theodolite explain heads [PART]: which attention heads a refusal hangs on."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

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
from theodolite.errors import ConfigError

SUMMARY = "Which attention heads does a refusal hang on, and how few?"


def heads(
    context: typer.Context,
    part: Annotated[
        str,
        typer.Argument(
            help="map (every head), group (the worst few together), asr (what the model then "
            "answers), overlap (the same heads elsewhere?), transplant (a base's attention)."
        ),
    ] = "map",
    model: Annotated[
        str, typer.Option(help="smollm2, org/name, a folder or a .gguf file.")
    ] = "smollm2",
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
    limit: Annotated[
        int | None, typer.Option(help="The first so many distinct requests of each class.")
    ] = None,
    task: TaskOptions = None,
    adapter: Adapter = None,
    dtype: Dtype = "auto",
    device: Device = None,
    seed: Seed = 0,
    out: OutFolder = None,
    resume: Resume = None,
    config: Config = None,
    show_text: ShowText = False,
    as_json: AsJson = False,
) -> None:
    """Which attention heads does a refusal hang on, and how few?"""
    name = f"heads {part}"
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
    own = {
        "operator": operator,
        "epsilon": epsilon,
        "level": level,
        "group_size": group_size,
        "screen": screen,
    }
    analyse(
        *(context, name, values, task_values(name, own), task),
        folders=(out, resume, config),
        show_text=show_text,
        as_json=as_json,
    )


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
