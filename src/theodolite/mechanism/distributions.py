"""What is read of distributions of next tokens: how far apart two are, and the odds of a set."""

from __future__ import annotations

from collections.abc import Sequence

import torch

# The log-probability of a set above which what is left of 1 is summed, not taken off.
_NEAR = -1e-3


def divergence(intact: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    """Return KL(intact || changed) of log-probabilities, never below 0.

    Args:
        intact: nats, axes (..., vocab).
        changed: the same; axes broadcast.

    Returns: nats, axes (...); NaN where a log-probability is.
    """
    # A token that the model rules out has no share, whatever it is after.
    shares = intact.exp()
    terms = torch.where(shares == 0, 0.0, shares * (intact - changed))
    return terms.sum(-1).clamp_min(0.0)


def set_log_odds(logprobs: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Return log p / (1 - p) of a set of tokens.

    Source: arXiv:2406.11717, section 4, where the set opens a refusal.

    Args:
        logprobs: log-probabilities, axes (..., vocab).
        tokens: ids.

    Returns: nats, float64, axes (...).
    """
    wide = logprobs.double()
    inside = wide[..., sorted(set(tokens))].logsumexp(-1)
    odds: torch.Tensor = inside - (-torch.expm1(inside)).log()
    # 1 - p has no digits left where p is near 1: there the other tokens are summed themselves.
    near = inside > _NEAR
    if bool(near.any()):
        others = torch.ones(wide.shape[-1], dtype=torch.bool, device=wide.device)
        others[list(tokens)] = False
        odds[near] = inside[near] - wide[near][..., others].logsumexp(-1)
    return odds
