"""theodolite config: the settings a TOML file may hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from theodolite.errors import ConfigError
from theodolite.text.suggest import did_you_mean

COMMANDS = ("audit", "eval", "explain", "correct", "train")


def config(
    command: Annotated[
        list[str] | None,
        typer.Argument(help="The command whose settings are shown, e.g. `explain probes`."),
    ] = None,
) -> None:
    """Print the settings of a command as a TOML file to start from (for --config, or a recipe)."""
    from theodolite.runs.config import config_toml

    words = command or ["audit"]
    settings = schema(words)()
    usage = f"{' '.join(words)} --config FILE"
    if words[0] == "train":
        settings = replace(settings, method=_method(words[1:]))
        usage = f"{settings.command} FILE"
    typer.echo(f"# theodolite {usage}; options typed on the command line win.")
    typer.echo(config_toml(settings), nl=False)


def schema(words: list[str]) -> type[Any]:
    """Return the dataclass of a command's settings.

    Raises: ConfigError: there is no such command (the nearest is suggested), or its name is cut.
    """
    verb, *nouns = words
    if verb not in COMMANDS:
        raise ConfigError(f"No settings are known for {verb!r}.", fix=did_you_mean(verb, COMMANDS))
    if verb == "audit":
        from theodolite.audit.request import AuditRequest

        return AuditRequest
    if verb == "train":
        from theodolite.training.recipe import Recipe

        return Recipe
    if not nouns or (verb == "eval" and len(nouns) != 1):
        raise ConfigError(
            f"{verb} needs one name behind it.", fix=f"See `theodolite {verb} --help`."
        )
    if verb == "correct":
        return _correction(" ".join(nouns))
    if verb == "eval":
        from theodolite.behaviour.evaluation import request_schema as benchmark_schema

        return benchmark_schema(nouns[0])
    from theodolite.mechanism.explain import request_schema as analysis_schema

    return analysis_schema(" ".join(nouns))


def _correction(noun: str) -> type[Any]:
    """Return the settings of a verb of `correct`; raises ConfigError where there is no such one."""
    from theodolite.audit.loops.recover import RecoverRequest
    from theodolite.audit.loops.request import HardenRequest
    from theodolite.correction.respond_request import RespondRequest

    known = {"harden": HardenRequest, "respond": RespondRequest, "synthesise": RecoverRequest}
    if noun not in known:
        raise ConfigError(f"There is no correction {noun!r}.", fix=did_you_mean(noun, known))
    return known[noun]


def _method(nouns: list[str]) -> str:
    """Return the method a recipe of `train` begins with; without a noun it is `ssft-chat`.

    Raises: ConfigError: there is no such way of training (the nearest is suggested).
    """
    methods = {"ssft": "ssft-chat", "dpo": "dpo", "listwise": "listwise"}
    name = " ".join(nouns) or "ssft"
    if name not in methods:
        raise ConfigError(f"There is no training {name!r}.", fix=did_you_mean(name, methods))
    return methods[name]
