"""States and items made by hand, so that what a probe must find is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import Prompt
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.states import States
from theodolite.text.hashing import content_key

# Words without any bearing on the class, so that texts are distinct and say nothing.
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")


def made_items(
    per_class: int,
    *,
    classes: Sequence[str] = ("benign", "harmful"),
    sources: int = 2,
    goal_size: int = 1,
    seed: int = 0,
) -> Items:
    """Return items of equal classes with random words; `goal_size` items share a goal."""
    random = np.random.default_rng(seed)

    def prompt(name: str, i: int) -> Prompt:
        words = " ".join(random.choice(_WORDS, 12))
        return Prompt(
            id=f"{name}-{i:04d}",
            text=f"{words}.",
            goal_id=f"{name}-goal-{i // goal_size}",
            source=f"source-{i % sources}",
        )

    made = {name: [prompt(name, i) for i in range(per_class)] for name in classes}
    return make_items(made, dedupe=False)


def made_states(
    items: Items, values: NDArray[np.floating], positions: Sequence[str] = ("prompt_last",)
) -> States:
    """Return states of items; values have axes (item, hidden_index, position, d_model)."""
    array = np.asarray(values, np.float32)
    return States(
        values=array,
        prompt_ids=items.ids,
        positions=tuple(positions),
        hidden_indices=tuple(range(array.shape[1])),
        model="made",
        fingerprint="made",
        template="none",
        key=content_key("made", array.shape, float(array.sum()), float((array**2).sum())),
        border_merged=(),
    )
