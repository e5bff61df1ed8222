"""Paired states and pairs of tiny models whose shift is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.mechanism.residual_space.collect import PairedStates
from theodolite.mechanism.states import States
from theodolite.models.handle import LanguageModel
from theodolite.models.pair import ModelPair
from theodolite.text.hashing import content_key

Array = NDArray[np.floating]
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")


def made_prompts(n: int, *, goal_size: int = 2, seed: int = 0) -> tuple[Prompt, ...]:
    """Return harmless prompts of two labels in turn; `goal_size` neighbours share a goal."""
    random = np.random.default_rng(seed)
    return tuple(
        Prompt(
            id=f"p{i:04d}",
            text=" ".join(random.choice(WORDS, 3 + i % 7)) + f" {content_key(i)[:12]}.",
            label=("harmful", "benign")[i % 2],
            goal_id=f"goal-{i // goal_size}",
        )
        for i in range(n)
    )


def made_states(values: Array, prompts: Sequence[Prompt], name: str) -> States:
    """Return states; values have axes (prompt, hidden_index, d_model)."""
    array = np.asarray(values, np.float32)[:, :, None]
    return States(
        values=array,
        prompt_ids=tuple(p.id for p in prompts),
        positions=("prompt_last",),
        hidden_indices=tuple(range(array.shape[1])),
        model=name,
        fingerprint=name,
        template="none",
        key=content_key(name, array.shape, float(array.sum()), float((array**2).sum())),
        border_merged=(),
    )


def made_paired(x: Array, shift: Array, prompts: Sequence[Prompt] | None = None) -> PairedStates:
    """Return paired states of base states and a shift, axes (prompt, hidden_index, d_model)."""
    rows = tuple(prompts or made_prompts(len(x)))
    goals = tuple(p.goal_id or p.id for p in rows)
    base, aligned = made_states(x, rows, "base"), made_states(x + shift, rows, "aligned")
    return PairedStates(base, aligned, rows, goals)


def tiny_pair(family: str = "llama", *, layer: int | None = 1, size: float = 0.1) -> ModelPair:
    """Return two tiny models; the weights of one block of the second are moved, or none."""
    base, aligned = tiny_model(family), tiny_model(family)
    if layer is not None:
        moved(aligned, layer, size)
    return ModelPair(base, aligned)


def moved(model: LanguageModel, layer: int, size: float) -> None:
    """Add noise to the matrices of a block."""
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in model.anatomy.blocks[layer].parameters():
            if weight.ndim == 2:
                weight.add_(size * torch.randn_like(weight))
