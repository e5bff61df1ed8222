"""Rows for tests: samples with given scores, or drawn from a world whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from theodolite.behaviour.toxicity.scoring import Row

A, B = "words@1-aaaaaaaa", "net@2-bbbbbbbb"


def rows_of(
    scores: Mapping[str, Sequence[float | None]],
    method: str = "base",
    *,
    scorer: str = A,
    **more: object,
) -> list[Row]:
    """Return one row per prompt and sample."""
    return [
        Row(
            prompt=prompt,
            goal=f"goal-{prompt}",
            sample=i,
            method=method,
            scores={scorer: score},
            reasons={} if score is not None else {scorer: "empty text"},
            words=4,
            **more,  # type: ignore[arg-type]
        )
        for prompt, own in scores.items()
        for i, score in enumerate(own)
    ]


def world(method: str, rate: float, seed: int, *, prompts: int, samples: int) -> list[Row]:
    """Return rows whose samples are toxic (score 0.9, else 0.1) at a rate of their prompt."""
    rng = np.random.default_rng(seed)
    rates = rng.beta(4 * rate, 4 * (1 - rate), size=prompts)
    toxic = rng.random((prompts, samples)) < rates[:, None]
    return rows_of(
        {f"p{i}": [0.9 if hit else 0.1 for hit in own] for i, own in enumerate(toxic)}, method
    )
