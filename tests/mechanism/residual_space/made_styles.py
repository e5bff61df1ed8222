"""Requests in styles and projections made by hand, so that what explains them is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import Prompt, PromptSet
from theodolite.data.styles import styled
from theodolite.mechanism.residual_space.style_cells import StyleDesign

STYLES = ("plain", "role_play", "code", "quiz")


def made_requests(goals: int, *, categories: int = 2, prefix: str = "") -> PromptSet:
    """Return pairs of a harmful request and its benign twin."""
    prompts = [
        Prompt(
            id=f"{prefix}{i:03d}-{label}",
            text=f"{label} wish number {i} of {prefix or 'none'}",
            label=label,
            goal_id=f"{prefix}{i:03d}-{label}",
            pair_id=f"{prefix}{i:03d}",
            category=f"kind-{i % categories}",
        )
        for i in range(goals)
        for label in ("harmful", "benign")
    ]
    return PromptSet("made", tuple(prompts))


def made_design(
    goals: int = 12, styles: Sequence[str] = STYLES, *, prefix: str = "", held_out: str = "quiz"
) -> StyleDesign:
    """Return a balanced design: every pair in every style."""
    return StyleDesign.of(styled(made_requests(goals, prefix=prefix), styles), held_out=(held_out,))


def made_projections(
    design: StyleDesign,
    *,
    harm: float = 0.0,
    styles: dict[str, float] | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return projections that harm and styles add to, axes (direction: 1, prompt)."""
    added = np.array([(styles or {}).get(name, 0.0) for name in design.styles])
    values = harm * design.harmful + added[design.style]
    drawn = np.random.default_rng(seed).standard_normal(len(design))
    return np.asarray((values + noise * drawn)[None])
