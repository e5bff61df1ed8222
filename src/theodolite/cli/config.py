"""theodolite config: the settings a TOML file may hold."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from theodolite.errors import ConfigError
from theodolite.text.suggest import nearest

SCHEMAS = {"audit": "theodolite.audit.request:AuditRequest"}


def config(
    command: Annotated[str, typer.Argument(help="The command whose settings are shown.")] = "audit",
) -> None:
    """Print the settings of a command as a TOML file to start from (for --config)."""
    from theodolite.runs.config import config_toml

    if command not in SCHEMAS:
        guess = nearest(command, SCHEMAS)
        hint = f"Did you mean {guess}?" if guess else f"Commands: {', '.join(SCHEMAS)}."
        raise ConfigError(f"No settings are known for {command!r}.", fix=hint)
    module, _, name = SCHEMAS[command].partition(":")
    typer.echo(f"# theodolite {command} --config FILE; options typed on the command line win.")
    typer.echo(config_toml(getattr(import_module(module), name)()), nl=False)
