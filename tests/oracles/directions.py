"""Directions the slow way: principal angles one at a time, edits by plain hooks on one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.linalg import subspace_angles


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean squared cosine of the principal angles between the spans of rows."""
    return float((np.cos(subspace_angles(first.T, second.T)) ** 2).mean())


def random_basis(
    rng: np.random.Generator, rank: int, width: int, *, orthogonal: bool = True
) -> np.ndarray:
    """Return random unit rows, orthonormal where asked."""
    drawn = rng.standard_normal((rank, width))
    if orthogonal:
        return np.linalg.qr(drawn.T)[0].T
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def logits_under(
    model: Any,
    ids: Sequence[int],
    *,
    ablated: np.ndarray | None = None,
    added: tuple[int, np.ndarray] | None = None,
) -> torch.Tensor:
    """Return the last token's logits of a bare forward of a Llama with plain hooks.

    Args:
        ablated: a unit vector taken out of the input of every block and the outputs of every
            attention and MLP, at all positions.
        added: a block and what is added to its input, at all positions.
    """
    blocks = model.module.model.layers
    handles = []

    def without(value: torch.Tensor) -> torch.Tensor:
        unit = torch.as_tensor(ablated, dtype=value.dtype)
        return value - (value @ unit)[..., None] * unit

    def after(_module: Any, _args: Any, out: Any) -> Any:
        return (without(out[0]), *out[1:]) if isinstance(out, tuple) else without(out)

    def before(_module: Any, args: Any) -> Any:
        return (without(args[0]), *args[1:])

    def shift(_module: Any, args: Any) -> Any:
        assert added is not None
        return (args[0] + torch.as_tensor(added[1], dtype=args[0].dtype), *args[1:])

    try:
        for layer, block in enumerate(blocks):
            if ablated is not None:
                handles.append(block.register_forward_pre_hook(before))
                handles += [
                    part.register_forward_hook(after) for part in (block.self_attn, block.mlp)
                ]
            if added is not None and layer == added[0]:
                handles.append(block.register_forward_pre_hook(shift))
        with torch.inference_mode():
            return model.module(torch.tensor([list(ids)])).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()


def refusal_log_odds(logits: torch.Tensor, tokens: Sequence[int]) -> float:
    """Return log p / (1 - p) of some tokens, from probabilities in float64."""
    p = float(logits.double().softmax(-1)[list(tokens)].sum())
    return float(np.log(p / (1 - p)))


def learning_losses(
    model: Any,
    vector: np.ndarray,
    complying: Sequence[tuple[Sequence[int], Sequence[int]]],
    refusing: Sequence[tuple[Sequence[int], Sequence[int]]],
    plain: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    layer: int,
    alpha: float,
    retained: int = 30,
) -> tuple[float, float, float]:
    """Return the three losses of a learned direction, one row and one token at a time."""
    edits = {"ablated": vector}, {"added": (layer, alpha * vector)}

    def surprise(
        rows: Sequence[tuple[Sequence[int], Sequence[int]]], edit: dict[str, Any]
    ) -> float:
        found = []
        for prompt, target in rows:
            each = []
            for k, token in enumerate(target):
                logits = logits_under(model, [*prompt, *target[:k]], **edit).double()
                each.append(-float(logits.log_softmax(-1)[token]))
            found.append(np.mean(each))
        return float(np.mean(found))

    drifts = []
    for prompt, target in plain:
        read = [*prompt, *target[:-1]]
        each = []
        for end in range(max(len(read) - retained, 0) + 1, len(read) + 1):
            p, q = (
                logits_under(model, read[:end], **edit).double().log_softmax(-1)
                for edit in ({}, edits[0])
            )
            each.append(float((p.exp() * (p - q)).sum()))
        drifts.append(np.mean(each))
    return surprise(complying, edits[0]), surprise(refusing, edits[1]), float(np.mean(drifts))
