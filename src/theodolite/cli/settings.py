"""Resolve a command's settings: defaults, the resumed run's, the TOML file, what was typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import typer

from theodolite.runs.config import load_config

Schema = TypeVar("Schema")


def resolve(
    context: typer.Context,
    schema: type[Schema],
    path: Path | None,
    values: Mapping[str, Any],
    *,
    always: Mapping[str, Any] | None = None,
    resumed: Mapping[str, Any] | None = None,
) -> Schema:
    """Return the settings of a command as its dataclass.

    Args:
        context: knows which options were typed; only these win over the file.
        values: the command's parameters by field name.
        always: settings that were typed in another form (dotted names reach into tables).
        resumed: what the run that goes on was asked; it stands where nothing else was said.
    Raises: ConfigError: unknown key or wrong type in the file, with its line.
    """
    typed = {name: value for name, value in values.items() if was_typed(context, name)}
    unsaid = {} if path is not None else dict(resumed or values)
    return load_config(schema, path, {**unsaid, **typed, **(always or {})})


def parameters(
    context: typer.Context, schema: type[Any], **read: Callable[[Any], Any]
) -> dict[str, Any]:
    """Return those parameters of a command that are settings, by field name; a path as its text.

    Args:
        context: of the command.
        schema: the settings; its table `task` is filled by `options.task_options`.
        read: what makes a setting of the text that was typed, by name.
    """
    names = {field.name for field in fields(schema)} - {"task"}
    return {
        name: read.get(name, _path_as_text)(value)
        for name, value in context.params.items()
        if name in names
    }


def _path_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def was_typed(context: typer.Context, name: str) -> bool:
    """Return whether an option was given on the command line rather than left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
