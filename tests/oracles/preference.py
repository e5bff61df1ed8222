"""Preferences, slowly: DPO one pair at a time, orders by counting, every formula written out.

Nothing is padded, nothing is shared, and every answer is run anew for every pair it is part of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch


def logprob(module: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Return the log-probability of an answer, in the module's own precision."""
    ids = torch.tensor([[*prompt, *answer]])
    logprobs = module(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return torch.stack([logprobs[p, token] for p, token in zip(places, answer, strict=True)]).sum()


def pair_loss(
    policy: Any,
    reference: Any,
    prompt: Sequence[int],
    better: Sequence[int],
    worse: Sequence[int],
    beta: float,
) -> torch.Tensor:
    """Return -log sigma(beta x the shift of the log-ratio) of one pair: four runs of a model."""
    with torch.no_grad():
        start = logprob(reference, prompt, better) - logprob(reference, prompt, worse)
    now = logprob(policy, prompt, better) - logprob(policy, prompt, worse)
    return -torch.log(torch.sigmoid(beta * (now - start)))


def all_pairs_loss(
    policy: Any,
    reference: Any,
    prompt: Sequence[int],
    ranked: Sequence[Sequence[int]],
    beta: float,
) -> torch.Tensor:
    """Return the sum of the losses of every pair of an order, each computed by itself."""
    losses = [
        pair_loss(policy, reference, prompt, better, worse, beta)
        for better, worse in combinations(ranked, 2)
    ]
    return torch.stack(losses).sum()


def order_loss(scores: Sequence[float]) -> float:
    """Return the sum over i < j of log(1 + exp(s_j - s_i))."""
    return sum(math.log1p(math.exp(worse - better)) for better, worse in combinations(scores, 2))


def plackett_luce(scores: Sequence[float]) -> float:
    """Return minus the log of the chance to draw the order, the best of what is left each time."""
    chance = 1.0
    for i in range(len(scores)):
        chance *= math.exp(scores[i]) / sum(math.exp(s) for s in scores[i:])
    return -math.log(chance)


def margins_by_gap(gained: Sequence[Sequence[float]]) -> dict[int, list[float]]:
    """Return every pair's gain of the better over the worse answer, by their gap in rank."""
    found: dict[int, list[float]] = {}
    for row in gained:
        for i in range(len(row)):
            for j in range(i + 1, len(row)):
                found.setdefault(j - i, []).append(row[i] - row[j])
    return found


def count_orders(gained: Sequence[Sequence[float]]) -> tuple[int, int, int]:
    """Return (pairs in the right order, pairs, rows wholly in order)."""
    every = [m for margins in margins_by_gap(gained).values() for m in margins]
    whole = sum(list(row) == sorted(set(row), reverse=True) for row in gained)
    return sum(m > 0 for m in every), len(every), whole
