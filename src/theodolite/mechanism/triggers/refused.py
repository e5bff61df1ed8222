"""Refused requests with the relevance of their words for the refusal direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.mechanism.directions.contrast import read_contrasts
from theodolite.mechanism.directions.means import DifferenceInMeans
from theodolite.mechanism.items import make_items
from theodolite.mechanism.relevance import relevance
from theodolite.mechanism.triggers.words import WordRelevance, from_relevance, word_spans

if TYPE_CHECKING:
    from theodolite.mechanism.directions.direction import Direction
    from theodolite.mechanism.relevance.relevance import Backend
    from theodolite.mechanism.triggers.weakness import StyleWeakness
    from theodolite.models.handle import LanguageModel

LOOKED_AT: Final = 24
"""Refused requests whose words are looked at, unless another number is asked for."""


def refused_relevance(
    model: LanguageModel,
    found: StyleWeakness,
    fitted: tuple[Sequence[Prompt], Sequence[Prompt]],
    harmful: Sequence[Prompt],
    *,
    most: int = LOOKED_AT,
    backend: str = "lrp",
    seed: int = 0,
    **kept: Any,
) -> tuple[list[Prompt], list[WordRelevance]] | str:
    """Return refused bare requests with the relevance of their words, or why there are none.

    Args:
        found: what became of the harmful requests.
        fitted: harmful and benign requests of other goals, which the direction is read from.
        harmful: the bare requests that were asked.
        most: requests at most.
        backend: of the relevance.
        kept: template, journal and progress.

    Raises: CapabilityError: the back end does not know the model.
    """
    told = dict(zip(found.harmful.prompt_ids, found.harmful.refused("plain"), strict=True))
    refused = [p for p in harmful if told[p.id] and len(word_spans(p.request)) > 1][:most]
    if len(refused) < 2:
        return f"{len(refused)} of {len(harmful)} bare harmful requests were refused"
    direction = refusal_reading(model, fitted, seed, kept)
    traced = relevance(
        model,
        refused,
        [direction],
        backend=cast("Backend", backend),
        position=direction.position,
        seed=seed,
        **kept,
    )
    return refused, from_relevance(traced, refused)


def refusal_reading(
    model: LanguageModel,
    fitted: tuple[Sequence[Prompt], Sequence[Prompt]],
    seed: int,
    kept: dict[str, Any],
) -> Direction:
    """Return the difference in means of harmful and benign requests, at the depth that parts best.

    Note: read at the last token of the prompt, whose stream becomes the first token of the reply.
    """
    items = make_items({HARMFUL: fitted[0], BENIGN: fitted[1]})
    depths = range(1, model.anatomy.n_layers + 1)
    contrast = read_contrasts(model, items, hidden_indices=depths, seed=seed, **kept)["prompt_last"]
    estimate = DifferenceInMeans().fit(contrast, seed=seed)
    best = max(estimate.hidden_indices, key=lambda depth: estimate.scores[depth])
    return estimate.leading(best)
