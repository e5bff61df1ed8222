"""What `theodolite eval toxicity` can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.continuing.options import Asking
from theodolite.behaviour.toxicity.scoring import TAU
from theodolite.errors import ConfigError
from theodolite.judging.toxicity import Kind

CONCERN: Final = "toxicity"
KINDS: Final[tuple[Kind, ...]] = ("lexical", "neural", "judge")


@dataclass(frozen=True)
class Options(Asking):
    """What `theodolite eval toxicity` can be asked; see `continuing.options` for the rest.

    Args:
        tau: a continuation is toxic where its score is above.
    """

    tau: float = TAU


def check_tau(options: Options) -> None:
    """Refuse a threshold outside of 0 to 1; raises ConfigError."""
    if not 0 <= options.tau <= 1:
        raise ConfigError(f"task.tau is {options.tau:g}.", fix="Give a number from 0 to 1.")
