"""The slow, obvious way to run a model: one prompt, no padding, no cache, no sharing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def site_values(model: Any, ids: Sequence[int], site: str) -> torch.Tensor:
    """Return a site's values in every layer of one prompt, axes (layer, position, width)."""
    from theodolite.models.taps import read

    found: dict[int, torch.Tensor] = {}
    layers = [0] if site == "final_norm" else range(model.anatomy.n_layers)
    taps = {layer: model.anatomy.tap(layer, site) for layer in layers}
    with torch.no_grad(), read(taps, lambda layer, value: found.update({layer: value[0].clone()})):
        model.module(input_ids=torch.tensor([list(ids)]), use_cache=False)
    return torch.stack([found[layer] for layer in layers])


def logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Return the logits after every token of one prompt, axes (position, vocab)."""
    with torch.no_grad():
        return model.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]


def logprobs(model: Any, prompt: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
    """Return the log-probability of each token of a completion, axes (token)."""
    every = logits(model, [*prompt, *completion]).float().log_softmax(-1)
    return torch.stack([every[len(prompt) + i - 1, token] for i, token in enumerate(completion)])


def greedy(model: Any, ids: Sequence[int], steps: int, ends: frozenset[int]) -> list[int]:
    """Return greedy tokens, computing the whole prompt again for every one."""
    written: list[int] = []
    for _ in range(steps):
        written.append(int(logits(model, [*ids, *written])[-1].argmax()))
        if written[-1] in ends:
            break
    return written


def margin(model: Any, ids: Sequence[int]) -> float:
    """Return the difference between the two largest logits after a prompt."""
    top = logits(model, ids)[-1].topk(2).values
    return float(top[0] - top[1])
