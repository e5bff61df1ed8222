"""Interventions by hand: edited weights of tiny random models, and slow hooks token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def head_columns_scaled(
    model: Any, layer: int, heads: Sequence[int], factor: float
) -> Iterator[None]:
    """Multiply the output projection's weights of some heads; undo it at the end."""
    row = model.anatomy.row
    weight = model.anatomy.blocks[layer].get_submodule(row.out_proj).weight
    saved = weight.clone()
    width = model.anatomy.head_dim
    with torch.no_grad():
        for head in heads:
            part = slice(head * width, (head + 1) * width)
            if row.transposed:
                weight[part] *= factor
            else:
                weight[:, part] *= factor
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(saved)


def changed_logits(
    model: Any,
    ids: Sequence[int],
    layer: int,
    site: str,
    change: Callable[[torch.Tensor, int], torch.Tensor],
) -> torch.Tensor:
    """Return the logits after every token, with `change(value, position)` applied one by one."""
    from theodolite.models.taps import write

    def every(value: torch.Tensor) -> torch.Tensor:
        rows = [change(value[0, place], place) for place in range(value.shape[1])]
        return torch.stack(rows)[None]

    with torch.no_grad(), write(model.anatomy.tap(layer, site), every):
        return model.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
