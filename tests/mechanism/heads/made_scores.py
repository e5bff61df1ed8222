"""Head scores made by hand: a few heads above a quiet rest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from theodolite.mechanism.heads.ablation import Head, HeadAblation
from theodolite.mechanism.heads.result import HeadScores

LAYERS, HEADS = 5, 3


def made_scores(
    harmful: Mapping[Head, float],
    benign: Mapping[Head, float] | None = None,
    *,
    prompts: int = 12,
    scored: list[Head] | None = None,
) -> HeadScores:
    """Return scores in which the named heads stand out.

    Args:
        harmful, benign: mean nats of the heads that stand out; no benign prompts where None.
        prompts: of each class.
        scored: heads with a score; None is all.
    """
    rng = np.random.default_rng(0)
    sides = [harmful] + ([] if benign is None else [benign])
    kl = rng.gamma(2.0, 0.005, (prompts * len(sides), LAYERS, HEADS))
    for side, named in enumerate(sides):
        rows = slice(side * prompts, (side + 1) * prompts)
        for head, nats in named.items():
            kl[rows, head[0], head[1]] = nats * rng.uniform(0.8, 1.2, prompts)
    if scored is not None:
        keep = np.zeros((LAYERS, HEADS), bool)
        keep[tuple(np.array(scored).T)] = True
        kl[:, ~keep] = np.nan
    ids = [f"{label}{i}" for label in ("h", "b")[: len(sides)] for i in range(prompts)]
    return HeadScores(
        kl=kl,
        refusal=kl * 0.1,
        top1_changed=np.where(np.isnan(kl), np.nan, kl > 0.5),
        prompt_ids=tuple(ids),
        labels=("harmful",) * prompts + ("benign",) * (len(ids) - prompts),
        clusters=tuple(f"goal{i % prompts}" for i in range(len(ids))),
        angles={"angle_r1": kl[:prompts].mean(0) * 10},
        noise=1e-9,
        noise_angle=1e-6,
        ablation=HeadAblation(),
        template="none",
        model="made",
        pairs=benign is not None,
    )


def turned() -> HeadScores:
    """Return scores whose highest head by divergence, 1-2, is not that by angle, 4-0."""
    scores = made_scores({(1, 2): 2.0}, {(1, 2): 1.8})
    scores.angles["angle_r1"][4, 0] = 90.0
    return scores
