"""Scores of prompts with some of their tokens taken away: replaced by a neutral one, or unseen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from theodolite.engine.budget import token_budget
from theodolite.engine.passes import takes_position_ids
from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.relevance.exact import scores_of
from theodolite.mechanism.relevance.neutral import neutral_prompt
from theodolite.mechanism.relevance.query import Query, read_weights
from theodolite.models.taps import read

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

REMOVALS = ("neutral", "mask")
Variant = tuple[int, tuple[int, ...]]  # the prompt's place, and the tokens taken away


class _Read(Exception):
    """Raised inside a forward when the targets' depth was reached."""


def check_removal(model: LanguageModel, removal: str) -> None:
    """Refuse a way of taking tokens away that is unknown, or not open to a model.

    Raises:
        ConfigError: it is none of `REMOVALS`.
        CapabilityError: tokens are to be hidden, and the family counts positions by the mask.
    """
    if removal not in REMOVALS:
        raise ConfigError(
            f"Tokens are not taken away by '{removal}'.", fix=f"Use {' or '.join(REMOVALS)}."
        )
    if removal == "mask" and not takes_position_ids(model):
        raise CapabilityError(
            "Hiding tokens from attention",
            f"'{model.anatomy.family}' counts positions by the mask, so the others would move",
            "Use the removal neutral",
        )


def scores_without(
    model: LanguageModel,
    query: Query,
    encoded: Sequence[Encoded],
    variants: Sequence[Variant],
    removal: str,
) -> Tensor:
    """Return the scores of prompts without some of their tokens.

    Args:
        variants: what to take away from which prompt.
        removal: "neutral", or "mask": no later token attends to them; the others stay in place.

    Returns: float64, axes (variant, target).
    """
    if removal == "neutral":
        return scores_of(
            model, query, [neutral_prompt(model, encoded[i], places) for i, places in variants]
        )
    order = sorted(range(len(variants)), key=lambda v: len(encoded[variants[v][0]]))
    longest = len(encoded[variants[order[-1]][0]])
    together = max(1, token_budget(model, longest) // longest)
    scores = torch.zeros(len(variants), query.n_targets, dtype=torch.float64)
    for first in range(0, len(order), together):
        few = order[first : first + together]
        scores[few] = _hidden(model, query, encoded, [variants[v] for v in few]).cpu()
    return scores


def _hidden(
    model: LanguageModel, query: Query, encoded: Sequence[Encoded], variants: Sequence[Variant]
) -> Tensor:
    """Run prompts with some tokens hidden, no further than the targets' depth."""
    prompts = [encoded[i] for i, _ in variants]
    width = max(map(len, prompts))
    ids, mask = torch.zeros(2, len(prompts), width, dtype=torch.long)
    for row, (prompt, (_, places)) in enumerate(zip(prompts, variants, strict=True)):
        ids[row, : len(prompt)] = torch.tensor(prompt.ids)
        mask[row, : len(prompt)] = 1
        mask[row, list(places)] = 0
    found: list[Tensor] = []

    def keep(_key: int, value: Tensor) -> None:
        found.append(value)
        raise _Read

    tap = {0: model.anatomy.tap(query.hidden_index - 1, "resid_post")}
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": torch.arange(width).expand(len(prompts), -1),
    }
    given = {name: value.to(model.device) for name, value in inputs.items()}
    with torch.inference_mode(), model.lock, read(tap, keep), suppress(_Read):
        model.anatomy.decoder(**given, use_cache=False)
    weights = read_weights(prompts, query.position).to(model.device)
    return query.scores(torch.einsum("bt,btd->bd", weights, found[0].double()))
