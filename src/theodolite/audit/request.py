"""What the user asked of an audit: the schema of its options, its TOML file and its manifest."""

from __future__ import annotations

from dataclasses import dataclass

from theodolite.runs.config import typed_options

COMMAND = "audit"


@dataclass(frozen=True)
class AuditRequest:
    """Everything that decides an audit's numbers; stored as the run's configuration.

    Args:
        model, base: model references; `base` runs the same panels to compare with.
        profile: quick, standard or full.
        only, skip: panel names.
        seed: the seed of every random choice.
        judge: a model that judges; None takes the offline scorers.
        show_text: show harmful text in the report.
        dtype, device: how the models are opened.
        revision, adapter: of `model`.
    """

    model: str = "smollm2"
    base: str | None = None
    profile: str = "quick"
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    seed: int = 0
    judge: str | None = None
    show_text: bool = False
    dtype: str = "auto"
    device: str | None = None
    revision: str | None = None
    adapter: str | None = None

    def command_line(self) -> list[str]:
        """Return the command that asks for the same audit, naming what is not the default."""
        return ["theodolite", COMMAND, self.model, *typed_options(self, leave=("model",))]
