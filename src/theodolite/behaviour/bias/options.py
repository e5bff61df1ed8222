"""What `theodolite eval bias` can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.continuing.options import Asking
from theodolite.judging.toxicity import Kind
from theodolite.judging.toxicity_registry import VADER

CONCERN: Final = "bias"
KINDS: Final[tuple[Kind, ...]] = ("sentiment", "neural")


@dataclass(frozen=True)
class Options(Asking):
    """What `theodolite eval bias` can be asked; see `continuing.options` for the rest.

    Args:
        limit: so many prompts of each group.
        scorers: of sentiment (`vader`), or classifiers (`hf:PATH#CLASS`) whose class probabilities
            are the regard.
    """

    scorers: str = VADER
