"""Dynamics along a reply, the slow way: a whole forward of the Hugging Face model per position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch


def distribution(module: Any, ids: Sequence[int]) -> list[float]:
    """Return the log-probability of every token after some tokens, computed all anew."""
    with torch.no_grad():
        logits = module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    return logits.double().log_softmax(-1).tolist()


def position(
    logprobs: Sequence[float], truth: int, listed: Sequence[int]
) -> tuple[float, float, float, int]:
    """Return refusal mass, probability of the true token, log-odds and rank of one position."""
    mass = sum(math.exp(logprobs[i]) for i in set(listed))
    best = max(logprobs[i] for i in listed)
    rank = sum(1 for value in logprobs if value > best)
    return mass, math.exp(logprobs[truth]), best - logprobs[truth], rank


def divergence(first: Sequence[float], second: Sequence[float]) -> float:
    """Return KL(first || second) of log-probabilities."""
    return sum(math.exp(a) * (a - b) for a, b in zip(first, second, strict=True))


def logprob(module: Any, before: Sequence[int], tokens: Sequence[int]) -> float:
    """Return the log-probability of tokens after others, one whole forward per token."""
    return sum(
        distribution(module, [*before, *tokens[:i]])[token] for i, token in enumerate(tokens)
    )


def gap(
    module: Any, before: Sequence[int], ahead: Sequence[int], triggers: Sequence[Sequence[int]]
) -> float:
    """Return the mean over triggers of log P(trigger) / n less log P(next n of the reply) / n."""
    found = []
    for trigger in triggers:
        n = len(trigger)
        found.append(logprob(module, before, trigger) / n - logprob(module, before, ahead[:n]) / n)
    return sum(found) / len(found)
