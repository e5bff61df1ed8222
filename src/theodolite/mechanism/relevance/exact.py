"""Relevance by doing without: each token or earlier direction is taken away, and the rest is run.

The ground truth of the other back ends, one forward pass per token or direction. What two tokens
do together is in the number of both or of neither, so these do not add up to the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from theodolite.engine import capture
from theodolite.engine.budget import token_budget
from theodolite.mechanism.relevance.neutral import neutral_prompt, user_tokens
from theodolite.mechanism.relevance.query import GROUPS, Query, group_masks
from theodolite.mechanism.relevance.streams import Passage

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel


def by_leaving_out(
    model: LanguageModel, query: Query, encoded: Sequence[Encoded]
) -> dict[str, Tensor]:
    """Take parts of some prompts away, one at a time.

    Returns: as `lrp.by_rules`. A token of the user's is replaced by a neutral one; of an earlier
        direction the stream's component is removed, in one group of positions at a time.
    """
    return (
        _without_tokens(model, query, encoded)
        if query.basis is None
        else _patched(model, query, encoded)
    )


def scores_of(model: LanguageModel, query: Query, encoded: Sequence[Encoded]) -> Tensor:
    """Return the scores of prompts, float64, axes (row, target); shared prefixes run once."""
    layer = query.hidden_index - 1
    states = capture(model, encoded, layers=(layer,), positions=(query.position,))
    return query.scores(states.get("resid_post", layer=layer)[:, 0])


def _without_tokens(
    model: LanguageModel, query: Query, encoded: Sequence[Encoded]
) -> dict[str, Tensor]:
    variants = list(encoded)
    places = []
    for row, prompt in enumerate(encoded):
        for place in user_tokens(prompt):
            variants.append(neutral_prompt(model, prompt, (place,)))
            places.append((row, place))
    found = scores_of(model, query, variants)
    scores = found[: len(encoded)]
    tokens = torch.zeros(len(encoded), max(map(len, encoded)), query.n_targets).double()
    rows, columns = np.array(places).T
    tokens[rows, columns] = scores[rows] - found[len(encoded) :]
    return {"scores": scores, "tokens": tokens, "totals": tokens.sum(1, keepdim=True)}


def _patched(model: LanguageModel, query: Query, encoded: Sequence[Encoded]) -> dict[str, Tensor]:
    passage = Passage(model, query, encoded)
    with torch.no_grad():
        stream = passage.stream()
        whole = stream[query.source]
        scores = query.scores(passage.read(stream[query.hidden_index]))
        along = query.coordinates(whole)
        basis = torch.from_numpy(query.basis).to(whole.device)
        masks = group_masks(encoded, query.position).to(whole.device)
        pairs = [(g, i) for g in range(len(GROUPS)) for i in range(len(basis))]
        rows, length = whole.shape[:2]
        together = max(1, token_budget(model, length) // (rows * length))
        lost = []
        for first in range(0, len(pairs), together):
            few = [
                whole - (along[..., i, None] * masks[..., g, None] * basis[i]).to(whole.dtype)
                for g, i in pairs[first : first + together]
            ]
            read = passage.read(passage.onward(torch.cat(few), len(few)))
            lost.append(scores - query.scores(read).view(len(few), rows, -1))
    parts = torch.cat(lost).view(len(GROUPS), len(basis), rows, -1).permute(2, 0, 1, 3)
    rest = torch.zeros(rows, len(GROUPS), query.n_targets).to(parts)
    return {"scores": scores, "parts": parts, "rest": rest, "totals": parts.sum((1, 2))[:, None]}
