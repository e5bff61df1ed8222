"""Head ablation the plain way: one prompt, one head, one whole forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tests.oracles.engine_forward import logits
from tests.oracles.head_surgery import rows_of

Head = tuple[int, int]


@contextmanager
def without_queries(model: Any, layer: int, head: int) -> Iterator[None]:
    """Zero the query rows of a head in the weights, so that all its scores are 0."""
    rows = rows_of(model, layer, head)
    saved = [row.detach().clone() for row in rows]
    with torch.no_grad():
        for row in rows:
            row.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for row, old in zip(rows, saved):
                row.copy_(old)


def plain_map(
    model: Any, prompts: Sequence[Sequence[int]], without: Callable[..., Any], heads: Sequence[Head]
) -> torch.Tensor:
    """Return KL(intact || ablated) of the next token, axes (prompt, head), nats.

    Args:
        without: a context manager of (model, layer, head) in which that head is out.
    """
    found = torch.zeros(len(prompts), len(heads), dtype=torch.float64)
    for i, ids in enumerate(prompts):
        intact = logits(model, ids)[-1].double().log_softmax(-1)
        for j, head in enumerate(heads):
            with without(model, *head):
                ablated = logits(model, ids)[-1].double().log_softmax(-1)
            found[i, j] = (intact.exp() * (intact - ablated)).sum()
    return found
