"""Planted states and items: what a probe must find is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import Prompt
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.states import States
from theodolite.text.hashing import content_key

CLASSES = ("benign", "harmful")


def items_of(
    labels: Sequence[int], pairs: Sequence[str] | None = None, *, prefix: str = "", **fields: str
) -> Items:
    """Return items in the order of the labels; their texts have nothing in common."""
    prompts = [
        Prompt(
            f"{prefix}{i:04d}",
            text=content_key(prefix, i),
            label=CLASSES[label],
            pair_id=None if pairs is None else pairs[i],
            **fields,
        )
        for i, label in enumerate(labels)
    ]
    made = make_items({name: [p for p in prompts if p.label == name] for name in CLASSES})
    order = {name: place for place, name in enumerate(made.ids)}
    return made.select([order[prompt.id] for prompt in prompts])


def states_of(
    items: Items,
    x: NDArray[np.float64],
    *,
    positions: Sequence[str] = ("instruction_last",),
    indices: Sequence[int] | None = None,
    fingerprint: str = "planted",
) -> States:
    """Return states; x has axes (item, hidden_index, d_model) and stands at every position."""
    values = np.repeat(x[:, :, None].astype(np.float32), len(positions), axis=2)
    return States(
        values=values,
        prompt_ids=items.ids,
        positions=tuple(positions),
        hidden_indices=tuple(range(x.shape[1]) if indices is None else indices),
        model=fingerprint,
        fingerprint=fingerprint,
        template="chat",
        key=content_key(fingerprint, x.shape),
        border_merged=(),
    )


def shifted(
    labels: NDArray[np.int64], width: int, shift: float, *, seed: int = 0, axis: int = 0
) -> NDArray[np.float64]:
    """Return Gaussians whose classes lie `shift` apart along one axis, axes (item, d_model)."""
    x = np.random.default_rng(seed).standard_normal((len(labels), width))
    x[:, axis] += shift * labels
    return x
