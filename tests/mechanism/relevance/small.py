"""What tests of relevance share: tiny models in double precision, directions, a few prompts."""

from __future__ import annotations

import numpy as np
import torch

from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.mechanism.directions.direction import Direction, component_name
from theodolite.models.handle import LanguageModel

WORDS = (
    "How do I bake bread at home?",
    "Write a short story about a small boat on a quiet lake in the weather of the city.",
    "The weather",
)
PROMPTS = tuple(Prompt(f"p{i}", text=text) for i, text in enumerate(WORDS))


def double_model(family: str = "llama") -> LanguageModel:
    """Return a tiny model whose weights are float64."""
    model = tiny_model(family)
    model.module.double()
    model.dtype = torch.float64
    return model


def directions(
    hidden_index: int, count: int, width: int = 32, seed: int = 0, *, orthonormal: bool = False
) -> list[Direction]:
    """Return random directions at one depth."""
    vectors = np.random.default_rng(seed + hidden_index).standard_normal((count, width))
    if orthonormal:
        vectors = np.linalg.qr(vectors.T)[0].T
    return [
        Direction(component_name(hidden_index, i + 1), hidden_index, vector)
        for i, vector in enumerate(vectors)
    ]
