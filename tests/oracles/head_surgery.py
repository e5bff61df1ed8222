"""Heads by hand: the weight rows that make one head's query or key, edited in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


def _fused(model: Any, head: int, part: str) -> tuple[str, int]:
    """Return the projection and the first row of a head's query ("q") or key ("k")."""
    anatomy = model.anatomy
    width, heads = anatomy.head_dim, anatomy.n_heads
    groups, size = anatomy.n_kv_heads, heads // anatomy.n_kv_heads
    config = anatomy.decoder.config
    third = {"q": 0, "k": 1}[part]
    side_by_side = third * heads * width + head * width
    per_head = (3 * head + third) * width
    match anatomy.family:
        case "gpt2":
            return "attn.c_attn", side_by_side
        case "mpt":
            return "attn.Wqkv", side_by_side
        case "phi3":
            return "self_attn.qkv_proj", side_by_side
        case "gpt_neox":
            return "attention.query_key_value", per_head
        case "bloom":
            return "self_attention.query_key_value", per_head
        case "codegen":  # four stripes of (query, value, key), here of one head each
            return "attn.qkv_proj", 3 * head * width
        case "falcon" if config.new_decoder_architecture:
            group, place = divmod(head, size)
            return "self_attention.query_key_value", (group * (size + 2) + place) * width
        case "falcon" if groups == 1:
            return "self_attention.query_key_value", head * width
        case "falcon":
            return "self_attention.query_key_value", per_head
        case "gptj":
            return f"attn.{part}_proj", head * width
        case "gpt_neo":
            return f"attn.attention.{part}_proj", head * width
    return f"self_attn.{part}_proj", head * width


def rows_of(model: Any, layer: int, head: int, part: str = "q") -> list[torch.Tensor]:
    """Return views of the weight rows and the bias that make a head's query or key."""
    name, first = _fused(model, head, part)
    module = model.anatomy.blocks[layer].get_submodule(name)
    rows = slice(first, first + model.anatomy.head_dim)
    transposed = model.anatomy.family == "gpt2"
    views = [module.weight[:, rows] if transposed else module.weight[rows]]
    if getattr(module, "bias", None) is not None:
        views.append(module.bias[rows])
    return views


def bake_undifferentiated(model: Any, layer: int, heads: Sequence[int]) -> None:
    """Zero the query rows of heads, for good."""
    with torch.no_grad():
        for head in heads:
            for view in rows_of(model, layer, head):
                view.zero_()


def bake_mean(model: Any, layer: int, heads: Sequence[int], part: str) -> None:
    """Let heads have the mean of all heads' queries or keys, for good (no norm, any rotation)."""
    every = [rows_of(model, layer, head, part) for head in range(model.anatomy.n_heads)]
    with torch.no_grad():
        means = [torch.stack(list(views)).mean(0) for views in zip(*every)]
        for head in heads:
            for view, mean in zip(every[head], means):
                view.copy_(mean)


@contextmanager
def undone(model: Any) -> Iterator[None]:
    """Put every weight back at the end."""
    saved = {name: value.clone() for name, value in model.module.state_dict().items()}
    try:
        yield
    finally:
        model.module.load_state_dict(saved)
