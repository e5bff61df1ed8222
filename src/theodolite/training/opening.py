"""The opening that all rows of a pass share is run once: its keys and values serve every row.

Rows of one chat template begin with the same system turn, often half of a short row. Under a causal
mask the opening does not see what follows, so one run of it stands for all, gradients included.
Whether a family keeps to that is tried on the model itself (`opens_exactly`).
"""

from __future__ import annotations

from typing import Any, Final

import torch

from theodolite.training.batches import IGNORED, MOST_DIFFERENCE

# Below this an opening costs more to split off than to run again.
FEWEST_TOKENS: Final = 8


def shared_opening(ids: torch.Tensor, labels: torch.Tensor) -> int:
    """Return how many tokens all rows begin with; 0 where it is not worth while.

    Args:
        ids, labels: axes (row, token). The opening ends before the token that predicts the first
            label, so that every state the loss needs comes after it.
    """
    if len(ids) < 2:
        return 0
    same = (ids == ids[:1]).all(0).long().cumprod(0).sum()
    first = (labels == IGNORED).all(0).long().cumprod(0).sum()
    length = int(torch.minimum(same, first - 1))
    return length if length >= FEWEST_TOKENS else 0


def states_after_opening(
    inner: Any, ids: torch.Tensor, mask: torch.Tensor, opening: int
) -> torch.Tensor:
    """Return the last states of padded rows from the end of their opening on.

    Args:
        inner: the model below its output layer.
        ids, mask: input ids and attention mask, axes (row, token).
        opening: how many leading tokens the rows share.

    Returns: axes (row, token - opening, d_model).
    """
    shared = inner(input_ids=ids[:1, :opening], use_cache=True).past_key_values
    shared.batch_repeat_interleave(len(ids))
    found = inner(
        input_ids=ids[:, opening:], attention_mask=mask, past_key_values=shared, use_cache=True
    )
    states: torch.Tensor = found.last_hidden_state
    return states


def opens_exactly(inner: Any, ids: torch.Tensor, mask: torch.Tensor, opening: int) -> bool:
    """Return whether rows have the states after a shared opening that they have as a whole.

    Note: two forward passes; a family without such a cache does not open exactly.
    """
    try:
        with torch.no_grad():
            split = states_after_opening(inner, ids, mask, opening)
            whole = inner(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False
    real = mask[:, opening:].bool()
    split, whole = split[real].double(), whole[:, opening:][real].double()
    scale = whole.abs().max().clamp(min=1.0)
    return bool((split - whole).abs().max() <= MOST_DIFFERENCE * scale)
