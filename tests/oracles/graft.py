"""Grafting the slow, obvious way: one whole forward per recipient and layer, one vector written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch


def naive_logits(
    model: Any, ids: Sequence[int], hidden_index: int, vector: torch.Tensor
) -> torch.Tensor:
    """Return the last logits, axes (vocab), with the last token's stream replaced at one depth."""
    from theodolite.models.taps import write

    def put(value: torch.Tensor) -> torch.Tensor:
        new = value.clone()
        new[:, -1] = vector.to(value)
        return new

    site = "resid_post" if hidden_index else "resid_pre"
    tap = model.anatomy.tap(max(hidden_index - 1, 0), site)
    with torch.no_grad(), write(tap, put):
        return model.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]


def states(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Return the last token's stream at every depth, axes (hidden_index, d_model)."""
    from tests.oracles import engine_forward

    first = engine_forward.site_values(model, ids, "resid_pre")[:1, -1]
    return torch.cat([first, engine_forward.site_values(model, ids, "resid_post")[:, -1]])


def windowed_logits(
    model: Any,
    ids: Sequence[int],
    edits: Mapping[int, Callable[[torch.Tensor], torch.Tensor]],
    places: Callable[[int], bool] | None = None,
) -> torch.Tensor:
    """Return the last logits, axes (vocab), with the stream edited at several depths.

    Args:
        edits: hidden_index -> function of one stream vector.
        places: positions that are edited (default: the last one).
    """
    from theodolite.models.taps import write

    chosen = places or (lambda at: at == len(ids) - 1)

    def put(value: torch.Tensor, edit: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        rows = [edit(v) if chosen(at) else v for at, v in enumerate(value[0])]
        return torch.stack(rows)[None]

    with torch.no_grad(), ExitStack() as stack:
        for index, edit in edits.items():
            site = "resid_post" if index else "resid_pre"
            tap = model.anatomy.tap(max(index - 1, 0), site)
            stack.enter_context(write(tap, lambda value, edit=edit: put(value, edit)))
        return model.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]


def skipped_logits(
    model: Any,
    ids: Sequence[int],
    hidden_index: int,
    vector: torch.Tensor,
    *,
    prompt: int | None = None,
    after: bool = True,
) -> torch.Tensor:
    """Return the last logits where one block hands on its input, the prompt's end overwritten.

    Args:
        prompt: tokens of the prompt (default: all).
        after: the block is skipped, and overwritten, for what follows the prompt, too.
    """
    block = model.anatomy.blocks[hidden_index - 1]
    own = block.forward
    end = len(ids) if prompt is None else prompt

    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = (args[0] if args else kwargs["hidden_states"]).clone()
        hidden[:, end - 1 : None if after else end] = vector
        if args:
            output = own(hidden, *args[1:], **kwargs)
        else:
            output = own(**{**kwargs, "hidden_states": hidden})
        first = output[0] if isinstance(output, tuple) else output
        if not after:
            hidden[:, end:] = first[:, end:]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    block.forward = forward
    try:
        with torch.no_grad():
            return model.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    finally:
        del block.forward


def effect(
    logits: torch.Tensor, intact: torch.Tensor, positive: Sequence[int], negative: Sequence[int]
) -> tuple[float, float, float, int]:
    """Return log-odds, mass of refusing tokens, KL(intact || grafted) and the top token."""
    p, q = intact.double().softmax(-1), logits.double().softmax(-1)
    friendly, refusing = float(q[list(positive)].sum()), float(q[list(negative)].sum())
    kl = float((p * (p / q).log()).sum())
    return math.log(friendly / refusing), refusing, kl, int(logits.argmax())
