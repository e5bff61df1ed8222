"""Directions, prompts and edits of every mode, for tiny models."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.directions.eraser import Eraser
from theodolite.mechanism.steering.edits import Edit

WIDTH = 32
WORDS = ("apple", "bird", "cloud", "door", "egg", "field", "glass", "hill", "iron", "jar", "kite")


def direction(seed: int = 0, hidden_index: int = 2) -> Direction:
    """Return a random direction."""
    vector = np.random.default_rng(seed).standard_normal(WIDTH)
    return Direction(f"L{hidden_index}-C{seed + 1}", hidden_index, vector)


def requests(harmful: int = 4, benign: int = 4) -> list[Prompt]:
    """Return prompts of several lengths, harmful ones first; two of a class share a goal."""
    labels = [HARMFUL] * harmful + [BENIGN] * benign
    return [
        Prompt(
            f"{label[0]}{i}",
            text=" ".join((*WORDS[i % 5 : i % 5 + 2 + i % 4], WORDS[i % len(WORDS)])),
            label=label,
            goal_id=f"{label[0]}-goal-{i // 2}",
        )
        for i, label in enumerate(labels)
    ]


def made_eraser(rank: int = 1) -> Eraser:
    """Return an oblique eraser of three classes less one, or of two, fitted on random states."""
    rng = np.random.default_rng(rank)
    labels = np.arange(60) % (rank + 1)
    states = rng.standard_normal((60, WIDTH)) @ rng.standard_normal((WIDTH, WIDTH))
    return Eraser.leace(states + 3 * labels[:, None], labels)


def every_mode(**options: Any) -> list[Edit]:
    """Return edits of all modes."""
    pair = [direction(0), direction(1)]
    return [
        Edit(pair[:1], "subtract", alpha=3.0, **options),
        Edit(pair, "add", alpha=2.0, layers=(1,), **options),
        Edit(pair[:1], "ablate", sites="all", **options),
        Edit(pair, "ablate", alpha=0.6, **options),
        Edit(pair[:1], "affine", **options),
        Edit(pair, "affine", layers=(0, 2), **options),
        Edit(pair, "clamp", quantiles=(0.3, 0.6), sites=("resid_pre", "mlp_out"), **options),
        Edit([*pair, direction(2, 3), direction(3, 0)], "rank_k", layers="own", **options),
        Edit(
            [direction(0), direction(1, 3)],
            "erase",
            layers="own",
            erasers={2: made_eraser(), 3: made_eraser(2)},
            **options,
        ),
    ]


def edit_of(mode: str, **options: Any) -> Edit:
    """Return an edit of a mode along one direction."""
    if mode == "erase":
        options |= {"layers": "own", "erasers": {2: made_eraser()}}
    return Edit([direction()], mode, **options)
