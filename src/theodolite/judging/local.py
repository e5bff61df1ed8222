"""Judges whose weights are at hand: named `theodolite/REF`, read by probabilities, not by words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

PROVIDER: Final = "theodolite/"


def is_local(judge: Any) -> bool:
    """Return whether a judge is named as a local model."""
    return isinstance(judge, str) and judge.startswith(PROVIDER)


def open_judge(judge: str) -> LanguageModel:
    """Open a local judge.

    Args:
        judge: `theodolite/REF`.

    Raises:
        CapabilityError: the model gives no probabilities.
        TheodoliteError: it cannot be opened.
    """
    from theodolite.models import open_model

    opened: Any = open_model(judge.removeprefix(PROVIDER))
    opened.require("logprobs")
    found: LanguageModel = opened
    return found
