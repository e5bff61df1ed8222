"""Relevance by gradient times input: one forward pass, all targets in one backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from theodolite.mechanism.relevance.query import Query, group_masks
from theodolite.mechanism.relevance.streams import Passage

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

_TARGETS_AT_ONCE = 32


def by_rules(model: LanguageModel, query: Query, encoded: Sequence[Encoded]) -> dict[str, Tensor]:
    """Trace the targets of some prompts back; called inside `relevance_rules`.

    Source: arXiv:2402.05602 (rules), arXiv:2502.09674 (partial passes). Ours: the start is the
    signed score, earlier directions get the relevance of every position, and the sum is noted at
    each boundary.

    Returns: see `in_terms`; with `scores` (row, target) and `totals` (row, boundary, target).
    """
    passage = Passage(model, query, encoded)
    with torch.enable_grad():
        stream = passage.stream()
        scores = query.scores(passage.read(stream[query.hidden_index]))
    places = [stream[depth] for depth in query.boundaries]
    parts = [
        _relevance(query, encoded, places, gradients) for gradients in _gradients(scores, places)
    ]
    joined = {name: torch.cat([part[name] for part in parts], dim=-1) for name in parts[0]}
    return {"scores": scores.detach(), **joined}


def _gradients(scores: Tensor, places: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Return the gradients of all targets, a few targets at a time; axes (target, row, ...)."""
    total, count = scores.sum(0), scores.shape[1]
    found = []
    for start in range(0, count, _TARGETS_AT_ONCE):
        stop = min(start + _TARGETS_AT_ONCE, count)
        one_hot = torch.eye(count, dtype=total.dtype, device=total.device)[start:stop]
        found.append(
            torch.autograd.grad(
                total, places, one_hot, retain_graph=stop < count, is_grads_batched=True
            )
        )
    return found


def _relevance(
    query: Query, encoded: Sequence[Encoded], places: Sequence[Tensor], gradients: Sequence[Tensor]
) -> dict[str, Tensor]:
    totals = [
        torch.einsum("rpd,trpd->rt", place.detach().double(), gradient.double())
        for place, gradient in zip(places, gradients, strict=True)
    ]
    found = in_terms(query, encoded, places[0].detach(), gradients[0])
    return {**found, "totals": torch.stack(totals, dim=1)}


def in_terms(
    query: Query, encoded: Sequence[Encoded], stream: Tensor, gradient: Tensor
) -> dict[str, Tensor]:
    """Return stream times gradient by token, or by earlier direction and group of positions.

    Args:
        stream: at the query's source, axes (row, position, d_model).
        gradient: axes (target, row, position, d_model).

    Returns: float64 `tokens` (row, position, target); or `parts` (row, group, source, target) and
        `rest` (row, group, target), what the directions do not span.
    """
    wide, slopes = stream.double(), gradient.double()
    tokens = torch.einsum("rpd,trpd->rpt", wide, slopes)
    if query.basis is None:
        return {"tokens": tokens}
    basis = torch.from_numpy(query.basis).to(wide.device)
    along = torch.einsum("trpd,sd->rpst", slopes, basis)
    each = query.coordinates(wide)[..., None] * along
    masks = group_masks(encoded, query.position).to(wide.device)
    return {
        "parts": torch.einsum("rpg,rpst->rgst", masks, each),
        "rest": torch.einsum("rpg,rpt->rgt", masks, tokens - each.sum(2)),
    }
