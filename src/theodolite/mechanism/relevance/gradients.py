"""Relevance by integrated gradients: the model itself, along a straight line of streams.

To tokens the line begins at the prompt with neutral words: every token of the user's turn is the
same plain one. To earlier directions it begins at what they leave over of the stream. The sum of
all relevance is the score at the end less that at the beginning, up to the steps taken.

Source: arXiv:1703.01365; Gauss-Legendre nodes in place of even steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from theodolite.engine.budget import token_budget
from theodolite.mechanism.relevance.lrp import in_terms
from theodolite.mechanism.relevance.neutral import neutral_prompt
from theodolite.mechanism.relevance.query import Query
from theodolite.mechanism.relevance.streams import Passage

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

STEPS = 32


def by_gradients(
    model: LanguageModel, query: Query, encoded: Sequence[Encoded]
) -> dict[str, Tensor]:
    """Integrate the gradients of some prompts.

    Returns: as `lrp.by_rules`; the totals are short of the scores by those of the beginning.
    """
    passage = Passage(model, query, encoded)
    with torch.no_grad():
        stream = passage.stream()
    end = stream[query.source]
    scores = query.scores(passage.read(stream[query.hidden_index]))
    if query.basis is None:
        neutral = replace(passage, encoded=[neutral_prompt(model, prompt) for prompt in encoded])
        with torch.no_grad():
            start = neutral.stream()[query.source]
    else:
        spanned = query.coordinates(end) @ torch.from_numpy(query.basis).to(end.device)
        start = (end.double() - spanned).to(end.dtype)
    way = end - start
    mean = _mean_gradient(passage, start, way)
    found = in_terms(query, encoded, way, mean)
    everything = torch.einsum("rpd,trpd->rt", way.double(), mean.double())
    return {"scores": scores, "totals": everything[:, None], **found}


def _mean_gradient(passage: Passage, start: Tensor, way: Tensor) -> Tensor:
    """Return the mean gradient along the way; float64, axes (target, row, position, d_model)."""
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    shares, weights = (nodes + 1) / 2, weights / 2
    rows, length = way.shape[:2]
    together = max(1, token_budget(passage.model, length) // (2 * rows * length))
    total = torch.zeros(passage.query.n_targets, *way.shape, dtype=torch.float64, device=way.device)
    for first in range(0, STEPS, together):
        few = torch.from_numpy(shares[first : first + together]).to(way)
        with torch.enable_grad():
            line = (start + few[:, None, None, None] * way).flatten(0, 1).requires_grad_(True)
            read = passage.read(passage.onward(line, len(few)))
            scores = passage.query.scores(read).sum(0)
        one_hot = torch.eye(len(scores), dtype=scores.dtype, device=scores.device)
        (slopes,) = torch.autograd.grad(scores, line, one_hot, is_grads_batched=True)
        by_step = slopes.double().reshape(len(slopes), len(few), *way.shape)
        share = torch.from_numpy(weights[first : first + together]).to(total)
        total += torch.einsum("s,tsrpd->trpd", share, by_step)
    return total
