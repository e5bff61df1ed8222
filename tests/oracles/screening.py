"""Rough scores of heads the slow way: each head taken out by itself, derivatives by differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

STEP = 0.005  # wider ones may cross to another expert


def moved(model: Any, ids: Sequence[int], ablation: Any, head: tuple[int, int]) -> torch.Tensor:
    """Return how far taking a head out moves the stream behind its block, axes (position, d)."""
    from tests.oracles import engine_forward

    from theodolite.engine.interventions import apply

    intact = engine_forward.site_values(model, ids, "resid_post")[head[0]]
    with apply(model, *ablation.interventions(model.anatomy, [head])):
        return engine_forward.site_values(model, ids, "resid_post")[head[0]] - intact


def logit_change(model: Any, ids: Sequence[int], layer: int, step: torch.Tensor) -> torch.Tensor:
    """Return how the last logits change per step added to the stream behind a block, (vocab)."""
    from tests.oracles import engine_forward

    from theodolite.models.taps import write

    def shifted(steps: int) -> torch.Tensor:
        tap = model.anatomy.tap(layer, "resid_post")
        with write(tap, lambda value: value + steps * STEP * step):
            return engine_forward.logits(model, ids)[-1]

    # Norms of the models work in float32, so steps are not tiny and the rule is of fourth order.
    near, far = shifted(1) - shifted(-1), shifted(2) - shifted(-2)
    return (8 * near - far) / (12 * STEP)


def quadratic(model: Any, ids: Sequence[int], ablation: Any, head: tuple[int, int]) -> float:
    """Return d'Fd / 2: half the variance, under the next-token distribution, of the change."""
    from tests.oracles import engine_forward

    change = logit_change(model, ids, head[0], moved(model, ids, ablation, head))
    p = engine_forward.logits(model, ids)[-1].softmax(-1)
    return float((p * (change - (p * change).sum()) ** 2).sum() / 2)


def sketched(
    model: Any,
    ids: Sequence[int],
    ablation: Any,
    head: tuple[int, int],
    noise: Sequence[torch.Tensor],
) -> float:
    """Return the same seen through random vectors sum_v sqrt(p_v) noise_v (e_v - p)."""
    from tests.oracles import engine_forward

    change = logit_change(model, ids, head[0], moved(model, ids, ablation, head))
    p = engine_forward.logits(model, ids)[-1].softmax(-1)
    seen = [(p.sqrt() * xi * (change - (p * change).sum())).sum() ** 2 for xi in noise]
    return float(sum(seen) / (2 * len(seen)))


def kl(model: Any, ids: Sequence[int], ablation: Any, head: tuple[int, int]) -> float:
    """Return KL(intact || ablated) at the last token, nats."""
    from tests.oracles import engine_forward

    from theodolite.engine.interventions import apply

    intact = engine_forward.logits(model, ids)[-1].log_softmax(-1)
    with apply(model, *ablation.interventions(model.anatomy, [head])):
        changed = engine_forward.logits(model, ids)[-1].log_softmax(-1)
    return float((intact.exp() * (intact - changed)).sum())
