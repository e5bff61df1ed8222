"""Options that several commands share, spelled once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_type_hints

import typer

from theodolite.errors import ConfigError

NEWEST: Final = "newest"

AnyModel = Annotated[
    str, typer.Option(help="smollm2, org/name, a folder, a .gguf file or api:PROVIDER/MODEL.")
]
LocalModel = Annotated[str, typer.Option(help="smollm2, org/name, a folder or a .gguf file.")]
AlignedModel = Annotated[
    str, typer.Option("--model", "--aligned", help="smollm2, org/name or a folder.")
]
BaseToFit = Annotated[
    str | None, typer.Option(help="The model before training, to fit components on.")
]
BenignFile = Annotated[Path | None, typer.Option(help="File of benign requests.")]
Template = Annotated[str, typer.Option(help="chat, none, moderation or auto.")]
Limit = Annotated[
    int | None, typer.Option(help="The first so many distinct requests of each class.")
]
Adapter = Annotated[str | None, typer.Option(help="A LoRA adapter folder for the model.")]
Revision = Annotated[str | None, typer.Option(help="Revision of a model on the hub.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; messages go to stderr.")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file with the same options and more.")
]
Judge = Annotated[
    str | None,
    typer.Option(help="Model that judges, e.g. openai/gpt-4o; default: the offline scorer."),
]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Run folder; default runs/<time>-<command>-<model>/.")
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="[RUN]",
        help="Continue a run; alone: the newest unfinished run of this command.",
    ),
]
TaskOptions = Annotated[
    list[str] | None,
    typer.Option(
        "-T",
        "--task",
        metavar="KEY=VALUE",
        help="An option of the benchmark or analysis; `theodolite config eval|explain NAME` "
        "lists them.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
ShowText = Annotated[
    bool, typer.Option("--show-text", help="Show harmful prompts and answers in the report.")
]
RUN_OPTIONS: Final = {
    "dtype": (Dtype, "auto"),
    "device": (Device, None),
    "seed": (Seed, 0),
    "out": (OutFolder, None),
    "resume": (Resume, None),
    "config": (Config, None),
    "show_text": (ShowText, False),
    "as_json": (AsJson, False),
}
"""What a command ends with that runs a local model: its kind and default, by name, in order."""

Command = Callable[..., None]


def with_run_options(*, show_text: bool = True) -> Callable[[Command], Command]:
    """Give a command `RUN_OPTIONS` behind its own options; it reads them from its context.

    Args:
        show_text: `--show-text` is one of them.
    """
    more = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in RUN_OPTIONS.items()
        if show_text or name != "show_text"
    ]

    def add(command: Command) -> Command:
        own = signature(command, eval_str=True)
        every = own.replace(parameters=[*own.parameters.values(), *more])

        @wraps(command)
        def run(**typed: Any) -> None:
            command(**{name: typed[name] for name in own.parameters})

        # What the command-line library reads the options from.
        run.__annotations__ = {name: p.annotation for name, p in every.parameters.items()}
        run.__signature__ = every  # type: ignore[attr-defined]
        return run

    return add


def resumed_run(
    value: str | None, command: str, out: Path | None
) -> tuple[Path | None, dict[str, Any]]:
    """Return the folder of the run that `--resume` means, and what that run was asked.

    Args:
        value: as typed; None where it was not.
        out: the value of `--out`, which is for new runs.

    Returns: None and nothing where no run is resumed.

    Raises:
        RunError: there is no such run, or it is another command's.
        ConfigError: `--out` was typed, too.
    """
    if value is None:
        return None, {}
    from theodolite.runs.folder import DEFAULT_ROOT, find_resumed

    if out is not None:
        raise ConfigError(
            "--out and --resume exclude each other: a resumed run stays in its folder.",
            fix="Leave one of them out.",
        )
    path, manifest = find_resumed(None if value == NEWEST else Path(value), command, DEFAULT_ROOT)
    return path, manifest["config"]


def task_options(pairs: list[str], schema: type[Any]) -> dict[str, Any]:
    """Read `key=value` words for the `task` table of a schema.

    Whole numbers, true and false are taken as such, except where the option is text.

    Raises: ConfigError: a word without `=`.
    """
    kinds = get_type_hints(next(f.type for f in fields(schema) if f.name == "task"))
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"-T {pair!r} holds no value.", fix="Write it as -T key=value.")
        name = key.replace("-", "_")
        kind = kinds.get(name)
        text = kind is str or str in get_args(kind)
        options[f"task.{name}"] = value if text else plain_value(value)
    return options


def plain_value(text: str) -> Any:
    """Return a number or truth value where the text is one, else the text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
