"""Do the work of a command as it was typed: settings resolved, progress shown, anew or resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import typer

from theodolite.cli.options import resumed_run
from theodolite.cli.output import console_progress
from theodolite.cli.settings import parameters, resolve

Schema = TypeVar("Schema")
Made = TypeVar("Made")


def carried_out(
    context: typer.Context,
    command: str,
    schema: type[Schema],
    work: Callable[..., Made],
    *,
    always: Mapping[str, Any] | None = None,
    **read: Callable[[Any], Any],
) -> tuple[Schema, Made]:
    """Return what a command was asked, and what its work made of that.

    Args:
        context: of the command, which has the options `--out`, `--resume` and `--config`.
        command: as runs name it.
        schema: the command's settings.
        work: called with them, `progress`, `out` and the run to go on with as `resume`.
        always: settings that were typed in another form, see `resolve`.
        read: what makes a setting of the text that was typed, by name.

    Raises: ConfigError, RunError: settings that do not fit, or no such run to go on with.
    """
    said = context.params
    path, asked = resumed_run(said["resume"], command, said["out"])
    values = parameters(context, schema, **read)
    request = resolve(context, schema, said["config"], values, always=always, resumed=asked)
    with console_progress() as progress:
        return request, work(request, progress=progress, out=said["out"], resume=path)
