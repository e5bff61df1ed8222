"""Goals that may be trained on, and the rule that none of them is one that measures."""

from __future__ import annotations

from collections.abc import Iterable

from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.errors import DataError
from theodolite.mechanism.graft.plan import cluster_of


def train_goals() -> PromptSet:
    """Return the bundled requests that may be trained on: harmful, twins, and other benign ones."""
    sets = [bundled("refusal"), bundled("safety_training")]
    chosen = [p for each in sets for p in each if p.split == "train"]
    return PromptSet("train goals", tuple(chosen), "bundled refusal and safety_training, train")


def refuse_measured_goals(prompts: Iterable[Prompt], more: Iterable[Prompt] = ()) -> None:
    """Refuse requests that measure: of another split than train, or equal to one that does.

    Args:
        prompts: what is to be trained on.
        more: requests that measure beside the bundled ones.

    Raises: DataError: names the first.
    """
    measured = [p for p in (*bundled("refusal"), *more) if p.split != "train"]
    goals = {cluster_of(p) for p in measured}
    words = {_folded(p.request) for p in measured}
    for prompt in prompts:
        if prompt.split != "train":
            raise DataError(
                f"Prompt {shown(prompt.id)} is of the split {shown(prompt.split or 'none')}, and "
                "hardening data is made of train goals alone.",
                fix="Give prompts whose field 'split' is train.",
            )
        if cluster_of(prompt) in goals or _folded(prompt.request) in words:
            raise DataError(
                f"Prompt {shown(prompt.id)} is a goal that refusal is measured on.",
                fix="Leave it out.",
            )


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
