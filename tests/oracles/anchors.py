"""The slow, obvious way to a planted answer's path: whole forwards, masks in place of our cuts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def masked_edges(
    model: Any, length: int, edges: Iterable[tuple[int, int, int, int]]
) -> Iterator[None]:
    """Add -inf to scores (layer, head, query, key) through each module's own mask argument."""
    by_layer: dict[int, list[tuple[int, int, int]]] = {}
    for layer, head, query, key in edges:
        by_layer.setdefault(layer, []).append((head, query, key))
    lowest = torch.finfo(model.dtype).min
    with ExitStack() as stack:
        for layer, some in by_layer.items():
            mask = torch.full((length, length), lowest).triu(1)
            window = model.anatomy.sliding_windows[layer]
            if window is not None:
                mask = mask + torch.full((length, length), lowest).tril(-window)
            mask = mask.clamp_min(lowest).repeat(1, model.anatomy.n_heads, 1, 1)
            for head, query, key in some:
                mask[0, head, query, key] = lowest

            def hook(_module: Any, args: Any, kwargs: Any, mask: torch.Tensor = mask) -> Any:
                return args, {**kwargs, "attention_mask": mask}

            module = model.anatomy.attention(layer)
            handle = module.register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def logits_without(
    model: Any, ids: Sequence[int], edges: Iterable[tuple[int, int, int, int]]
) -> torch.Tensor:
    """Return the logits after the last token with edges masked, by one whole forward."""
    with torch.no_grad(), masked_edges(model, len(ids), edges):
        return model.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]


def logits_with_hidden_keys(model: Any, ids: Sequence[int], hidden: Sequence[int]) -> torch.Tensor:
    """Return the last logits with tokens masked for everybody, positions as they were."""
    mask = torch.ones(1, len(ids), dtype=torch.long)
    mask[0, list(hidden)] = 0
    places = torch.arange(len(ids))[None]
    with torch.no_grad():
        return model.module(
            input_ids=torch.tensor([list(ids)]),
            attention_mask=mask,
            position_ids=places,
            use_cache=False,
        ).logits[0, -1]


def attention_to(model: Any, ids: Sequence[int], span: tuple[int, int]) -> torch.Tensor:
    """Return the attention of every token to a span, axes (position, layer, head), run eagerly."""
    before = model.module.config._attn_implementation
    model.module.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            found = model.module(
                input_ids=torch.tensor([list(ids)]), use_cache=False, output_attentions=True
            ).attentions
    finally:
        model.module.set_attn_implementation(before)
    every = torch.stack([one[0] for one in found])  # layer, head, query, key
    return every[..., span[0] : span[1]].sum(-1).permute(2, 0, 1)


def logits_patched(
    model: Any, ids: Sequence[int], other: Sequence[int], layer: int, tokens: Sequence[int]
) -> torch.Tensor:
    """Return the last logits with the stream entering a block taken from another run at tokens."""
    block = model.anatomy.blocks[layer]
    seen: list[torch.Tensor] = []

    def note(_module: Any, args: Any, kwargs: Any) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"]).clone())

    def put(_module: Any, args: Any, kwargs: Any) -> Any:
        new = (args[0] if args else kwargs["hidden_states"]).clone()
        new[0, list(tokens)] = seen[0][0, list(tokens)]
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    with torch.no_grad():
        handle = block.register_forward_pre_hook(note, with_kwargs=True)
        model.module(input_ids=torch.tensor([list(other)]), use_cache=False)
        handle.remove()
        handle = block.register_forward_pre_hook(put, with_kwargs=True)
        try:
            return model.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
        finally:
            handle.remove()
