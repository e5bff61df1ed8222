"""Contrasts made by hand: where the classes part, and how prompts vary otherwise, is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.mechanism.directions.contrast import Contrast

PARTS = ("train", "train", "train", "val", "test", "test")


def made_contrast(states: NDArray[np.floating], labels: NDArray[np.int64], **more: Any) -> Contrast:
    """Return a contrast of states, axes (prompt, hidden_index, d_model); two prompts are a goal."""
    n = len(labels)
    fields: dict[str, Any] = {
        "goals": tuple(f"goal-{i // 2}" for i in range(n)),
        "splits": tuple(PARTS[(i // 2) % len(PARTS)] for i in range(n)),
        "prompt_ids": tuple(f"{i:04d}" for i in range(n)),
        "hidden_indices": tuple(range(1, states.shape[1] + 1)),
    }
    return Contrast(np.asarray(states, np.float32), np.asarray(labels), **(fields | more))


def gaussian_contrast(
    n: int = 240,
    width: int = 24,
    *,
    depths: int = 2,
    apart: float = 3.0,
    loud: float = 0.0,
    seed: int = 0,
    **more: Any,
) -> Contrast:
    """Return Gaussians whose classes lie apart along the first coordinate.

    Args:
        loud: how far the second coordinate varies more than the others, and goes with the first:
            what is read best is then not where the classes part.
    """
    labels = np.arange(n) % 2
    x = np.random.default_rng(seed).standard_normal((n, depths, width))
    x[..., 1] *= 1 + loud
    if loud:
        x[..., 0] += 0.8 * x[..., 1]
    x[..., 0] += apart * labels[:, None]
    return made_contrast(x, labels, **more)
