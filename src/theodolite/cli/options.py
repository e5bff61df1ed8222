"""Options that several commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
ShowText = Annotated[
    bool, typer.Option("--show-text", help="Show harmful prompts and answers in the report.")
]


def names_in(text: str | None) -> tuple[str, ...]:
    """Split a comma-separated option into names."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def resume_from(value: str | None) -> Path | bool:
    """Turn the value of `--resume` into a path, True (the newest) or False (not asked)."""
    if value is None:
        return False
    return True if value == "newest" else Path(value)
